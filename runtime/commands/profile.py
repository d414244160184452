"""``mosear profile``: where the time goes on this device, and whether one bundle is faster than another."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mosear.runtime.commands import choices
from mosear.runtime.profiling.plan import COLD_STARTS, IDLE_S, RUNS, TOKENS, WARM_UP
from mosear.runtime.profiling.scenario import Scenario
from mosear.runtime.terminal import exits

HELP = (
    "Measure where the time goes on this device: reading and decoding the clip, each encoder, the prompt, the labels, "
    "text; and memory, energy, a cold start, time by operator. Every run reads a window of the clip anew and answers "
    "it. Without a clip a built-in one is used.\n\n"
    "With --compare A B two bundles take turns on the same windows (the argument is then the clip), or two saved "
    "profiles (FILE.json) are compared."
)


class Report(str, Enum):
    """The form of what goes to standard output."""

    human = "human"
    json = "json"
    csv = "csv"
    markdown = "markdown"


def profile(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Folder made by mosear-export build; left out with --compare."),
    ] = None,
    clip: Annotated[
        Path | None, typer.Argument(metavar="CLIP", help="Video or sound file; a built-in clip by default.")
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", min=1, help="Runs that count.")] = RUNS,
    warmup: Annotated[int, typer.Option(metavar="N", min=0, help="Runs before those.")] = WARM_UP,
    window: Annotated[
        float | None,
        typer.Option(
            envvar="MOSEAR_WINDOW", metavar="S", help="Seconds a window, from 0.5; the model's own by default."
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help=f"Tokens of text at most behind each answer. By default {TOKENS} where the model gives reasons, and "
            "none at a fixed rate.",
        ),
    ] = None,
    scenario: Annotated[
        Scenario,
        typer.Option(help="single-stream: the next window as soon as the last is answered; fixed-rate: one every hop."),
    ] = Scenario.single_stream,
    hop: Annotated[
        float | None,
        typer.Option(metavar="S", help="Of a fixed rate: seconds between windows; the window's length by default."),
    ] = None,
    cold: Annotated[int, typer.Option(metavar="N", min=0, help="Cold starts, each a fresh process.")] = COLD_STARTS,
    operators: Annotated[
        bool, typer.Option("--operators/--no-operators", help="Time by operator, in a pass of its own, or not.")
    ] = True,
    idle: Annotated[
        float,
        typer.Option(metavar="S", min=0.0, help="Seconds for which idle power is measured, where there is a rail."),
    ] = IDLE_S,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Compare two bundles, or two saved profiles."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Also write it to a file, whose ending says its form: .json, .csv, .md, .html or .trace.json. May be "
            "repeated.",
        ),
    ] = None,
    form: Annotated[Report, typer.Option("--format", help="How it is written to standard output.")] = Report.human,
    threads: choices.Threads = None,
    provider: choices.Where = None,
    dry_run: choices.DryRun = False,
    debug: choices.Debug = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Profile or compare; see the help above."""
    # Heavy imports stay out of the start of every other command.
    from mosear.runtime.commands.profiling import Asked, answer
    from mosear.runtime.profiling.forms.write import Form

    asked = Asked(
        bundle=bundle,
        clip=clip,
        compare=compare,
        runs=runs,
        warmup=warmup,
        window=window,
        tokens=tokens,
        scenario=scenario,
        hop=hop,
        cold=cold,
        operators=operators,
        idle=idle,
        threads=threads,
        provider=provider.value if provider else None,
        outputs=tuple(output or ()),
        form=Form(form.value),
        dry_run=dry_run,
        debug=debug,
        quiet=quiet,
        spelt=frozenset(name for name in context.params if _is_spelt(context, name)),
    )
    with exits(debug):
        code = answer(asked)
    raise typer.Exit(code)


def _is_spelt(context: typer.Context, name: str) -> bool:
    """Whether it stands on the command line, and does not come from the environment, a file or a default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
