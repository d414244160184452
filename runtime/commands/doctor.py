"""``mosear doctor``: what is here, what of it works, and the line to run for whatever does not."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from mosear.runtime.errors import Failed, UsageError
from mosear.runtime.terminal import exits, writing

HELP = (
    "Say what is installed, what of it works and what to run for whatever does not. Providers are proved by an "
    "inference, devices by opening them; nothing that they show or say is kept.\n\n"
    "Exit codes: 0 nothing is wrong, 1 something is, 2 usage, 3 the bundle can't be opened."
)


def doctor(
    context: typer.Context,
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="Folder made by mosear-export build, to try too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object instead of the table.")] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            envvar="MOSEAR_CAMERA",
            metavar="CAMERA",
            help="A camera that must work: an index, a device, a URL or a file. By default those that are here.",
        ),
    ] = None,
    microphone: Annotated[
        str | None,
        typer.Option(
            envvar="MOSEAR_MICROPHONE",
            metavar="MICROPHONE",
            help="A microphone that must work: default, an index or part of its name. By default the default one.",
        ),
    ] = None,
    devices: Annotated[
        bool, typer.Option("--devices/--no-devices", help="Open cameras and microphones, or leave them alone.")
    ] = True,
    threads: Annotated[
        int | None, typer.Option(envvar="MOSEAR_THREADS", min=1, help="CPU threads; the library's choice by default.")
    ] = None,
    limit: Annotated[
        float,
        typer.Option(metavar="S", min=1.0, help="Seconds that the bundle's answers may take; longer for engines."),
    ] = 60.0,
    debug: Annotated[bool, typer.Option("--debug", envvar="MOSEAR_DEBUG", help="Show traces.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Examine this machine; see the help above."""
    # Heavy imports stay out of the start of every other command.
    from mosear.runtime.board.machine import Machine
    from mosear.runtime.doctor.examine import examine, exit_code
    from mosear.runtime.doctor.question import Question
    from mosear.runtime.doctor.report import to_json, to_text

    with exits(debug):
        if sys.stdout is None:
            raise Failed("standard output is closed", "send the findings to a file or to another program")
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        if not devices:
            _refuse_named_devices(context)
        question = Question(
            bundle=bundle,
            camera=camera,
            microphone=microphone,
            devices=devices,
            threads=threads,
            limit_s=limit,
            variables=frozenset(variables_of(context.find_root().command)),
        )
        with _progress(quiet) as begin:
            found = examine(Machine(), question, begin)
        console = Console(file=sys.stdout, highlight=False)
        with writing():
            if as_json:
                text = to_json(found) + "\n"
            else:
                # Left to itself the console ends the program in its own way when its reader goes away.
                with console.capture() as capture:
                    to_text(found, console)
                text = capture.get()
            print(text, end="", flush=True)
    raise typer.Exit(exit_code(found))


def _refuse_named_devices(context: typer.Context) -> None:
    """Raise UsageError for a device that was named beside --no-devices; one from the environment is left alone."""
    for name in ("camera", "microphone"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--{name} and --no-devices contradict each other", "leave one of them out")


def variables_of(command: Any) -> set[str]:
    """The environment variables that a command and its commands read."""
    names: set[str] = set()
    for each in command.params:
        given = each.envvar
        names.update([given] if isinstance(given, str) else given or [])
    for each in getattr(command, "commands", {}).values():
        names |= variables_of(each)
    return names


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda name: None
        return
    spinner = Spinner("dots")
    with Live(spinner, console=console, transient=True, redirect_stdout=False):
        yield lambda name: spinner.update(text=Text(f"examining {name}"))
