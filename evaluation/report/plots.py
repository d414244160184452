"""Plots by matplotlib, put into the page as SVG: text stays text, and takes the page's colour in light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.runtime.errors import Failed
from mosear.runtime.report.markup import Markup, tag

_TEXT = "#010203"
"""Stands for the page's own colour of text, which matplotlib has no name for."""

COLOURS = ("#4f81d6", "#d9822b", "#1f9e8f", "#9b6bd3", "#c7556f", "#7c8794")
_EMPTY = "#8a94a033"

Array = NDArray[Any]


def figure(caption: str | Markup, label: str, svg: Markup) -> Markup:
    """A plot with its caption; ``label`` is what a screen reader says of it."""
    return tag("figure", tag("figcaption", caption), tag("div", svg, role="img", aria_label=label), class_="plot")


def plot(draw: Callable[[Any], None], width: float = 5.2, height: float = 3.2) -> Markup:
    """Draw on fresh axes.

    Args:
        draw: gets the axes.
        width, height: inches, of which the page shows 72 units each.

    Raises:
        Failed: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Failed(f"the report needs matplotlib ({error})", "pip install 'mosear[eval]'") from error
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _TEXT),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": _cycle(),
    }
    with rc_context(settings):
        sheet = Figure(figsize=(width, height), layout="constrained")
        draw(sheet.subplots())
        buffer = io.StringIO()
        sheet.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def bars(axes: Any, names: Sequence[str], values: Sequence[float], ends: Sequence[tuple[float, float] | None]) -> None:
    """Horizontal bars from the top down, with an interval where there is one; values are shares of 1, shown in %."""
    places = np.arange(len(names))[::-1]
    axes.barh(places, [100 * value for value in values], height=0.62, color=COLOURS[0])
    for place, value, interval in zip(places, values, ends, strict=True):
        if interval is not None:
            axes.plot([100 * end for end in interval], [place, place], color=_TEXT, linewidth=1.2)
        axes.text(101, place, f"{100 * value:.1f}", va="center")
    axes.set_yticks(places, names)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%")


def heat(axes: Any, values: Array, rows: Sequence[str], columns: Sequence[str], top: float | None = None) -> Any:
    """A field a value, darker the larger; ``top`` is the full colour."""
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("mosear", [(0.5, 0.56, 0.64, 0.12), (0.20, 0.42, 0.80, 1.0)])
    image = axes.pcolormesh(values, cmap=ramp, vmin=0, vmax=top or max(float(values.max(initial=0.0)), 1e-9))
    axes.invert_yaxis()
    step = max(1, len(columns) // 16)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(0, len(columns), step) + 0.5, list(columns)[::step])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05).outline.set_visible(False)
    return image


def stacked(axes: Any, names: Sequence[str], parts: Mapping[str, Sequence[float]]) -> None:
    """Horizontal stacked bars of shares, from the top down."""
    places = np.arange(len(names))[::-1]
    left = np.zeros(len(names))
    for colour, (part, values) in zip(COLOURS, parts.items(), strict=False):
        widths = 100 * np.asarray(values, np.float64)
        axes.barh(places, widths, left=left, height=0.62, color=colour, label=part)
        left += widths
    axes.set_yticks(places, names)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%")
    axes.legend(ncols=len(parts), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def _cycle() -> Any:
    from cycler import cycler

    return cycler(color=COLOURS)


def _inline(svg: str) -> Markup:
    """The drawing alone, in the page's colour of text, as wide as its box."""
    inner = svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
    inner = re.sub(r"<(metadata|style)\b.*?</\1>", "", inner, flags=re.DOTALL)
    inner = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", inner, count=2)
    # Groups are numbered anew in every drawing, and nothing refers to them; what is referred to has a hash for a name.
    return Markup(re.sub(r'<g id="[a-z_0-9.]*">', "<g>", inner))


PLOT_STYLE = """
figure.plot { grid-column: auto; }
figure.plot svg { max-width: 640px; width: 100%; height: auto; }
.plots {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; margin: 8px 0;
}
"""
