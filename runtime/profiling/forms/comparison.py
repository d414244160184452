"""A comparison of two as JSON, CSV, Markdown, and for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.compare import FASTER, FEWEST, LEVEL, SCHEMA, SLOWER, Comparison, Contrast
from mosear.runtime.profiling.forms.csv_form import lines_of
from mosear.runtime.profiling.forms.human import notes, pairs
from mosear.runtime.profiling.forms.json_form import dumps
from mosear.runtime.profiling.forms.markdown import plain, table
from mosear.runtime.profiling.forms.words import named, short, title

HEAD = (
    *("metric", "unit", "a", "b", "ratio", "low", "high", "pairs", "verdict", "method", "kind"),
    *("a_name", "a_sha256", "b_name", "b_sha256", "clip", "created", "warnings", "schema"),
)
NOTHING = "Nothing was measured on both sides."
RATIO = f"B/A: above 1 is more of it in B. The interval holds the true ratio with {LEVEL:.0%} confidence."

_HASH = 12
_STYLES = {FASTER: "bold green", SLOWER: "bold red"}
_COLUMNS = {"A": 64, "B": 64, "B/A": 0, "interval": 76, "pairs": 100, "B is": 0}
"""Columns, and from how many columns of the terminal on each is shown."""


def to_json(comparison: Comparison) -> str:
    """One object, as ``Comparison.to_dict``; numbers that are not finite are null."""
    return dumps(comparison.to_dict())


def to_csv(comparison: Comparison) -> str:
    """A row a metric; every row says what was compared."""
    a, b = comparison.a, comparison.b
    sides = (a.get("name"), a.get("sha256"), b.get("name"), b.get("sha256"))
    told = (comparison.clip, comparison.created, "; ".join(comparison.warnings), SCHEMA)
    rows = [
        (
            *(each.name, each.unit, each.a, each.b, each.ratio, each.low, each.high, each.pairs, each.verdict),
            *(comparison.method, comparison.kind, *sides, *told),
        )
        for each in comparison.metrics
    ]
    return lines_of(HEAD, rows)


def to_markdown(comparison: Comparison) -> str:
    """Both sides, what to mind, and a table of metrics."""
    head, rows = ("", "A", "B", "B/A", "interval", "pairs", "B is"), [cells(each) for each in comparison.metrics]
    parts = [
        f"# {plain(heading(comparison))}",
        table(("", "A", "B"), sides(comparison), left=3),
        "\n".join(f"- {plain(name)}: {plain(text)}" for name, text in facts(comparison).items()),
        "\n".join(f"> **Note:** {plain(text)}  " for text in comparison.warnings),
        table(head, rows) if rows else NOTHING,
        plain(f"{comparison.method}. {RATIO}" if comparison.method else RATIO),
        plain(few(comparison)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def human(comparison: Comparison, width: int) -> RenderableType:
    """All of it for a terminal of ``width`` columns."""
    return Group(*_parts(comparison, width))


def heading(comparison: Comparison) -> str:
    """Who is compared with whom."""
    return f"{_name(comparison.b)} compared with {_name(comparison.a)}"


def sides(comparison: Comparison) -> list[tuple[str, str, str]]:
    """What is known of A and of B, by name."""
    keys = dict.fromkeys([*comparison.a, *comparison.b])
    told = [(_known(key, comparison.a), _known(key, comparison.b)) for key in keys]
    return [(name, a, b) for (name, a), (_, b) in told]


def facts(comparison: Comparison) -> dict[str, str]:
    """How it was measured and on what, by name."""
    found = {"clip": comparison.clip, **comparison.settings, "created": comparison.created}
    told = dict(named(key, value) for key, value in found.items() if value is not None and value != "")
    for key, value in comparison.context.items():
        name, text = named(key, value)
        told.setdefault(name, text)
    return told


def few(comparison: Comparison) -> str:
    """Which metrics have too few values for an interval, or nothing."""
    names = [title(each.name, each.unit) for each in comparison.metrics if each.low is None or each.high is None]
    return f"Fewer than {FEWEST} values, so without an interval and a verdict: {', '.join(names)}." if names else ""


def cells(contrast: Contrast) -> tuple[str, ...]:
    """Title, A, B, ratio, interval, pairs and verdict as text. Values of metrics without a unit in their title: ms."""
    low, high = contrast.low, contrast.high
    interval = "-" if low is None or high is None else f"{short(low)} to {short(high)}"
    pairs = "-" if contrast.pairs is None else str(contrast.pairs)
    values = (short(contrast.a), short(contrast.b), short(contrast.ratio))
    return (title(contrast.name, contrast.unit), *values, interval, pairs, contrast.verdict)


def _parts(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    yield Text(heading(comparison), style="bold")
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        known = [_known(key, side) for key, value in side.items() if key != "name" and value is not None]
        yield pairs([(name, _name(side)), *known])
    yield pairs(facts(comparison).items())
    if comparison.warnings:
        yield notes(comparison.warnings)
    yield Text()
    yield _table(comparison, width) if comparison.metrics else Text(f"  {NOTHING}", style="yellow")
    yield Text(f"\n  {one_line(comparison.method)}\n  {RATIO}" if comparison.method else f"\n  {RATIO}", style="dim")
    if few(comparison):
        yield Text(f"  {few(comparison)}", style="yellow")


def _table(comparison: Comparison, width: int) -> Table:
    shown = [width >= least for least in _COLUMNS.values()]
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    found.add_column("  ms unless said", overflow="fold")
    for name, there in zip(_COLUMNS, shown, strict=True):
        if there:
            found.add_column(name, justify="left" if name == "B is" else "right", overflow="fold")
    for contrast in comparison.metrics:
        name, *others = cells(contrast)
        row = [Text(text) for text, there in zip(others, shown, strict=True) if there]
        row[-1].stylize(_STYLES.get(contrast.verdict, ""))
        found.add_row(Text(f"  {name}"), *row)
    return found


def _known(key: str, side: dict[str, Any]) -> tuple[str, str]:
    """Of a hash as much as tells two bundles apart; JSON and CSV have it whole."""
    name, text = named(key, side.get(key))
    return (name, text[:_HASH]) if key == "sha256" and side.get(key) else (name, text)


def _name(side: dict[str, Any]) -> str:
    return one_line(side.get("name") or side.get("path") or "a bundle")
