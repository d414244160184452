"""The page of two runs, and that of an ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mosear.evaluation.attention import ALL, attention_of, reliance_by_subset
from mosear.evaluation.figure_names import shown, shown_difference, title_of
from mosear.evaluation.report.plots import COLOURS, PLOT_STYLE, figure, plot, stacked
from mosear.evaluation.results import Run
from mosear.runtime.errors import Failed
from mosear.runtime.report.document import document
from mosear.runtime.report.markup import Markup, figures, joined, number, table, tag
from mosear.runtime.terminal import ESTIMATE

_LISTED = 300


def write_comparison(path: Path, a: Run, b: Run, found: Mapping[str, Any]) -> None:
    """Write the page of two runs. Raises Failed when it can't be written."""
    try:
        path.write_text(comparison_page(a, b, found), encoding="utf-8")
    except OSError as error:
        raise Failed(f"{path} can't be written ({error.strerror or error})", "free space or permit it") from error


def comparison_page(a: Run, b: Run, found: Mapping[str, Any]) -> str:
    """The page's HTML; ``found`` is what ``compare_runs`` gives."""
    counts = found["clips"]
    told = [f"{counts['both']} clips are in both runs."]
    for key, why in (("only_a", "only in A"), ("only_b", "only in B"), ("other_truth", "with another truth")):
        if counts[key]:
            told.append(f"{counts[key]} {why}.")
    sections = [
        tag("h1", f"{found['benchmark']}: two runs"),
        tag("div", tag("p", ESTIMATE), class_="callout"),
        tag("dl", tag("dt", "A"), tag("dd", found["a"]), tag("dt", "B"), tag("dd", found["b"])),
        tag("p", " ".join(told)),
        _differences(found),
        _subsets(found),
        _reliance(a, b),
        _attention(a, b),
        _changed(found),
    ]
    return document(f"{found['a']} against {found['b']}", sections, PLOT_STYLE)


def _differences(found: Mapping[str, Any]) -> Markup:
    rows = [_row(name, each) for name, each in found["figures"].items()]
    parts = [
        tag("h2", "Figures"),
        tag(
            "p",
            "Differences are B − A on the same clips, shares in percentage points, with the interval of a paired "
            "bootstrap. An interval that holds 0 is no difference that these clips show.",
        ),
        table(("Figure", "A", "B", "B − A", "95 % interval"), rows),
    ]
    test = found["mcnemar"]
    if test is not None:
        parts.append(
            tag(
                "p",
                f"McNemar: {test['b']} clips that only A answers right, {test['c']} that only B does; "
                f"exact p = {number(test['exact'])}, mid-p = {number(test['mid_p'])}.",
            )
        )
    return joined(parts)


def _row(name: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    gap = each["difference"]
    ends = (
        "" if gap["low"] is None else f"{shown_difference(name, gap['low'])} to {shown_difference(name, gap['high'])}"
    )
    return title_of(name), shown(name, each["a"]), shown(name, each["b"]), shown_difference(name, gap["value"]), ends


def _subsets(found: Mapping[str, Any]) -> Markup:
    if not found["by_subset"]:
        return Markup()
    rows = [
        (name.replace("_", " "), str(each["clips"]), *_row("accuracy", each)[1:], number(each["mcnemar"]["exact"]))
        for name, each in found["by_subset"].items()
    ]
    names = [row[0] for row in rows]
    values = {side: [each[side] for each in found["by_subset"].values()] for side in ("a", "b")}
    drawn = plot(lambda axes: _pairs(axes, names, values), height=1.2 + 0.5 * len(names))
    return joined(
        tag("h2", "Accuracy by subset"),
        tag("div", figure("Share of right answers.", "accuracy of both by subset", drawn), class_="plots"),
        table(("Subset", "Clips", "A", "B", "B − A", "95 % interval", "McNemar, exact p"), rows),
    )


def _pairs(axes: Any, names: Sequence[str], values: Mapping[str, Sequence[float]]) -> None:
    places = np.arange(len(names))[::-1]
    for side, (name, colour) in enumerate(zip(values, (COLOURS[0], COLOURS[1]), strict=False)):
        shift = 0.2 - 0.4 * side
        axes.barh(
            places + shift, [100 * value for value in values[name]], height=0.36, color=colour, label=name.upper()
        )
        for place, value in zip(places, values[name], strict=True):
            axes.text(101, place + shift, f"{100 * value:.1f}", va="center", fontsize=8)
    axes.set_yticks(places, names)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%")
    axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def _reliance(a: Run, b: Run) -> Markup:
    names, rows = [], []
    sides = [("A", reliance_by_subset(a.records)), ("B", reliance_by_subset(b.records))]
    for subset in sides[0][1]:
        for side, found in sides:
            if subset in found:
                names.append(f"{'all clips' if subset == ALL else subset.replace('_', ' ')}, {side}")
                rows.append(found[subset])
    if not rows:
        return Markup()
    parts = {
        kind: [row[key] for row in rows] for kind, key in (("picture", "visual"), ("sound", "audio"), ("text", "text"))
    }
    drawn = plot(lambda axes: stacked(axes, names, parts), height=1.1 + 0.32 * len(names))
    return joined(
        tag("h2", "What the answers relied on"),
        tag("div", figure("Attention of the last token.", "reliance of both runs", drawn), class_="plots"),
    )


def _attention(a: Run, b: Run) -> Markup:
    """Where attention on sound changed, a field a head, when both report the same layers and heads."""
    sides = [attention_of(run) for run in (a, b)]
    if sides[0] is None or sides[1] is None or sides[0].layers != sides[1].layers:
        return Markup()
    shares = [side.by_subset[ALL].audio_share for side in sides if side is not None]
    if shares[0].shape != shares[1].shape:
        return Markup()
    change, layers = shares[1] - shares[0], sides[0].layers

    def draw(axes: Any) -> None:
        top = max(float(np.abs(change).max()), 1e-6)
        image = axes.pcolormesh(change, cmap="RdBu_r", vmin=-top, vmax=top)
        axes.invert_yaxis()
        axes.set_yticks(np.arange(len(layers)) + 0.5, [str(layer) for layer in layers])
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        axes.figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05)

    caption = "Change of the audio share of attention on media, B − A, before reallocation; red: more on sound."
    drawn = plot(draw, height=min(9.0, 1.3 + 0.28 * len(layers)))
    return joined(tag("h2", "Attention"), tag("div", figure(caption, "change of audio share", drawn), class_="plots"))


def _changed(found: Mapping[str, Any]) -> Markup:
    changed = found["changed"]
    if not changed:
        return joined(tag("h2", "Clips whose answer changed"), tag("p", "None."))
    kinds = {kind: sum(each["kind"] == kind for each in changed) for kind in ("gained", "lost", "changed")}
    told = (
        f"{kinds['gained']} that only B answers right, {kinds['lost']} that only A does, "
        f"{kinds['changed']} wrong in both in another way or without a label."
    )
    rows = [
        (each["name"], each["subset"] or "", each["label"] or "", str(each["a"]), str(each["b"]), each["kind"])
        for each in changed[:_LISTED]
    ]
    more = f", the first {_LISTED} here" if len(changed) > _LISTED else ""
    return joined(
        tag("h2", "Clips whose answer changed"),
        tag("p", told),
        figures(f"{len(changed)} clips{more}", table(("Clip", "Subset", "Truth", "A", "B", ""), rows)),
    )
