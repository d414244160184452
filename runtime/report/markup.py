"""HTML and SVG as strings in which everything is escaped that was not made here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is markup already; any other text is escaped when it is put into some."""

    __slots__ = ()


_VOID = {"meta", "line", "rect", "circle", "path", "br"}


def tag(name: str, /, *children: str | Iterable[str], **attributes: object) -> Markup:
    """An element. ``class_`` gives ``class``; other underscores become hyphens; a child may be a sequence of them."""
    pairs = (
        (key.rstrip("_").replace("_", "-"), f"{value:g}" if isinstance(value, float) else str(value))
        for key, value in attributes.items()
        if value is not None
    )
    opening = name + "".join(f' {key}="{escape(value)}"' for key, value in pairs)
    if name in _VOID:
        return Markup(f"<{opening}/>" if name != "meta" else f"<{opening}>")
    return Markup(f"<{opening}>{joined(*children)}</{name}>")


def joined(*children: str | Iterable[str]) -> Markup:
    """Children one after another."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(escape(child))
        else:
            parts.append(joined(*child))
    return Markup("".join(parts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], class_: str | None = None) -> Markup:
    """A table in a box of its own that scrolls sideways where the page is too narrow for it.

    Cells that start like a number are set right-aligned.
    """
    body = [tag("tr", [_cell(cell) for cell in row]) for row in rows]
    header = tag("thead", tag("tr", [tag("th", name, scope="col") for name in head]))
    return tag("div", tag("table", header, tag("tbody", body), class_=class_), class_="box", tabindex="0")


def figures(summary: str, *content: str) -> Markup:
    """The numbers behind a plot, folded away."""
    return tag("details", tag("summary", summary), *content)


def number(value: float) -> str:
    """Four significant digits; whole numbers in full."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else "not a number" if math.isnan(value) else f"{value:g}"


def percent(value: float) -> str:
    """A share of 1 in percent."""
    return f"{100 * value:.4g} %" if math.isfinite(value) else number(value)


def megabytes(count: int) -> str:
    """Bytes in MB, a million each."""
    return f"{count / 1e6:.4g} MB"


def _cell(text: str) -> Markup:
    return tag("td", text, class_="number" if text[:1].isdigit() or text[:1] in ("-", "+") else None)
