"""The command ``mosear-eval``."""

from __future__ import annotations

import signal
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import typer

from mosear.clips.benchmarks.registry import DATASETS
from mosear.evaluation.commands.compare import compare
from mosear.evaluation.commands.datasets import datasets
from mosear.evaluation.commands.judge import judge
from mosear.evaluation.commands.run import run
from mosear.evaluation.commands.study import study, study_results
from mosear.runtime.terminal import ESTIMATE, ensure_standard_error, exits, writing

app = typer.Typer(
    name="mosear-eval",
    help=f"Bundles and checkpoints against the paper's benchmarks.\n\n{ESTIMATE}",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 bad input, 4 a check failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point of the command."""
    ensure_standard_error()
    signal.signal(signal.SIGTERM, _stop)
    with exits(debug=False), writing():
        app()


def _stop(number: int, frame: FrameType | None) -> None:
    """End as on Ctrl-C: workers are ended, and what was answered is kept."""
    raise KeyboardInterrupt


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mosear {version('mosear')}", flush=True)
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the command as a whole."""


app.command(
    help="Answer a benchmark's clips and measure the answers. Results go to a folder, a line a clip; a run that was "
    "stopped goes on where it was. Figures go to standard output, everything else to standard error.\n\n"
    f"Datasets: {', '.join(DATASETS)}.\n\n{ESTIMATE}"
)(run)
app.command(
    help="Two runs on the same clips: figures side by side, paired intervals of the differences, McNemar's test."
)(compare)
app.command(help="Have a judge score how well a run's reasons fit the references (EMER): an endpoint, or a command.")(
    judge
)
app.command(help="Make one blinded page on which raters choose between the reasons of two runs.")(study)
app.command("study-results", help="Preference rates and agreement from the answers that raters sent back.")(
    study_results
)
app.command(help="The datasets that can be read, with the layout that is expected of each.")(datasets)


if __name__ == "__main__":
    main()
