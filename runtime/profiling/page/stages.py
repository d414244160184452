"""Where the time goes: stages one after another, and what the text behind an answer costs."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.runtime.profiling.forms.rows import ANSWER, Row, metric_rows, not_measured
from mosear.runtime.profiling.forms.words import short
from mosear.runtime.profiling.page.axes import Scale, along
from mosear.runtime.profiling.record import END_TO_END, Profile
from mosear.runtime.report.drawing import WIDTH, chart, key, line, rect, text
from mosear.runtime.report.markup import Markup, joined, table, tag

_SHOWN = ("p50", "p90", "p95", "p99", "avg", "std", "min", "max", "count")


def stages(profile: Profile) -> Markup:
    """The breakdown of the steady state with the table behind it."""
    rows = metric_rows(profile)
    if not rows:
        return tag("section", tag("h2", "Steady state"), tag("p", "Not measured."))
    parts = [row for row in rows if row.metric in ANSWER]
    whole = next((row for row in rows if row.metric == END_TO_END), None)
    plots = [waterfall(parts, whole, "Stages of an answer, medians, ms", "a stage")] if parts else []
    missing = not_measured(profile)
    return tag(
        "section",
        tag("h2", "Where the time goes"),
        _sum(parts, whole),
        tag("div", plots, class_="charts") if plots else Markup(),
        statistics_table(rows),
        tag("p", f"Not measured: {', '.join(missing)}.", class_="soft") if missing else Markup(),
    )


def statistics_table(rows: Sequence[Row]) -> Markup:
    """All figures of the rows."""
    head = ("ms unless said", *("mean" if name == "avg" else name for name in _SHOWN))
    lines = [(row.title, *(short(getattr(row.figures, name)) for name in _SHOWN)) for row in rows]
    return table(head, lines, "wide")


def waterfall(rows: Sequence[Row], whole: Row | None, caption: str, each: str) -> Markup:
    """A bar a row, each beginning where the one above ends; its whisker goes to the 90th percentile.

    Args:
        rows: with their percentiles.
        whole: a last bar from the beginning, for what the rows are parts of.
        caption: of the plot.
        each: what a row is, for the legend.
    """
    middles = [row.figures.p50 or 0.0 for row in rows]
    uppers = [row.figures.p90 or 0.0 for row in rows]
    ends = [sum(middles[:place]) + upper for place, upper in enumerate(uppers)]
    highest = max([*ends, sum(middles), (whole.figures.p90 or 0.0) if whole else 0.0]) or 1.0
    left, right, step = 108.0, 292.0, 19.0
    scale = Scale(0.0, highest, left, right)
    bars = [(row, sum(middles[:place]), "a") for place, row in enumerate(rows)]
    bars += [(whole, 0.0, "c")] if whole else []
    bottom = step * len(bars)
    parts: list[str] = [*along(scale, 0.0, bottom, 4)]
    for place, (row, start, kind) in enumerate(bars):
        y, middle, upper = step * place + 3, row.figures.p50 or 0.0, row.figures.p90 or 0.0
        parts.append(text(left - 5, y + 10, row.title[:18], "end"))
        parts.append(rect(scale(start), y, scale(start + middle) - scale(start), 12, kind))
        parts.append(line(scale(start + middle), y + 6, scale(start + upper), y + 6, "whisker"))
        parts.append(line(scale(start + upper), y + 3, scale(start + upper), y + 9, "whisker"))
        parts.append(text(WIDTH - 2, y + 10, short(middle), "end"))
    names = {"a": each} | ({"c": "the whole"} if whole else {})
    return chart(joined(caption, ". Whisker: 90th percentile. ", key(**names)), bottom + 18, caption, parts)


def _sum(parts: Sequence[Row], whole: Row | None) -> Markup:
    if not parts or whole is None or not whole.figures.avg > 0:
        return Markup()
    share = sum(row.figures.avg for row in parts) / whole.figures.avg
    most = max(parts, key=lambda row: row.figures.avg)
    rest = "the rest lies between them" if share <= 1 else "they overlap"
    times = f"{short(whole.figures.p50)} ms at the median, {short(whole.figures.p99)} ms at the 99th percentile"
    told = (
        f"An answer takes {times if whole.figures.count != 1 else f'{short(whole.figures.avg)} ms'}. "
        f"{most.title.capitalize()} takes most: {100 * most.figures.avg / whole.figures.avg:.1f} % of the mean. All "
        f"stages together are {100 * share:.1f} % of it; {rest}."
    )
    return tag("p", told)
