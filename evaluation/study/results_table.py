"""The figures of a study as text for a terminal or a file."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mosear.evaluation.study.summary import counted
from mosear.runtime.errors import one_line

_WIDTH = 110
_FIRST = 16


def results_table(results: dict[str, Any]) -> str:
    """What ``analyse`` gives, in tables and sentences; no colours, at most 110 characters wide."""
    console = Console(file=StringIO(), width=_WIDTH, no_color=True, highlight=False, soft_wrap=False)
    for name, run in results["runs"].items():
        console.print(Text(one_line(f"{name}: {run['title']} ({run['path']})")))
    clips = results["clips"]
    raters = counted(len(results["raters"]), "rater")
    console.print(Text(f"{clips['judged']} of {clips['asked']} clips judged by {raters}\n"))
    console.print(_rates(results))
    console.print(Text(_intervals_told(results["rates"])))
    for sentence in _sentences(results):
        console.print(Text(one_line(sentence)))
    console.print(Text(""))
    console.print(_raters(results["raters"]))
    for each in results["inattentive"]:
        told = f"left out: rater {each['rater']}, who failed {each['failed_checks']} of {each['checks']} checks"
        console.print(Text(one_line(told)))
    for each in results["refused"]:
        console.print(Text(one_line(f"not counted: {each['file']}: {each['reason']}")))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _rates(results: dict[str, Any]) -> Table:
    table = _table("", "A %", "B %", "equal %", "judgements", "clips A : B : even", "p")
    rows = {"all clips": results, **results["by_subset"]} if len(results["by_subset"]) > 1 else {"all clips": results}
    for name, figures in rows.items():
        rates, test = figures["rates"], figures["sign_test"]
        table.add_row(
            Text(one_line(name.replace("_", " "))),
            *(Text(_share(rates[kind])) for kind in ("A", "B", "tie")),
            str(rates["A"]["judgements"]),
            f"{test['for_a']} : {test['for_b']} : {test['even']}",
            "–" if test["p_value"] is None else _p_value(test["p_value"]),
        )
    return table


def _raters(raters: Sequence[dict[str, Any]]) -> Table:
    table = _table("rater", "judged", "A", "B", "equal", "left", "right", "median s", "changed", "checks failed")
    for each in raters:
        told = Text(one_line(each["rater"], 40))
        seconds = "–" if each["median_seconds"] is None else f"{each['median_seconds']:.1f}"
        counts = [str(each[name]) for name in ("judged", "A", "B", "tie", "left", "right")]
        failed = f"{each['failed_checks']} of {each['checks']}" if each["checks"] else "–"
        table.add_row(told, *counts, seconds, str(each["changes"]), failed)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, min_width=_FIRST)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _sentences(results: dict[str, Any]) -> list[str]:
    told = ["p: two-sided sign test over clips, each counted for the run that more of its raters chose."]
    if results["clips"]["identical"]:
        rates = results["with_identical"]
        shown = ", ".join(f"{name} {100 * rates[kind]:.1f} %" for name, kind in _NAMES.items())
        same = counted(results["clips"]["identical"], "clip")
        told.append(f"Counting {same} with the same reason in both runs as equal: {shown}.")
    left = results["position"]["left"]
    if left["judgements"]:
        choices = counted(left["judgements"], "choice")
        told.append(f"Position: {_share(left, ' %')} of {choices} of a side are for the left one.")
    agreed = results["agreement"]
    if agreed["alpha"] is None:
        told.append(f"Agreement: no Krippendorff's alpha, because {agreed['reason']}.")
    else:
        clips = counted(agreed["clips"], "clip")
        told.append(f"Agreement: Krippendorff's alpha {agreed['alpha']:.3f}{_alpha_interval(agreed)} on {clips}.")
    if results["comments"]:
        told.append(f"{counted(len(results['comments']), 'comment')} of raters: see the JSON output.")
    return told


_NAMES = {"A": "A", "B": "B", "equal": "tie"}


def _alpha_interval(agreed: dict[str, Any]) -> str:
    return "" if agreed["interval"] is None else f" ({agreed['interval'][0]:.3f} to {agreed['interval'][1]:.3f})"


def _intervals_told(rates: dict[str, Any]) -> str:
    if rates["A"]["over_clips_and_raters"] is not None:
        return "In brackets: 95 % intervals over clips and raters."
    return "In brackets: 95 % intervals over clips; one rater tells nothing about others."


def _share(rate: dict[str, Any], unit: str = "") -> str:
    if rate["share"] is None:
        return "–"
    interval = rate["over_clips_and_raters"] or rate["over_clips"]
    told = "" if interval is None else f" ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"
    return f"{100 * rate['share']:.1f}{unit}{told}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
