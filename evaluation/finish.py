"""What is made of a run's answers when all of them are there: figures, reasons for errors, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mosear.evaluation.attention import attention_of, reliance_by_subset
from mosear.evaluation.metrics.summary import summarise
from mosear.evaluation.metrics.synonyms import Synonyms, default_synonyms
from mosear.evaluation.report.page import write_page
from mosear.evaluation.results import Run, read_run, write_metrics
from mosear.evaluation.slices import slices


def finish(folder: Path, synonyms: Synonyms | None, report: bool) -> dict[str, Any]:
    """Write ``metrics.json`` and, with ``report``, ``report.html`` into the folder of a run.

    Args:
        folder: of a run whose clips are answered.
        synonyms: of emotion words; this project's own when None.
        report: whether the page is made.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        BadInput: the folder holds no run.
        Failed: a file can't be written, or a library that the page needs is missing.
    """
    run = read_run(folder)
    figures = figures_of(run, synonyms)
    write_metrics(folder, figures)
    if report:
        write_page(run, figures)
    return figures


def figures_of(run: Run, synonyms: Synonyms | None = None) -> dict[str, Any]:
    """All figures of a run; see ``summarise``, ``slices`` and ``mean_attention``."""
    synonyms = synonyms or default_synonyms()
    attention = attention_of(run)
    setup = run.about["setup"]
    return {
        "title": run.title,
        "benchmark": setup["benchmark"],
        **summarise(run.records, setup["words"], synonyms=synonyms, skipped=len(run.skipped)),
        "slices": [each.to_dict() for each in slices(run.records)],
        "reliance": reliance_by_subset(run.records),
        "attention": None if attention is None else attention.to_dict(),
    }
