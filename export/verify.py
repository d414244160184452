"""The checks that a build must pass: a bundle, run by the runtime, against the PyTorch model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mosear.calibration.gates import GateStatistics
from mosear.export.checks.comparison import compare
from mosear.export.checks.divergence import divergence_checks
from mosear.export.checks.gating import label_checks, layer_checks, numeric_checks
from mosear.export.checks.identity import identity_of, precisions_of, size_rows
from mosear.export.checks.record import Check, Report
from mosear.export.checks.reference import torch_threads
from mosear.export.checks.rows import Divergence, LayerRow, SensitivityRow
from mosear.export.checks.tables import gate_rows, heads_rows, latency, reliability, right_by_subset, subset_row
from mosear.export.checks.tolerances import Tolerances, coarsest, default_tolerances
from mosear.export.clips import Example
from mosear.model.modeling import Mosear
from mosear.runtime.bundle import Bundle
from mosear.runtime.pipeline import Pipeline

__all__ = ["Check", "Report", "verify", "verify_layers"]

NUMERIC_EXAMPLES = 60
"""How many windows are compared number by number; all of them are compared label by label."""

Progress = Callable[[float], None]


def verify(
    folder: Path,
    model: Mosear,
    gates: GateStatistics | None,
    examples: Sequence[Example],
    threads: int,
    progress: Progress = lambda fraction: None,
    *,
    tolerances: Tolerances | None = None,
    precisions: Mapping[str, str] | None = None,
    statistics: GateStatistics | None = None,
    divergence: Divergence | None = None,
    sensitivity: Sequence[SensitivityRow] = (),
    layers: Sequence[LayerRow] = (),
) -> Report:
    """Compare a bundle with the model that it was made from.

    Args:
        folder: the bundle.
        model: the unmerged model; attention reallocation in its probability form.
        gates: the constant gates that a merged bundle was made with, or None when it keeps them dynamic.
        examples: windows, at least one; the first ``NUMERIC_EXAMPLES`` are compared number by number.
        threads: CPU threads of the runtime and of PyTorch.
        progress: called with the fraction done.
        tolerances: the bounds; the defaults of ``precisions`` when left out.
        precisions: by component (``vision``, ``audio``, ``decoder``); the manifest's precision for all when left out.
        statistics: gate means and variances to report; ``gates`` when left out.
        divergence: of merged from dynamic, where it was measured before; measured here for a merged bundle otherwise.
        sensitivity: rows to report.
        layers: outputs by decoder layer, to check and report.

    Returns:
        The report; the caller decides what a failed check means.
    """
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    precisions = dict(precisions or precisions_of(manifest))
    bounds = tolerances or default_tolerances(precisions)
    with torch_threads(threads):
        # Whatever the bundle is for, its graphs run here on the CPU, through ONNX Runtime.
        pipeline = Pipeline(bundle, threads=threads, provider="cpu")
        run = compare(pipeline, model, gates, examples, NUMERIC_EXAMPLES, progress)
    labels = model.config.labels
    right = right_by_subset(run, labels, examples)
    trust = reliability(run, labels, examples)
    divergence = divergence or run.divergence
    checks = numeric_checks(run, precisions, bounds)
    checks += layer_checks(layers, precisions["decoder"], bounds)
    checks += label_checks(run, right, trust, coarsest(precisions), bounds)
    if divergence is not None:
        checks += divergence_checks(divergence, bounds, gating=gates is not None)
    shown = statistics or gates
    return Report(
        identity=identity_of(manifest, precisions),
        checks=tuple(checks),
        examples=len(examples),
        numeric_examples=len(run.label_kl),
        accuracy={subset: subset_row(*rows) for subset, rows in right.items()},
        reliability=trust,
        divergence=divergence,
        gates=() if shown is None else gate_rows(shown),
        heads=heads_rows(run, manifest.reallocation.layers if manifest.reallocation else ()),
        layers=tuple(layers),
        sensitivity=tuple(sensitivity),
        sizes=size_rows(manifest, folder, precisions, model),
        latency=latency(run, threads),
    )


def verify_layers(
    folder: Path,
    layers: Sequence[LayerRow],
    *,
    tolerances: Tolerances | None = None,
    precisions: Mapping[str, str] | None = None,
    statistics: GateStatistics | None = None,
) -> Report:
    """The report of a bundle whose model is too large to hold in float32: its decoder's layers only.

    Args:
        folder: the bundle.
        layers: outputs by decoder layer, compared one at a time; at least one.
        tolerances: as for ``verify``.
        precisions: as for ``verify``.
        statistics: as for ``verify``.

    Raises:
        ValueError: there is no layer, and nothing would have been checked.
    """
    if not layers:
        raise ValueError("a report needs at least one compared layer")
    manifest = Bundle.open(folder).manifest
    precisions = dict(precisions or precisions_of(manifest))
    bounds = tolerances or default_tolerances(precisions)
    return Report(
        identity=identity_of(manifest, precisions),
        checks=tuple(layer_checks(layers, precisions["decoder"], bounds)),
        examples=0,
        gates=() if statistics is None else gate_rows(statistics),
        layers=tuple(layers),
        sizes=size_rows(manifest, folder, precisions, None),
    )
