"""What was found, as a table for people and as JSON for programs."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mosear.runtime.doctor.examine import exit_code
from mosear.runtime.doctor.finding import Finding, Verdict

SCHEMA = "mosear.doctor/1"

_STYLES = {Verdict.ok: "green", Verdict.note: "yellow", Verdict.wrong: "bold red", Verdict.absent: "dim"}
_HEADINGS = {
    Verdict.wrong: "To put right what is wrong:",
    Verdict.note: "To go with the notes:",
    Verdict.absent: "To have what is absent:",
}


def to_json(found: Sequence[Finding]) -> str:
    """One JSON object: ``schema, mosear, time, verdict, exit_code, counts{}, findings[]``."""
    counts = Counter(each.verdict for each in found)
    code = exit_code(list(found))
    return json.dumps(
        {
            "schema": SCHEMA,
            "mosear": _version(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "verdict": "wrong" if code else "ok",
            "exit_code": code,
            "counts": {each.value: counts[each] for each in Verdict},
            "findings": [each.to_dict() for each in found],
        },
        ensure_ascii=False,
        allow_nan=False,
        default=str,
    )


def to_text(found: Sequence[Finding], console: Console) -> None:
    """Print the table, and below it each line to run on a line of its own, so that it can be copied."""
    console.print(_table(found))
    for verdict, heading in _HEADINGS.items():
        fixes = [each for each in found if each.verdict is verdict and each.fix]
        if not fixes:
            continue
        console.print(Text(f"\n{heading}", style="bold"))
        for each in fixes:
            console.print(Text(f"  {each.subject}", style=_STYLES[verdict]), soft_wrap=True)
            console.print(Text(f"    {each.fix}"), soft_wrap=True)
    console.print(_summary(found))


def _table(found: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("check", "subject", ""):
        table.add_column(name, no_wrap=name != "subject", overflow="fold")
    table.add_column("seen", overflow="fold", ratio=1)
    last = ""
    for each in found:
        check = Text(each.check if each.check != last else "", style="bold")
        table.add_row(check, Text(each.subject), Text(each.verdict.value, style=_STYLES[each.verdict]), Text(each.seen))
        last = each.check
    return table


def _summary(found: Sequence[Finding]) -> RenderableType:
    counts = Counter(each.verdict for each in found)
    told = ", ".join(f"{counts[each]} {each.value}" for each in Verdict if counts[each])
    return Group(Text(), Text(told, style="bold red" if counts[Verdict.wrong] else "bold green"))


def _version() -> str | None:
    try:
        return version("mosear")
    except PackageNotFoundError:
        return None
