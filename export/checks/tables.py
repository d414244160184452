"""A comparison → the tables of a report: accuracy by subset, reliability, gates, heads, latency."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.calibration.gates import CLASSES, GateStatistics
from mosear.evaluation.metrics.calibration import calibration_error, calibration_noise, reliability_bins
from mosear.export.checks.comparison import Comparison
from mosear.export.checks.rows import GateRow, HeadsRow, Latency, Reliability, SubsetRow
from mosear.export.clips import Example
from mosear.model.configuration import EXPERTS

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?:\.|$)")


def layer_of(name: str) -> int:
    """The number of the layer that a module or weight belongs to, -1 where it is in none."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else -1


def right_by_subset(
    run: Comparison, labels: Sequence[str], examples: Sequence[Example]
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]:
    """By subset, clip by clip: whether PyTorch is right, whether the bundle is, whether both say the same."""
    wanted, found = run.pytorch.argmax(axis=-1), run.bundle.argmax(axis=-1)
    table = {}
    for subset in sorted({example.subset for example in examples if example.subset and example.label}):
        rows = np.array([i for i, example in enumerate(examples) if example.subset == subset and example.label])
        true = np.array([labels.index(str(examples[i].label)) for i in rows])
        table[subset] = (wanted[rows] == true, found[rows] == true, wanted[rows] == found[rows])
    return table


def subset_row(pytorch: NDArray[np.bool_], bundle: NDArray[np.bool_], same: NDArray[np.bool_]) -> SubsetRow:
    """Accuracy on one subset from ``right_by_subset``."""
    return SubsetRow(
        clips=len(pytorch),
        pytorch=float(pytorch.mean()),
        bundle=float(bundle.mean()),
        agreement=float(same.mean()),
        lost=int((pytorch & ~bundle).sum()),
        gained=int((bundle & ~pytorch).sum()),
    )


def reliability(run: Comparison, labels: Sequence[str], examples: Sequence[Example]) -> Reliability | None:
    """Reliability of both over all labelled clips; None without any."""
    rows = np.array([index for index, example in enumerate(examples) if example.label], dtype=np.int64)
    if not len(rows):
        return None
    true = np.array([labels.index(str(examples[index].label)) for index in rows])
    bundle = reliability_bins(run.bundle_scores[rows], true)
    pytorch = reliability_bins(run.pytorch_scores[rows], true)
    return Reliability(
        temperature=run.temperature,
        clips=len(rows),
        bundle=bundle,
        pytorch=pytorch,
        bundle_error=calibration_error(bundle),
        pytorch_error=calibration_error(pytorch),
        noise=calibration_noise(run.bundle_scores[rows], run.pytorch_scores[rows], true),
    )


def gate_rows(statistics: GateStatistics) -> tuple[GateRow, ...]:
    """Gate means and variances, a row for each module and modality class."""
    rows = []
    for path, means in statistics.mean.items():
        for place, modality in enumerate(CLASSES):
            mean, variance = means[place].tolist(), statistics.variance[path][place].tolist()
            rows.append(
                GateRow(
                    module=path,
                    layer=layer_of(path),
                    projection=path.rpartition(".")[2],
                    modality=modality,
                    mean=dict(zip(EXPERTS, mean, strict=True)),
                    variance=dict(zip(EXPERTS, variance, strict=True)),
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.layer, row.projection, row.modality)))


def heads_rows(run: Comparison, layers: Sequence[int]) -> tuple[HeadsRow, ...]:
    """Share of windows in which each head was reallocated, a row for each reallocating layer."""
    if not run.shares:
        return ()
    share = np.asarray(np.mean(run.shares, axis=0, dtype=np.float64))
    alike = np.full(len(layers), np.nan)
    if run.heads:
        alike = np.asarray(np.mean(np.concatenate(run.heads), axis=(0, 2)))
    return tuple(
        HeadsRow(layer, tuple(share[place].tolist()), float(alike[place])) for place, layer in enumerate(layers)
    )


def latency(run: Comparison, threads: int) -> Latency | None:
    """Median milliseconds by stage of the windows that both answered in turns; the first of several warms both up.

    Stages that were timed on one side only are left out, of the total too.
    """
    timed = {side: rows[1:] if len(rows) > 1 else rows for side, rows in run.timings.items()}
    if not timed["bundle"]:
        return None
    stages = [stage for stage in timed["bundle"][0] if stage in timed["pytorch"][0]]

    def medians(rows: list[dict[str, float]]) -> dict[str, float]:
        by_stage = {stage: float(np.median([row[stage] for row in rows])) for stage in stages}
        return by_stage | {"total": float(np.median([sum(row[stage] for stage in stages) for row in rows]))}

    return Latency(threads, len(timed["bundle"]), medians(timed["bundle"]), medians(timed["pytorch"]))
