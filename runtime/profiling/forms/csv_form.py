"""A profile as one rectangular table: a row a metric, so that several files can be put below each other."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.forms.rows import cold_rows, metric_rows, single_rows
from mosear.runtime.profiling.forms.statistics import COLUMNS
from mosear.runtime.profiling.record import SCHEMA, Profile

_IDENTITY = ("target", "precision", "backend", "sha256")
HEAD = ("metric", *COLUMNS, "method", "bundle", *_IDENTITY, "clip", "scenario", "created", "warnings", "schema")


def to_csv(profile: Profile) -> str:
    """Metrics, cold start, windows of a fixed rate, memory and energy, a row each; cells without a value are empty.

    Every row says which bundle it is of and what makes it hard to compare. Samples, timeline, operators and context
    are in the JSON form only.
    """
    bundle = profile.bundle
    identity = [bundle.get("name"), *(bundle.get(key) for key in _IDENTITY)]
    told = [profile.clip, profile.scenario.get("kind"), profile.created, "; ".join(profile.warnings), SCHEMA]
    lines = []
    for row in (*metric_rows(profile), *cold_rows(profile), *single_rows(profile)):
        figures = row.figures.to_dict()
        lines.append([row.metric, *(figures.get(name) for name in COLUMNS), row.method, *identity, *told])
    return lines_of(HEAD, lines)


def lines_of(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV with a header line. Text that a spreadsheet would run as a formula has an apostrophe before it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, (int, float)):
        return value if math.isfinite(value) else None
    if value is None:
        return None
    text = one_line(value, limit=4000)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
