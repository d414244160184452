"""The page of one run: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosear.evaluation.attention import attention_of
from mosear.evaluation.report.answers import (
    classes_section,
    confusion_section,
    figures_section,
    folds_section,
    reliability_section,
    subsets_section,
)
from mosear.evaluation.report.plots import PLOT_STYLE
from mosear.evaluation.report.reasons import attention_section, gates_section, reliance_section, slices_section
from mosear.evaluation.results import REPORT, Run
from mosear.evaluation.slices import slices
from mosear.runtime.errors import Failed
from mosear.runtime.report.document import document
from mosear.runtime.report.markup import Markup, figures, joined, table, tag
from mosear.runtime.terminal import ESTIMATE

_LISTED = 200
"""Clips without an answer that the page names; the file has them all."""


def write_page(run: Run, metrics: Mapping[str, Any]) -> None:
    """Write ``report.html`` into the folder of a run; what stood there before is replaced.

    Args:
        run: its answers.
        metrics: its figures, as ``figures_of`` gives them.

    Raises:
        Failed: it can't be written, or matplotlib is not installed.
    """
    text = page(run, metrics)
    try:
        (run.path / REPORT).write_text(text, encoding="utf-8")
    except OSError as error:
        what = f"{run.path / REPORT} can't be written ({error.strerror or error})"
        raise Failed(what, "free space or permit it") from error


def page(run: Run, metrics: Mapping[str, Any]) -> str:
    """The page's HTML; whatever comes from a bundle, a benchmark or a model's text is escaped."""
    attention = attention_of(run)
    title = f"{run.title} on {metrics['benchmark']['title']}"
    sections = [
        _heading(run, metrics, title),
        figures_section(metrics),
        subsets_section(metrics),
        folds_section(metrics),
        confusion_section(metrics),
        classes_section(metrics),
        slices_section(slices(run.records)),
        reliance_section(metrics["reliance"]),
        attention_section(attention),
        gates_section(attention),
        reliability_section(metrics),
        _left_out(run),
    ]
    return document(title, sections, PLOT_STYLE)


def _heading(run: Run, metrics: Mapping[str, Any], title: str) -> Markup:
    about, setup = run.about, run.about["setup"]
    subject, counts = setup["subject"], metrics["counts"]
    asked = "label words are scored" if setup["answer"] == "score" else "the model writes its answer, which is parsed"
    rows = {
        "Evaluated": f"{subject['kind']} {subject['name']}",
        "SHA-256": tag("code", subject["sha256"]),
        "For": " ".join(str(subject[key]) for key in ("target", "backend", "precision") if key in subject) or "PyTorch",
        "Experts": str(subject.get("mose", "dynamic")),
        "Benchmark": " ".join(
            [metrics["benchmark"]["title"], *(f"{k} {v}" for k in ("split", "fold") if (v := setup["benchmark"][k]))]
        ),
        "Clips": f"{counts['clips']} answered or tried, {counts['skipped']} left out",
        "Asked": asked + (", with reasons" if setup["reason"] else ""),
        "Answers": ", ".join(setup["words"]),
        "Licence": about.get("licence", ""),
    }
    items = [joined(tag("dt", name), tag("dd", text)) for name, text in rows.items()]
    notice = about.get("notice", "")
    return joined(
        tag("h1", title),
        tag("div", tag("p", joined(tag("strong", notice), " " if notice else "", ESTIMATE)), class_="callout"),
        tag("dl", items),
    )


def _left_out(run: Run) -> Markup:
    if not run.skipped:
        return Markup()
    rows = [(each.name, each.reason) for each in run.skipped[:_LISTED]]
    more = f", the first {_LISTED} of them here" if len(run.skipped) > _LISTED else ""
    return joined(
        tag("h2", "Left out"),
        figures(f"{len(run.skipped)} clips{more}", table(("Clip", "Why"), rows)),
    )
