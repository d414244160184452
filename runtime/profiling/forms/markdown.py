"""A profile as Markdown, to be pasted into an issue: what it is of, what to mind, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.forms.operators import heaviest
from mosear.runtime.profiling.forms.rows import NO_ENERGY, Row, cold_rows, facts, metric_rows, not_measured, single_rows
from mosear.runtime.profiling.forms.words import inline, short
from mosear.runtime.profiling.record import Profile

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#$])")
_SHOWN = ("p50", "p90", "p95", "p99", "avg", "std", "min", "max", "count")
_OPERATORS = 15


def to_markdown(profile: Profile) -> str:
    """Headed by the bundle's name; times in ms; what was not measured is named."""
    parts = [
        f"# Profile of {plain(profile.bundle.get('name', 'a bundle'))}",
        "\n".join(f"- {plain(name)}: {plain(text)}" for name, text in facts(profile).items()),
        "\n".join(f"> **Note:** {plain(text)}  " for text in profile.warnings),
        "## Steady state",
        _statistics(metric_rows(profile)),
        _missing(profile),
        "## Cold start",
        _statistics(cold_rows(profile)),
        *_cost(profile),
        *_operators(profile),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(value: object) -> str:
    """Text as it is, on one line: nothing in it is read as Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", one_line(value, limit=2000))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first ``left`` columns are set left and all others right. Cells are text, escaped here."""
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    lines = [list(head), marks, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _statistics(rows: Sequence[Row]) -> str:
    if not rows:
        return "Not measured."
    lines = [[row.title, *(short(getattr(row.figures, each)) for each in _SHOWN)] for row in rows]
    return table(("ms unless said", *("mean" if each == "avg" else each for each in _SHOWN)), lines)


def _missing(profile: Profile) -> str:
    missing = not_measured(profile)
    return f"Not measured: {plain(', '.join(missing))}." if missing else ""


def _cost(profile: Profile) -> list[str]:
    lines = [(row.title, row.value, row.method) for row in single_rows(profile)]
    missing = "" if profile.energy else NO_ENERGY
    return ["## Memory and energy", table(("", "", "how"), lines, left=3) if lines else "", missing]


def _operators(profile: Profile) -> list[str]:
    method = plain(profile.operators_method) or "Not measured."
    if not profile.operators:
        return ["## Operators", method]
    folds = heaviest(profile.operators)
    lines = [[*fold.name, inline(fold.calls), short(fold.ms), f"{100 * fold.share:.1f} %"] for fold in folds]
    rest = folds[_OPERATORS:]
    more = f"{len(rest)} more take {short(sum(fold.ms for fold in rest))} ms a run together." if rest else ""
    head = ("graph", "layer", "operator", "calls a run", "ms a run", "share")
    return ["## Operators", method, table(head, lines[:_OPERATORS], left=3), more]
