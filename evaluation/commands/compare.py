"""``mosear-eval compare``: two runs on the same clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mosear.evaluation.comparing import compare_runs
from mosear.evaluation.figure_names import shown, shown_difference, title_of
from mosear.evaluation.metrics.synonyms import load_synonyms
from mosear.evaluation.report.comparison_page import write_comparison
from mosear.evaluation.results import read_run
from mosear.runtime.commands.choices import Debug
from mosear.runtime.terminal import exits


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another run on the same benchmark.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Also write a page.")] = None,
    synonyms: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More emotion words and what they are folded to: JSON or CSV.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    debug: Debug = False,
) -> None:
    """Compare two runs; see the help above."""
    with exits(debug):
        sides = read_run(a), read_run(b)
        found = compare_runs(*sides, None if synonyms is None else load_synonyms(synonyms))
        if output is not None:
            write_comparison(output, *sides, found)
        if as_json:
            print(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
            return
        _print(found)
        if output is not None:
            print(output)


def _print(found: dict[str, Any]) -> None:
    console, counts = Console(), found["clips"]
    title = f"{found['benchmark']}, {counts['both']} clips of both runs"
    table = Table("figure", "A", "B", "B - A", "95 % interval", title=escape(title))
    for name, each in found["figures"].items():
        table.add_row(title_of(name), *_cells(name, each))
    for name, each in found["by_subset"].items():
        table.add_row(escape(f"accuracy, {name.replace('_', ' ')}"), *_cells("accuracy", each))
    console.print(f"A  {found['a']}\nB  {found['b']}", markup=False, highlight=False)
    console.print(table)
    test = found["mcnemar"]
    if test is not None:
        console.print(
            f"McNemar: {test['b']} clips only A answers right, {test['c']} only B; exact p = {test['exact']:.3g}, "
            f"mid-p = {test['mid_p']:.3g}",
            highlight=False,
        )
    for key, why in (("only_a", "only in A"), ("only_b", "only in B"), ("other_truth", "with another truth in B")):
        if counts[key]:
            console.print(f"{counts[key]} clips {why}", highlight=False)


def _cells(name: str, each: dict[str, Any]) -> tuple[str, ...]:
    gap = each["difference"]
    ends = (
        "" if gap["low"] is None else f"{shown_difference(name, gap['low'])} to {shown_difference(name, gap['high'])}"
    )
    return shown(name, each["a"]), shown(name, each["b"]), shown_difference(name, gap["value"]), ends
