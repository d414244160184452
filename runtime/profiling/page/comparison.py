"""A comparison of two as one HTML page."""

from __future__ import annotations

from mosear.runtime.profiling.compare import FASTER, SLOWER, Comparison
from mosear.runtime.profiling.forms.comparison import NOTHING, RATIO, cells, facts, few, heading, sides
from mosear.runtime.profiling.forms.words import title
from mosear.runtime.profiling.page.axes import Scale, along, padded
from mosear.runtime.profiling.page.heading import callout, described
from mosear.runtime.profiling.page.style import STYLE
from mosear.runtime.report.document import document
from mosear.runtime.report.drawing import WIDTH, chart, key, line, text
from mosear.runtime.report.markup import Markup, joined, table, tag

_HEAD = ("ms unless said", "A", "B", "B/A", "interval", "pairs", "B is")
_KINDS = {FASTER: "c", SLOWER: "b"}
_LEFT, _STEP = 112.0, 22.0


def comparison_page(comparison: Comparison) -> str:
    """The page's HTML. Everything that comes from a bundle, a path or a machine is escaped."""
    name = heading(comparison)
    top = joined(
        tag("h1", name),
        callout(comparison.warnings),
        table(("", "A", "B"), sides(comparison)),
        described(facts(comparison)),
    )
    return document(name, [top, _metrics(comparison)], STYLE)


def _metrics(comparison: Comparison) -> Markup:
    title_ = tag("h2", "Differences")
    if not comparison.metrics:
        return tag("section", title_, tag("p", NOTHING))
    seen = [each for each in comparison.metrics if each.verdict in _KINDS]
    told = ", ".join(f"{title(each.name, each.unit)} {each.verdict}" for each in seen)
    return tag(
        "section",
        title_,
        tag("p", f"B is, compared with A: {told}." if told else "No difference between A and B is seen."),
        tag("div", _forest(comparison), class_="charts"),
        table(_HEAD, [cells(each) for each in comparison.metrics], "wide"),
        tag("p", f"{comparison.method}. {RATIO}" if comparison.method else RATIO, class_="soft"),
        tag("p", few(comparison), class_="soft") if few(comparison) else Markup(),
    )


def _forest(comparison: Comparison) -> Markup:
    """A dot a metric for its ratio, with the interval around it, against the line of no difference."""
    found = [value for each in comparison.metrics for value in (each.low, each.ratio, each.high) if value is not None]
    scale = Scale(*padded([1.0, *found]), _LEFT, WIDTH - 10.0)
    bottom = _STEP * len(comparison.metrics)
    parts: list[str] = [*along(scale, 0.0, bottom, 4), line(scale(1.0), 0.0, scale(1.0), bottom, "mark")]
    for place, each in enumerate(comparison.metrics):
        y, kind = _STEP * (place + 0.5), _KINDS.get(each.verdict, "a")
        parts.append(text(_LEFT - 6, y + 4, title(each.name, each.unit)[:19], "end"))
        if each.low is not None and each.high is not None:
            parts.append(line(scale(each.low), y, scale(each.high), y, "whisker"))
            parts += [line(scale(end), y - 3, scale(end), y + 3, "whisker") for end in (each.low, each.high)]
        parts.append(tag("circle", cx=round(scale(each.ratio), 1), cy=y, r=4, class_=kind))
    names = key(c="B is faster", b="B is slower", a="no difference seen")
    return chart(joined("B over A, with its interval. ", names), bottom + 18, "ratios by metric", parts)
