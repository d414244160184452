"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from mosear.export.checks.record import Report
from mosear.export.report import sections
from mosear.export.report.markup import Markup, joined, tag
from mosear.export.report.style import STYLE

_SECTIONS = (
    sections.heading,
    sections.checks,
    sections.accuracy,
    sections.reliability,
    sections.sensitivity,
    sections.layers,
    sections.experts,
    sections.heads,
    sections.cost,
)


def page(report: Report) -> str:
    """The page's HTML. Everything that comes from a checkpoint, a recipe or a folder of clips is escaped."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"Verification of {report.identity.name}, {report.identity.precision}"),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", tag("main", [section(report) for section in _SECTIONS]))
    return joined(Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), "\n")
