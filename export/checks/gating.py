"""A comparison → the checks that a build must pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.export.checks.comparison import Comparison
from mosear.export.checks.figures import ONE_SIDED_95, paired_loss
from mosear.export.checks.record import Check
from mosear.export.checks.rows import LayerRow, Reliability
from mosear.export.checks.tolerances import Tolerances

_PYTORCH = ("PyTorch", "fp32")
Right = Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]


def numeric_checks(run: Comparison, precisions: Mapping[str, str], bounds: Tolerances) -> list[Check]:
    """Tokens, logits, label distributions and head selection, at the bundle's own gates."""
    count = len(run.label_kl)
    checks = []
    for name in ("vision", "audio"):
        facts = (name, precisions[name], count)
        top, low = getattr(bounds, f"{name}_difference"), getattr(bounds, f"{name}_cosine")
        checks.append(Check(f"{name} tokens, max difference", run.worst[name], "<=", top, *facts))
        checks.append(Check(f"{name} tokens, cosine", run.least[name], ">=", low, *facts))
    facts = ("decoder", precisions["decoder"], count)
    mean = float(np.mean(run.label_kl)) if count else math.nan
    checks += [
        Check("logits, max difference (same gates)", run.worst["logits"], "<=", bounds.logits_difference, *facts),
        Check("label distributions, mean KL (same gates)", mean, "<=", bounds.label_kl, *facts),
    ]
    if run.heads:
        alike = float(np.mean([heads.mean() for heads in run.heads]))
        checks.append(Check("heads selected alike", alike, ">=", bounds.heads_agreement, *facts))
    return checks


def label_checks(
    run: Comparison, right: Right, reliability: Reliability | None, precision: str, bounds: Tolerances
) -> list[Check]:
    """Label agreement, accuracy by subset, modality gap and calibration error, against the unmerged model."""
    same = float((run.bundle.argmax(axis=-1) == run.pytorch.argmax(axis=-1)).mean())
    facts = ("whole", precision)
    name = "label agreement with the unmerged model"
    checks = [Check(name, same, ">=", bounds.label_agreement, *facts, len(run.bundle))]
    for subset, (pytorch, bundle, _) in right.items():
        loss, error = paired_loss(pytorch, bundle)
        name = f"accuracy lost, {subset}"
        checks.append(Check(name, loss, "<=", bounds.accuracy_lost, *facts, len(bundle), ONE_SIDED_95 * error))
    checks += _gap_checks(right, facts, bounds)
    if reliability is not None:
        ours, theirs, count = reliability.bundle_error, reliability.pytorch_error, reliability.clips
        gained = bounds.calibration_error_gained
        checks += [
            Check(
                "expected calibration error gained",
                ours - theirs,
                "<=",
                gained,
                *facts,
                count,
                ONE_SIDED_95 * reliability.noise,
            ),
            Check("expected calibration error", ours, "<=", None, *facts, count),
            Check("expected calibration error, PyTorch", theirs, "<=", None, *_PYTORCH, count),
        ]
    return sorted(checks, key=lambda check: check.component == _PYTORCH[0])


def _gap_checks(right: Right, facts: tuple[str, str], bounds: Tolerances) -> list[Check]:
    """The modality gap, accuracy(audio-aligned) - accuracy(video-aligned): it may not grow by much."""
    if not {"audio_aligned", "video_aligned"} <= right.keys():
        return []
    audio, video = right["audio_aligned"], right["video_aligned"]
    pytorch, bundle = (float(audio[side].mean() - video[side].mean()) for side in (0, 1))
    # The two subsets share no clip, so the variances of their losses add up.
    error = math.hypot(paired_loss(audio[0], audio[1])[1], paired_loss(video[0], video[1])[1])
    count = len(audio[0]) + len(video[0])
    return [
        Check("modality gap gained", bundle - pytorch, "<=", bounds.gap_gained, *facts, count, ONE_SIDED_95 * error),
        Check("modality gap", bundle, "<=", None, *facts, count),
        Check("modality gap, PyTorch", pytorch, "<=", None, *_PYTORCH, count),
    ]


def layer_checks(layers: Sequence[LayerRow], precision: str, bounds: Tolerances) -> list[Check]:
    """The worst decoder layer, where the layers were compared one by one."""
    if not layers:
        return []
    facts = ("decoder", precision, len(layers))
    low, top = min(row.cosine for row in layers), max(row.max_difference for row in layers)
    if any(math.isnan(row.cosine) or math.isnan(row.max_difference) for row in layers):
        low = top = math.nan
    checks = [
        Check("layer outputs, least cosine", low, ">=", bounds.layer_cosine, *facts),
        Check("layer outputs, max difference", top, "<=", bounds.layer_difference, *facts),
    ]
    heads = [row.heads_agree for row in layers if row.heads_agree is not None]
    if heads:
        alike = float(np.mean(heads))
        checks.append(Check("heads selected alike, layer by layer", alike, ">=", bounds.heads_agreement, *facts))
    return checks
