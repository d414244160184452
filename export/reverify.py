"""Comparing a finished bundle with the checkpoint that it says it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mosear.calibration.gates import GateStatistics
from mosear.export.checks.identity import precisions_of
from mosear.export.checks.reading import read_report
from mosear.export.checks.tolerances import default_tolerances
from mosear.export.clips import folder_examples, synthetic_examples
from mosear.export.verify import Report, verify
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.model.reallocation import Reallocation
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Manifest

Progress = Callable[[str, float], None]


def reverify(
    bundle: Bundle,
    checkpoint: str,
    clips: Path | None,
    examples: int,
    threads: int,
    progress: Progress,
    *,
    tolerances: Mapping[str, Any] | None = None,
) -> Report:
    """Run a build's checks again, with the precisions and the sensitivity that the bundle's own report states.

    Args:
        bundle: the opened bundle.
        checkpoint: a folder, or ``reference``.
        clips: folder of clips with labels.csv, or None for the synthetic set.
        examples: how many synthetic windows.
        threads: CPU threads of the runtime.
        progress: called with a stage's name and the fraction done.
        tolerances: bounds by name, over the defaults of the bundle's precisions; those of its build when left out.

    Raises:
        BadInput: the bundle was made from another checkpoint.
        UsageError: a tolerance has an unknown name or an impossible bound.
    """
    folder = resolve(checkpoint)
    sha256 = checkpoint_hash(folder)
    if sha256 != bundle.manifest.checkpoint.sha256:
        raise BadInput(
            f"the bundle was made from checkpoint {bundle.manifest.checkpoint.sha256[:12]}, not {sha256[:12]}",
            "give the checkpoint that it was made from",
        )
    before = _before(bundle)
    precisions = before.identity.precisions if before else precisions_of(bundle.manifest)
    bounds = default_tolerances(precisions).override(tolerances or _own_bounds(bundle.manifest))
    progress("load", 0.0)
    model = load_checkpoint(folder)
    windows = synthetic_examples(model.config, examples) if clips is None else folder_examples(model.config, clips)
    if not windows:
        raise BadInput("there are no clips to verify on", "give --clips a folder whose labels.csv lists some")
    progress("load", 1.0)
    experts = (bundle.manifest.mose or {}).get("mode")
    gates = _gates(bundle.manifest.mose) if bundle.manifest.mose else None
    model.reallocation = _reallocation(bundle.manifest)
    return verify(
        bundle.path,
        model,
        gates if experts == "merged" else None,
        windows,
        threads,
        lambda done: progress("verify", done),
        tolerances=bounds,
        precisions=precisions,
        statistics=gates,
        sensitivity=before.sensitivity if before else (),
    )


def _before(bundle: Bundle) -> Report | None:
    """The report in the bundle's manifest; None where there is none, or one that another version wrote."""
    try:
        return read_report(bundle.manifest.verification)
    except BadInput:
        return None


def _gates(mose: dict[str, Any]) -> GateStatistics:
    """The gates that the bundle was made with, whichever calibration they came from."""
    mean, variance = (
        {path: torch.tensor(rows) for path, rows in mose[name].items()} for name in ("gate_mean", "gate_variance")
    )
    return GateStatistics(mean, variance)


def _reallocation(manifest: Manifest) -> Reallocation | None:
    settings = manifest.reallocation
    if settings is None:
        return None
    return Reallocation(settings.rate, settings.threshold, settings.rows, tuple(settings.layers))


def _own_bounds(manifest: Manifest) -> dict[str, Any]:
    return dict(manifest.verification.get("tolerances", {}))
