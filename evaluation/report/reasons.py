"""Sections on why the model errs: slices, reliance, attention by layer and head, chosen heads, gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.attention import ALL, Attention
from mosear.evaluation.report.plots import bars, figure, heat, plot, stacked
from mosear.evaluation.slices import Slice
from mosear.runtime.report.markup import Markup, figures, joined, number, percent, table, tag

_SHOWN_LAYERS = 48
"""Layers up to which heads are drawn one by one: a figure of more would be a blur."""

Array = NDArray[np.float64]


def slices_section(found: Sequence[Slice]) -> Markup:
    """Accuracy on slices, with intervals."""
    if not found:
        return Markup()
    plots = []
    for group in dict.fromkeys(each.group for each in found):
        inside = [each for each in found if each.group == group]
        names = [f"{each.name} ({each.clips})" for each in inside]
        values, ends = [each.accuracy for each in inside], [(each.low, each.high) for each in inside]
        drawn = plot(lambda axes, n=names, v=values, e=ends: bars(axes, n, v, e), height=0.9 + 0.36 * len(inside))  # type: ignore[misc]
        plots.append(figure(f"By {group}.", f"accuracy by {group}", drawn))
    rows = [
        (each.group, each.name, str(each.clips), percent(each.accuracy), percent(each.low), percent(each.high))
        for each in found
    ]
    head = ("Sliced by", "Slice", "Clips", "Right", "from", "to")
    return joined(
        tag("h2", "Where it errs"),
        tag(
            "p",
            "Share of right answers, with Wilson's 95 % interval; the number of clips in brackets. "
            "What face and voice say alone comes from the same model with the other one hidden.",
        ),
        tag("div", plots, class_="plots"),
        figures("The numbers", table(head, rows)),
    )


def reliance_section(reliance: Mapping[str, Mapping[str, float]]) -> Markup:
    """Shares of attention on picture, sound and text."""
    if not reliance:
        return Markup()
    names = [_shown(name) for name in reliance]
    parts = {
        kind: [row[key] for row in reliance.values()]
        for kind, key in (("picture", "visual"), ("sound", "audio"), ("text", "text"))
    }
    drawn = plot(lambda axes: stacked(axes, names, parts), height=1.1 + 0.34 * len(names))
    rows = [
        (_shown(name), *(percent(row[key]) for key in ("visual", "audio", "text"))) for name, row in reliance.items()
    ]
    return joined(
        tag("h2", "What the answers relied on"),
        tag("p", "Mean attention of the prompt's last token after reallocation, over layers and heads."),
        tag("div", figure("By subset.", "reliance by subset", drawn), class_="plots"),
        figures("The numbers", table(("Clips", "Picture", "Sound", "Text"), rows)),
    )


def attention_section(attention: Attention | None) -> Markup:
    """Audio share and reallocation, a field a head."""
    if attention is None:
        return joined(
            tag("h2", "Attention by layer and head"),
            tag("p", "This bundle's graphs report none: it was built without reallocation."),
        )
    share, chosen = [], []
    for name, part in attention.by_subset.items():
        caption = f"{_shown(name)}, {part.clips} clips"
        share.append(
            _head_map(f"Audio share of the attention on media: {caption}.", part.audio_share, attention.layers)
        )
        if part.selected.any():
            chosen.append(_head_map(f"Reallocated: {caption}.", part.selected, attention.layers))
    everyone = attention.by_subset[ALL]
    rows = [
        (
            str(layer),
            *(percent(float(everyone.mass[place, :, kind].mean())) for kind in (1, 2, 0)),
            percent(float(everyone.audio_share[place].mean())),
            percent(float(everyone.selected[place].mean())),
        )
        for place, layer in enumerate(attention.layers)
    ]
    head = ("Layer", "On picture", "On sound", "On text", "Audio share", "Heads reallocated")
    return joined(
        tag("h2", "Attention by layer and head"),
        tag(
            "p",
            "Attention of the prompt's last token before reallocation, mean over clips. Audio share is "
            "P_a / (P_a + P_v), which reallocation compares with its threshold.",
        ),
        tag("div", share, class_="plots"),
        tag("h3", "Which heads were reallocated, and how often") if chosen else Markup(),
        tag("div", chosen, class_="plots"),
        figures("Means by layer", table(head, rows)),
    )


def gates_section(attention: Attention | None) -> Markup:
    """Shares of the experts by module, on visual rows and on the others."""
    if attention is None or not attention.gates:
        return Markup()
    told = {
        "clips": "Mean over the prompts' rows of all clips; gates depend on the input here.",
        "calibration": "The constant gates that the bundle was merged with, from its calibration.",
    }[attention.gates_from]
    names = [path.removeprefix("model.layers.") for path in attention.gates]
    height = min(14.0, 1.1 + 0.24 * len(names))
    plots = []
    for row, (title, kinds) in enumerate((("visual rows", (0, 2)), ("text and audio rows", (1, 2)))):
        parts = {
            ("visual", "non-visual", "omni")[kind]: [float(gate[row, kind]) for gate in attention.gates.values()]
            for kind in kinds
        }
        drawn = plot(lambda axes, p=parts: stacked(axes, names, p), height=height)  # type: ignore[misc]
        plots.append(figure(f"Experts on {title}.", f"gates on {title}", drawn))
    rows = [
        (path, *(number(round(float(gate[row, kind]), 4)) for row, kind in ((0, 0), (0, 2), (1, 1), (1, 2))))
        for path, gate in attention.gates.items()
    ]
    head = ("Module", "visual: visual", "visual: omni", "other: non-visual", "other: omni")
    return joined(
        tag("h2", "Experts"),
        tag("p", told),
        tag("div", plots, class_="plots"),
        figures("The numbers", table(head, rows)),
    )


def _head_map(caption: str, values: Array, layers: Sequence[int]) -> Markup:
    if len(layers) > _SHOWN_LAYERS:
        caption += " Layers are shown in groups."
        groups = np.array_split(np.arange(len(layers)), _SHOWN_LAYERS)
        values = np.stack([values[group].mean(axis=0) for group in groups])
        layers = [layers[int(group[0])] for group in groups]
    columns = [str(head) for head in range(values.shape[1])]
    names = [str(layer) for layer in layers]

    def draw(axes: object) -> None:
        heat(axes, values, names, columns, 1.0)
        axes.set_xlabel("head")  # type: ignore[attr-defined]
        axes.set_ylabel("layer")  # type: ignore[attr-defined]

    return figure(caption, caption, plot(draw, height=min(9.0, 1.3 + 0.28 * len(names))))


def _shown(name: str) -> str:
    return "all clips" if name == ALL else name.replace("_", " ")
