"""What plots are made of: inline SVG, drawn 340 units wide so that it keeps its type size on a phone."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.runtime.report.markup import Markup, joined, tag

WIDTH = 340


def key(**names: str) -> Markup:
    """A legend: what each colour class stands for."""
    return joined([joined(" ", tag("span", text, class_=f"key {kind}")) for kind, text in names.items()])


def chart(caption: str | Markup, height: float, label: str, *parts: str | Sequence[str]) -> Markup:
    """A figure around an SVG of the given height."""
    svg = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=label)
    return tag("figure", tag("figcaption", caption), svg)


def text(x: float, y: float, content: str, class_: str | None = None) -> Markup:
    """A line of text; ``class_`` may hold ``soft``, ``mid`` and ``end``."""
    return tag("text", content, x=round(x, 1), y=round(y, 1), class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """A box in one of the style's colours."""
    size = {"width": round(max(width, 0.0), 2), "height": round(max(height, 0.0), 2)}
    return tag("rect", x=round(x, 1), y=round(y, 1), **size, rx=1.5, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A stroke of one of the style's kinds."""
    return tag("line", x1=round(x1, 1), y1=round(y1, 1), x2=round(x2, 1), y2=round(y2, 1), class_=class_)
