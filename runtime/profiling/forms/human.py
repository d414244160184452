"""A profile for people at a terminal; what was not measured is said, never shown as nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.forms.operators import by_graph, heaviest
from mosear.runtime.profiling.forms.rows import (
    ANSWER,
    NO_ENERGY,
    Row,
    cold_rows,
    facts,
    metric_rows,
    not_measured,
    single_rows,
)
from mosear.runtime.profiling.forms.words import short
from mosear.runtime.profiling.record import END_TO_END, Profile

_COLUMNS = {"p50": 0, "p90": 44, "p95": 60, "p99": 52, "avg": 68, "std": 76, "count": 84}
"""Figures, and from how many columns of the terminal on each is shown."""

_BAR_FROM, _BAR = 104, 20
_OPERATORS, _SHARE_FROM = 10, 48


def human(profile: Profile, width: int) -> RenderableType:
    """All of it for a terminal of ``width`` columns: facts, what to mind, figures, costs, operators."""
    return Group(*_parts(profile, width))


def _parts(profile: Profile, width: int) -> Iterator[RenderableType]:
    yield Text(one_line(profile.bundle.get("name", "")) or "a bundle", style="bold")
    yield pairs(facts(profile).items())
    if profile.warnings:
        yield notes(profile.warnings)
    yield _heading("Steady state, milliseconds unless said")
    rows = metric_rows(profile)
    yield _figures(rows, width, _whole(rows)) if rows else Text("  not measured", style="yellow")
    missing = not_measured(profile)
    if missing and rows:
        yield Text(f"  not measured: {', '.join(missing)}", style="yellow")
    cold = cold_rows(profile)
    yield _heading("Cold start, milliseconds of a fresh process")
    yield _figures(cold, width, None) if cold else Text("  not measured", style="yellow")
    yield _heading("Memory and energy")
    singles = single_rows(profile)
    yield pairs((row.title, f"{row.value} ({row.method})" if row.method else row.value) for row in singles)
    if not any(row.figures.unit == "bytes" for row in singles):
        yield Text("  Memory was not measured.", style="yellow")
    if profile.energy is None:
        yield Text(f"  {NO_ENERGY}", style="yellow")
    yield from _operators(profile, width)


def pairs(items: Iterable[tuple[str, str]], style: str = "") -> RenderableType:
    """Names and what they stand for, folded where the terminal is narrow."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold")
    for name, text in items:
        table.add_row(Text(one_line(name), style=style or "dim"), Text(one_line(text, limit=2000), style=style))
    return Padding(table, (0, 0, 0, 2), expand=False)


def notes(warnings: Sequence[str]) -> RenderableType:
    """What makes the figures hard to compare, a line each."""
    return pairs([("!", text) for text in warnings], "yellow")


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _whole(rows: Sequence[Row]) -> float | None:
    return next((row.figures.avg for row in rows if row.metric == END_TO_END), None)


def _figures(rows: Sequence[Row], width: int, whole: float | None) -> Table:
    """A row a metric; on a wide terminal stages have a bar for their share of ``whole``, the mean of end to end."""
    shown = [name for name, least in _COLUMNS.items() if width >= least]
    bars = whole is not None and whole > 0 and width >= _BAR_FROM
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", overflow="fold")
    for name in shown:
        table.add_column("mean" if name == "avg" else name, justify="right", no_wrap=True)
    if bars:
        table.add_column("share of the mean", no_wrap=True)
    for row in rows:
        cells = [Text(short(getattr(row.figures, name)), style="bold" if name == "p50" else "") for name in shown]
        bar = [_bar(row, whole or 1.0)] if bars else []
        table.add_row(Text(f"  {row.title}", style="bold" if row.metric == END_TO_END else ""), *cells, *bar)
    return table


def _bar(row: Row, whole: float) -> Text:
    if row.metric not in ANSWER:
        return Text()
    share = row.figures.avg / whole
    return Text(f"{share:4.0%} ").append("█" * min(round(share * _BAR), _BAR), style="cyan")


def _operators(profile: Profile, width: int) -> Iterator[RenderableType]:
    yield _heading("Operators")
    yield Text(f"  {one_line(profile.operators_method) or 'not measured'}", style="" if profile.operators else "yellow")
    if not profile.operators:
        return
    graphs = ", ".join(f"{one_line(fold.name[0])} {fold.share:.0%}" for fold in by_graph(profile.operators))
    yield Text(f"  {graphs}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("  graph", "layer", "operator"):
        table.add_column(name, overflow="fold", no_wrap=name != "operator")
    numbers = ("ms a run", "share") if width >= _SHARE_FROM else ("ms a run",)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    folds = heaviest(profile.operators)
    for fold in folds[:_OPERATORS]:
        graph, layer, operator = (one_line(part) for part in fold.name)
        cells = (short(fold.ms), f"{fold.share:.1%}")[: len(numbers)]
        table.add_row(Text(f"  {graph}"), Text(layer), Text(operator), *cells)
    yield table
    if len(folds) > _OPERATORS:
        yield Text(f"  and {len(folds) - _OPERATORS} more in the JSON and HTML forms", style="dim")
