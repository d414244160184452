"""One HTML page around its sections: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from mosear.runtime.report.markup import Markup, joined, tag
from mosear.runtime.report.style import STYLE


def document(title: str, sections: Iterable[Markup], style: str = "") -> str:
    """The page's HTML.

    Args:
        title: of the page; escaped.
        sections: its content in order.
        style: CSS behind that of all pages.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", Markup(STYLE + style)),
    )
    body = tag("body", tag("main", list(sections)))
    return joined(Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), "\n")
