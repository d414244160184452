"""The plots of a verification report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mosear.evaluation.metrics.calibration import Bin, wilson
from mosear.export.checks.rows import GateRow, HeadsRow, Reliability, SubsetRow
from mosear.runtime.report.drawing import WIDTH, chart, key, line, rect, text
from mosear.runtime.report.markup import Markup, joined, number, percent, tag


def subset_bars(rows: Mapping[str, SubsetRow]) -> Markup:
    """Accuracy of both on each subset with 95 % intervals, and how often they agree."""
    parts: list[str] = []
    top = 0.0
    left, room = 8.0, 268.0
    for name, row in rows.items():
        parts.append(text(left, top + 12, f"{name.replace('_', ' ')} ({row.clips} clips)"))
        bars = (("b", row.pytorch, True), ("a", row.bundle, True), ("c", row.agreement, False))
        for place, (kind, value, interval) in enumerate(bars):
            y = top + 18 + 15 * place
            parts.append(rect(left, y, room, 11, "none"))
            parts.append(rect(left, y, room * value, 11, kind))
            if interval:
                low, high = wilson(value, row.clips)
                parts.append(line(left + room * low, y + 5.5, left + room * high, y + 5.5, "whisker"))
                parts += [line(left + room * x, y + 2.5, left + room * x, y + 8.5, "whisker") for x in (low, high)]
            parts.append(text(WIDTH - 2, y + 9.5, percent(value), "end"))
        top += 74
    caption = joined("Share of clips.", key(b="PyTorch right", a="bundle right", c="same label"))
    return chart(caption, top, "accuracy and agreement by subset", parts)


def reliability_diagram(reliability: Reliability) -> Markup:
    """Accuracy against confidence, with the number of answers in each bin below."""
    left, top, size = 34.0, 8.0, 262.0
    parts: list[str] = []
    for step in range(6):
        at = size * step / 5
        parts.append(line(left, top + at, left + size, top + at, "rule"))
        parts.append(text(left - 4, top + size - at + 4, number(step / 5), "soft end"))
        parts.append(text(left + at, top + size + 14, number(step / 5), "soft mid"))
    parts.append(line(left, top + size, left + size, top, "whisker"))
    for kind, bins in (("b", reliability.pytorch), ("a", reliability.bundle)):
        most = max((row.count for row in bins), default=1) or 1
        spots = [(left + size * b.confidence, top + size * (1 - b.accuracy), b.count / most) for b in bins if b.count]
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y, _ in spots)
        parts.append(tag("path", d=path, class_=f"line-{kind}"))
        # By area: a bin of a few answers is mostly noise, and should look it.
        dots = [(round(x, 1), round(y, 1), round(1.5 + 6.5 * share**0.5, 1)) for x, y, share in spots]
        parts += [tag("circle", cx=x, cy=y, r=radius, class_=kind, opacity=0.75) for x, y, radius in dots]
    parts.append(text(left + size / 2, top + size + 28, "confidence of the answer", "soft mid"))
    parts += _counts(reliability.bundle, left, top + size + 38, size, 44.0)
    caption = joined(
        "Share right (up) by confidence. On the line is calibrated; larger dots hold more.",
        key(b="PyTorch", a="bundle"),
    )
    return chart(caption, top + size + 100, "reliability diagram", parts)


def _counts(bins: Sequence[Bin], left: float, top: float, width: float, height: float) -> list[str]:
    most = max((row.count for row in bins), default=1) or 1
    step = width / len(bins)
    parts: list[str] = [
        rect(left + step * place + 1, top + height * (1 - row.count / most), step - 2, height * row.count / most, "a")
        for place, row in enumerate(bins)
    ]
    parts.append(line(left, top + height, left + width, top + height, "rule"))
    parts.append(text(left + width / 2, top + height + 14, f"answers by confidence, at most {most}", "soft mid"))
    return parts


def gate_bars(rows: Sequence[GateRow], title: str) -> Markup:
    """Shares of the experts by layer for one projection and class; the whisker is ± one deviation of the split."""
    left, room = 30.0, 300.0
    parts: list[str] = []
    names = [name for name in rows[0].mean if any(row.mean[name] > 0 for row in rows)]
    kinds = dict(zip(names, ("a", "b", "c"), strict=False))
    for place, row in enumerate(rows):
        y, start = 15.0 * place, left
        parts.append(text(left - 5, y + 10, number(row.layer), "soft end"))
        for name in names:
            parts.append(rect(start, y, room * row.mean[name], 12, kinds[name]))
            start += room * row.mean[name]
        half = row.variance[names[0]] ** 0.5
        ends = [left + room * min(max(row.mean[names[0]] + sign * half, 0.0), 1.0) for sign in (-1, 1)]
        parts.append(line(ends[0], y + 6, ends[1], y + 6, "whisker"))
    shown = key(**{kind: name.replace("_", "-") for name, kind in kinds.items()})
    return chart(joined(title, shown), 15 * len(rows), title, parts)


def heads_map(rows: Sequence[HeadsRow]) -> Markup:
    """A field for each head, the darker the more often it was reallocated."""
    left, across = 30.0, max(len(row.share) for row in rows)
    side = min(28.0, 306.0 / across)
    parts: list[str] = []
    for place, row in enumerate(rows):
        parts.append(text(left - 5, side * place + side / 2 + 4, number(row.layer), "soft end"))
        for head, share in enumerate(row.share):
            spot = left + side * head, side * place
            parts.append(rect(*spot, side - 1.5, side - 1.5, "none"))
            fill = tag("title", f"layer {row.layer}, head {head}: {percent(share)}")
            box = {"x": round(spot[0], 1), "y": round(spot[1], 1), "width": round(side - 1.5, 1)}
            parts.append(tag("g", fill, tag("rect", **box, height=box["width"], class_="a", opacity=round(share, 3))))
    height = side * len(rows)
    for head in {0, across // 2, across - 1}:
        parts.append(text(left + side * (head + 0.5), height + 11, number(head), "soft mid"))
    caption = "Layers down, heads across; full colour: reallocated in every window."
    return chart(caption, height + 16, "heads reallocated by layer", parts)


def pair_bars(rows: Mapping[str, tuple[float, float]], unit: str, names: tuple[str, str]) -> Markup:
    """Two bars a row, PyTorch's first, with their values."""
    most = max((value for pair in rows.values() for value in pair), default=1.0) or 1.0
    left, room = 8.0, 250.0
    parts: list[str] = []
    for place, (name, pair) in enumerate(rows.items()):
        top = 46.0 * place
        parts.append(text(left, top + 12, name))
        for below, (kind, value) in enumerate(zip(("b", "a"), pair, strict=True)):
            y = top + 17 + 13 * below
            parts.append(rect(left, y, max(room * value / most, 1.0), 10, kind))
            parts.append(text(left + room * value / most + 5, y + 9, f"{value:.4g} {unit}"))
    return chart(key(b=names[0], a=names[1]), 46 * len(rows), f"{names[0]} and {names[1]}, {unit}", parts)
