"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from mosear.export.checks.record import Report
from mosear.export.report import sections
from mosear.runtime.report.document import document

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
    title = f"Verification of {report.identity.name}, {report.identity.precision}"
    return document(title, [section(report) for section in _SECTIONS])
