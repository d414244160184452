"""Merged against dynamic experts, before anything is exported: what holding the gates at their means does to labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.calibration.gates import GateStatistics
from mosear.export.checks.figures import kl
from mosear.export.checks.record import Check
from mosear.export.checks.reference import BATCH, encode, grouped, label_log_probabilities
from mosear.export.checks.rows import Divergence
from mosear.export.checks.tolerances import Tolerances
from mosear.export.clips import Example
from mosear.export.merge import fix_gates
from mosear.model.modeling import Mosear
from mosear.runtime.scores import log_softmax


def mose_divergence(
    model: Mosear,
    gates: GateStatistics,
    examples: Sequence[Example],
    *,
    temperature: float = 1.0,
    batch: int = BATCH,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Divergence:
    """Compare constant gates with dynamic ones, both in PyTorch; every window is encoded once.

    Args:
        model: the unmerged model; its gates are dynamic afterwards.
        gates: the constant gates that a merged bundle would have.
        examples: windows.
        temperature: of the label scores.
        batch: windows a forward.
        progress: called with the fraction done.
    """
    dynamic, merged = [], []
    done = 0
    try:
        for indices in grouped(examples, batch):
            tokens = encode(model, [examples[index] for index in indices])
            fix_gates(model, None)
            dynamic.append(label_log_probabilities(model, tokens))
            fix_gates(model, gates)
            merged.append(label_log_probabilities(model, tokens))
            done += len(indices)
            progress(done / len(examples))
    finally:
        fix_gates(model, None)
    return divergence_of(np.concatenate(dynamic), np.concatenate(merged), temperature)


def divergence_of(dynamic: NDArray[np.float64], merged: NDArray[np.float64], temperature: float) -> Divergence:
    """The divergence of label log-probabilities [N, labels], each taken over the temperature."""
    spread = kl(log_softmax(dynamic / temperature), log_softmax(merged / temperature))
    same = dynamic.argmax(axis=-1) == merged.argmax(axis=-1)
    return Divergence(len(dynamic), float(same.mean()), float(spread.mean()), float(spread.max()))


def divergence_checks(divergence: Divergence, tolerances: Tolerances, gating: bool = True) -> tuple[Check, ...]:
    """The divergence as checks. ``--mose auto`` merges when both pass.

    Args:
        divergence: what was measured.
        tolerances: the bounds.
        gating: False reports the figures only, as for a bundle that keeps its gates dynamic.
    """
    rows = (
        ("merged experts, label agreement with dynamic", divergence.label_agreement, ">=", "mose_label_agreement"),
        ("merged experts, label KL from dynamic", divergence.label_kl, "<=", "mose_label_kl"),
    )
    return tuple(
        Check(
            name,
            figure,
            relation,
            getattr(tolerances, bound) if gating else None,
            "experts",
            "fp32",
            divergence.windows,
        )
        for name, figure, relation, bound in rows
    )
