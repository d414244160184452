"""Two runs side by side."""

from __future__ import annotations

from typing import Any

from mosear.evaluation.metrics.bootstrap import RESAMPLES
from mosear.evaluation.metrics.comparison import compare
from mosear.evaluation.metrics.synonyms import Synonyms
from mosear.evaluation.results import Run
from mosear.runtime.errors import BadInput


def compare_runs(a: Run, b: Run, synonyms: Synonyms | None = None, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Figures of two runs on the clips that both have; see ``mosear.evaluation.metrics.comparison.compare``.

    Raises:
        BadInput: they are runs on different benchmarks, or have no clip in common.
    """
    names = [run.about["setup"]["benchmark"]["title"] for run in (a, b)]
    if names[0] != names[1]:
        raise BadInput(f"{a.path} is a run on {names[0]}, {b.path} one on {names[1]}", "compare runs on one benchmark")
    words = [run.about["setup"]["words"] for run in (a, b)]
    found = compare(a.records, b.records, words[0], words[1], synonyms=synonyms, resamples=resamples)
    if not found["clips"]["both"]:
        raise BadInput(f"{a.path} and {b.path} have no clip in common", "run both on the same clips")
    return {"a": a.title, "b": b.title, "benchmark": names[0], **found}
