"""The page of an ablation: its four rows, and each against the base on the same clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mosear.evaluation.comparing import compare_runs
from mosear.evaluation.figure_names import SUBSETS, shown, shown_difference, title_of
from mosear.evaluation.report.plots import COLOURS, PLOT_STYLE, figure, plot
from mosear.evaluation.results import REPORT, read_run
from mosear.evaluation.variants import ABLATION, BASE, TITLES
from mosear.runtime.errors import Failed
from mosear.runtime.report.document import document
from mosear.runtime.report.markup import Markup, joined, number, table, tag
from mosear.runtime.terminal import ESTIMATE


def write_ablation(folder: Path, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``report.html`` into the folder that holds a run a variant.

    Args:
        folder: of the ablation.
        metrics: by variant, its figures.

    Raises:
        Failed: it can't be written, or matplotlib is not installed.
    """
    first = metrics[BASE]
    title = f"{first['title'].split(', ')[0]} on {first['benchmark']['title']}: what each part does"
    links = [tag("a", TITLES[name], href=f"{name}/{REPORT}") for name in metrics]
    sections = [
        tag("h1", title),
        tag("div", tag("p", ESTIMATE), class_="callout"),
        _rows(metrics),
        _against_base(folder),
        tag("p", "The page of each row: ", *joined_with(links)),
    ]
    try:
        (folder / REPORT).write_text(document(title, sections, PLOT_STYLE), encoding="utf-8")
    except OSError as error:
        raise Failed(f"{folder / REPORT} can't be written ({error.strerror or error})", "free space") from error


def joined_with(links: list[Markup]) -> list[Markup]:
    """Links with commas between them."""
    return [part for place, link in enumerate(links) for part in ((Markup(", "), link) if place else (link,))]


def _rows(metrics: Mapping[str, Mapping[str, Any]]) -> Markup:
    first = metrics[BASE]
    subsets = [name for name in SUBSETS if name in first["by_subset"]]
    subsets += [name for name in first["by_subset"] if name not in subsets]
    headline = [name for name in first["benchmark"]["headline"] if name in first["figures"]]
    rows = []
    for name, each in metrics.items():
        cells = [shown("accuracy", each["by_subset"][subset]["accuracy"]["value"]) for subset in subsets]
        for figure_name in headline:
            value = each["figures"][figure_name]
            ends = (
                ""
                if value["low"] is None
                else f" ({shown(figure_name, value['low'])} to {shown(figure_name, value['high'])})"
            )
            cells.append(shown(figure_name, value["value"]) + ends)
        rows.append((TITLES[name], *cells))
    head = ("", *(name.replace("_", " ") for name in subsets), *map(title_of, headline))
    parts = [tag("h2", "The four rows"), table(head, rows)]
    if subsets:

        def draw(axes: Any) -> None:
            width = 0.8 / len(metrics)
            for place, (name, each) in enumerate(metrics.items()):
                values = [100 * each["by_subset"][subset]["accuracy"]["value"] for subset in subsets]
                at = [index + (place - (len(metrics) - 1) / 2) * width for index in range(len(subsets))]
                axes.bar(at, values, width * 0.92, color=COLOURS[place], label=TITLES[name])
            axes.set_xticks(range(len(subsets)), [name.replace("_", " ") for name in subsets])
            axes.set_ylabel("right, %")
            axes.set_ylim(0, 100)
            axes.legend(ncols=len(metrics), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)

        parts.append(
            tag("div", figure("Accuracy by subset.", "accuracy by subset and row", plot(draw)), class_="plots")
        )
    return joined(parts)


def _against_base(folder: Path) -> Markup:
    base = read_run(folder / BASE)
    rows = []
    for name in ABLATION[1:]:
        found = compare_runs(base, read_run(folder / name))
        for figure_name in ("accuracy", "modality_gap"):
            each = found["figures"].get(figure_name)
            if each is None:
                continue
            gap, test = each["difference"], found["mcnemar"]
            ends = (
                ""
                if gap["low"] is None
                else f"{shown_difference('', gap['low'])} to {shown_difference('', gap['high'])}"
            )
            p = number(test["exact"]) if figure_name == "accuracy" and test else ""
            rows.append((TITLES[name], title_of(figure_name), shown_difference("", gap["value"]), ends, p))
    return joined(
        tag("h2", "Against the base"),
        tag("p", "Percentage points on the same clips, with the interval of a paired bootstrap."),
        table(("", "Figure", "Difference", "95 % interval", "McNemar, exact p"), rows),
    )
