"""Sections on the answers: figures, subsets, folds, confusions, classes, reliability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mosear.evaluation.figure_names import shown, title_of
from mosear.evaluation.report.plots import COLOURS, bars, figure, heat, plot
from mosear.runtime.report.markup import Markup, figures, joined, percent, table, tag

Metrics = Mapping[str, Any]


def figures_section(metrics: Metrics) -> Markup:
    """The figures with their intervals, the benchmark's own first, and what counts as an error without being one."""
    headline = metrics["benchmark"]["headline"]
    names = [name for name in headline if name in metrics["figures"]]
    names += [name for name in metrics["figures"] if name not in names]
    rows = []
    for name in names:
        value = metrics["figures"][name]
        ends = "" if value["low"] is None else f"{shown(name, value['low'])} to {shown(name, value['high'])}"
        rows.append((title_of(name), shown(name, value["value"]), ends, value["method"]))
    counts = metrics["counts"]
    failures = {**counts["parse_failures"], **counts["other_failures"]}
    if counts["unknown"]:
        failures["neither picture nor sound"] = counts["unknown"]
    told = [tag("p", f"{count} clips have no answer and count as wrong: {why}.") for why, count in failures.items()]
    beyond = metrics["truth_beyond_labels"]
    if beyond:
        named = ", ".join(f"{label} ({count})" for label, count in beyond.items())
        told.append(tag("p", f"Labels that no answer can meet, whose clips count as wrong: {named}."))
    return joined(
        tag("h2", "Figures"),
        table(("Figure", "Value", f"{metrics['intervals']['level']:.0%} interval", "by"), rows),
        told,
    )


def subsets_section(metrics: Metrics) -> Markup:
    """Accuracy by subset: all modalities, the face alone, the voice alone."""
    parts = metrics["by_subset"]
    if not parts:
        return Markup()
    alone = metrics["by_modality"]
    names: list[str] = []
    values: list[float] = []
    ends: list[tuple[float, float] | None] = []
    rows = []
    for name, part in parts.items():
        sides = {"all": part} | {
            title: each["by_subset"][name]
            for title, kind in (("face alone", "visual"), ("voice alone", "audio"))
            if (each := alone[kind]) and name in each["by_subset"]
        }
        for title, side in sides.items():
            value = side["accuracy"]
            names.append(f"{name.replace('_', ' ')}, {title}")
            values.append(value["value"])
            ends.append((value["low"], value["high"]))
            rows.append((name, title, str(side["clips"]), *(percent(value[key]) for key in ("value", "low", "high"))))
    drawn = plot(lambda axes: bars(axes, names, values, ends), height=0.9 + 0.34 * len(names))
    return joined(
        tag("h2", "By subset"),
        tag("div", figure("Share of right answers, 95 % interval.", "accuracy by subset", drawn), class_="plots"),
        figures("The numbers", table(("Subset", "Seen", "Clips", "Right", "from", "to"), rows)),
    )


def folds_section(metrics: Metrics) -> Markup:
    """Figures by fold and by speaker, with their mean and standard deviation."""
    parts = []
    names = ("uar", "war", "weighted_f1")
    for title, key in (("By fold", "by_fold"), ("By speaker", "by_speaker")):
        groups = metrics[key]
        if groups is None:
            continue
        rows = [
            (str(name), str(each["clips"]), *(shown(n, each[n]) for n in names))
            for name, each in groups["groups"].items()
        ]
        rows.append(("mean", "", *(shown(n, groups["mean"][n]) for n in names)))
        rows.append(("standard deviation", "", *(shown(n, groups["std"][n]) for n in names)))
        parts += [tag("h2", title), table(("", "Clips", *map(title_of, names)), rows)]
    return joined(parts)


def confusion_section(metrics: Metrics) -> Markup:
    """What was answered where something else was true."""
    confusion = metrics["confusion"]
    if confusion is None:
        return Markup()
    counts = np.asarray(confusion["counts"], np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: Any) -> None:
        heat(axes, shares, confusion["truth"], confusion["answers"], 1.0)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column + 0.5, row + 0.5, f"{count:.0f}", ha="center", va="center", fontsize=8)
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")
        axes.tick_params(axis="x", rotation=40)

    drawn = plot(draw, 5.6, min(10.0, 1.6 + 0.36 * len(counts)))
    rows = [(truth, *(str(int(n)) for n in row)) for truth, row in zip(confusion["truth"], counts, strict=True)]
    return joined(
        tag("h2", "Confusions"),
        tag("div", figure("Clips by truth (down) and answer (across).", "confusion matrix", drawn), class_="plots"),
        figures("The numbers", table(("", *confusion["answers"]), rows)),
    )


def classes_section(metrics: Metrics) -> Markup:
    """Precision, recall and F1 by class."""
    if not metrics["by_class"]:
        return Markup()
    rows = [
        (
            name,
            *(percent(each[key]) for key in ("precision", "recall", "f1")),
            str(each["support"]),
            str(each["answered"]),
        )
        for name, each in metrics["by_class"].items()
    ]
    return joined(tag("h2", "By class"), table(("Class", "Precision", "Recall", "F1", "True", "Answered"), rows))


def reliability_section(metrics: Metrics) -> Markup:
    """Accuracy against confidence."""
    reliability = metrics["reliability"]
    if reliability is None:
        return Markup()
    filled = [each for each in reliability["bins"] if each["count"]]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=COLOURS[5], linewidth=1, linestyle="--")
        axes.plot([b["confidence"] for b in filled], [b["accuracy"] for b in filled], color=COLOURS[0])
        most = max(each["count"] for each in filled)
        sizes = [8 + 90 * each["count"] / most for each in filled]
        axes.scatter([b["confidence"] for b in filled], [b["accuracy"] for b in filled], s=sizes, color=COLOURS[0])
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share right")

    rows = [
        (f"{b['low']:.2f} to {b['high']:.2f}", str(b["count"]), percent(b["confidence"]), percent(b["accuracy"]))
        for b in filled
    ]
    error = metrics["figures"].get("calibration_error", {}).get("value")
    told = f"Expected calibration error {shown('calibration_error', error)}"
    told += f"; a perfectly calibrated model would show about {reliability['error_by_chance']:.3f} on as many clips."
    return joined(
        tag("h2", "How far scores can be trusted"),
        tag("p", told),
        tag("div", figure("On the line is calibrated.", "reliability diagram", plot(draw, 4.4, 3.6)), class_="plots"),
        figures("The numbers", table(("Confidence", "Clips", "Mean confidence", "Right"), rows)),
    )
