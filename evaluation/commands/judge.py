"""``mosear-eval judge``: a judge's scores of a run's reasons."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mosear.evaluation.judging.command import CommandJudge
from mosear.evaluation.judging.endpoint import EndpointJudge
from mosear.evaluation.judging.judge import Judge
from mosear.evaluation.judging.verdicts import judge_reasons
from mosear.evaluation.results import read_run
from mosear.runtime.commands.choices import Debug
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.terminal import exits

VERDICTS = "judge.jsonl"


def judge(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of a run that asked for reasons.")],
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server on this machine.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="A program: the prompt on its input, the verdict on its output."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model's name at the endpoint, or what the command runs.")
    ] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable with the endpoint's API key.")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="The endpoint may be on another machine: texts describe people.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1.0, metavar="S", help="Seconds that a verdict may take.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    debug: Debug = False,
) -> None:
    """Judge a run's reasons; see the help above. Prompts, answers and verdicts are kept in RESULTS/judge.jsonl."""
    with exits(debug):
        run = read_run(results)
        if not any(record.reference for record in run.records):
            raise BadInput(f"{results} has no references to judge against", "judge a run on EMER")
        if not any(record.reason for record in run.records):
            raise BadInput(f"{results} has no reasons to judge", "run it with --reason")
        with (
            closing(_open(endpoint, command, model, key_variable, allow_remote, timeout)) as chosen,
            _bar(quiet) as bar,
        ):
            found = judge_reasons(run.records, chosen, results / VERDICTS, bar)
        if as_json:
            print(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
        else:
            _print(found)
            print(results / VERDICTS)


def _open(
    endpoint: str | None, command: str | None, model: str | None, key_variable: str | None, remote: bool, timeout: float
) -> Judge:
    if (endpoint is None) == (command is None):
        raise UsageError("one judge is needed", "give --endpoint URL --model NAME, or --command COMMAND")
    if endpoint is not None:
        if model is None:
            raise UsageError("the endpoint is asked for a model by its name", "give --model NAME")
        return EndpointJudge(endpoint, model, key_variable, remote, timeout)
    if key_variable is not None or remote:
        raise UsageError("--key-variable and --allow-remote are for --endpoint", "leave them out")
    return CommandJudge(shlex.split(command or ""), model or "", timeout)


@contextmanager
def _bar(quiet: bool) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, redirect_stdout=False) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _print(found: dict[str, Any]) -> None:
    table = Table("overlap, 0 to 10", "mean", "95 % interval")
    for name, value in found["figures"].items():
        ends = "" if value["low"] is None else f"{value['low']:.2f} to {value['high']:.2f}"
        table.add_row(name, "-" if value["value"] is None else f"{value['value']:.2f}", ends)
    console = Console()
    console.print(table)
    for key, value in found.items():
        if key not in ("figures", "schema"):
            console.print(f"{key.replace('_', ' ')}: {value}", markup=False, highlight=False)
