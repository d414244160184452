"""The bounds of the checks: defaults by precision, which a recipe may override by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mosear.runtime.errors import UsageError


@dataclass(frozen=True)
class Tolerances:
    """One bound a check; None means that the figure is only reported.

    Attributes:
        vision_difference: largest difference of a visual token's value.
        vision_cosine: smallest cosine of a window's visual tokens.
        audio_difference: largest difference of an audio token's value.
        audio_cosine: smallest cosine of a window's audio tokens.
        logits_difference: largest difference of a logit, gates alike.
        label_kl: mean KL of the label distributions, gates alike, nats.
        label_agreement: share of windows with the unmerged model's label.
        accuracy_lost: accuracy lost on a subset, 0 to 1; the noise of its clips is added.
        gap_gained: what the modality gap may grow by, 0 to 1; the noise of its clips is added.
        calibration_error_gained: what the expected calibration error may grow by, 0 to 1; noise is added likewise.
        heads_agreement: share of head selections that agree, gates alike.
        mose_label_agreement: share of windows with the same label, constant gates against dynamic ones, in PyTorch.
        mose_label_kl: mean KL of the label distributions between them, nats.
        layer_difference: largest difference of a decoder layer's output.
        layer_cosine: smallest cosine of a decoder layer's output.
    """

    vision_difference: float | None = None
    vision_cosine: float | None = None
    audio_difference: float | None = None
    audio_cosine: float | None = None
    logits_difference: float | None = None
    label_kl: float | None = None
    label_agreement: float | None = None
    accuracy_lost: float | None = 0.01
    gap_gained: float | None = 0.02
    calibration_error_gained: float | None = None
    heads_agreement: float | None = None
    mose_label_agreement: float | None = 0.99
    mose_label_kl: float | None = 0.005
    layer_difference: float | None = None
    layer_cosine: float | None = None

    def override(self, bounds: Mapping[str, Any]) -> Tolerances:
        """These bounds with others put in by name; None turns a check into a reported figure.

        Raises:
            UsageError: a name is unknown, or a bound is no finite number, is negative, or is an agreement or a cosine
                above 1.
        """
        known = [field.name for field in fields(self)]
        unknown = sorted(set(bounds) - set(known))
        if unknown:
            raise UsageError(f"there is no check named {', '.join(unknown)}", f"the names are {', '.join(known)}")
        for name, bound in bounds.items():
            if bound is not None:
                _check(name, bound)
        return replace(self, **{name: None if bound is None else float(bound) for name, bound in bounds.items()})


def _check(name: str, bound: Any) -> None:
    number = isinstance(bound, (int, float)) and not isinstance(bound, bool) and math.isfinite(bound)
    if not number or bound < 0:
        raise UsageError(f"the tolerance {name} is {bound!r}", "give a number of at least 0, or null to report only")
    if name.endswith(("_agreement", "_cosine")) and bound > 1:
        raise UsageError(f"the tolerance {name} is {bound!r}, which nothing can reach", "give a number from 0 to 1")


# Measured on the reference checkpoint, as a bundle (int8) or with weights rounded in PyTorch (the rest). The bounds
# leave about ten times its KL and a few times its disagreements to models that lie closer to the edge between labels.
#
#          label KL   labels alike   heads alike   vision cosine
#   fp16   1e-8       1.0            1.0           1.0000
#   int8   3e-4       1.0            0.997         0.9995
#   fp8    6e-4       0.993          0.995         0.9976
#   int4   5e-3       0.98           0.981         0.977
_TOKENS: dict[str, tuple[float | None, float]] = {
    "fp32": (1e-3, 0.999999),
    "fp16": (None, 0.9999),
    "int8": (None, 0.995),
    "fp8": (None, 0.985),
    "int4": (None, 0.95),
}
"""Of an encoder's tokens, by its precision: largest difference, smallest cosine."""

_DECODER: dict[str, Tolerances] = {
    "fp32": Tolerances(
        logits_difference=1e-3,
        label_kl=1e-6,
        label_agreement=0.99,
        calibration_error_gained=0.01,
        heads_agreement=0.995,
        layer_difference=1e-3,
        layer_cosine=0.999999,
    ),
    "fp16": Tolerances(
        label_kl=1e-4, label_agreement=0.99, calibration_error_gained=0.01, heads_agreement=0.995, layer_cosine=0.9999
    ),
    "int8": Tolerances(
        label_kl=0.01, label_agreement=0.97, calibration_error_gained=0.03, heads_agreement=0.98, layer_cosine=0.99
    ),
    "fp8": Tolerances(
        label_kl=0.02, label_agreement=0.96, calibration_error_gained=0.03, heads_agreement=0.97, layer_cosine=0.98
    ),
    "int4": Tolerances(
        label_kl=0.05, label_agreement=0.94, calibration_error_gained=0.05, heads_agreement=0.95, layer_cosine=0.95
    ),
}
"""By the coarsest precision of the build."""

_COARSENESS = tuple(_DECODER)


def coarsest(precisions: Mapping[str, str]) -> str:
    """The coarsest of the components' precisions; ``int4``'s bounds serve for one that is not known, as ``mixed``."""
    ranks = [_COARSENESS.index(p) if p in _COARSENESS else len(_COARSENESS) - 1 for p in precisions.values()]
    return _COARSENESS[max(ranks, default=0)]


def default_tolerances(precisions: Mapping[str, str]) -> Tolerances:
    """The bounds for a build.

    Args:
        precisions: by component (``vision``, ``audio``, ``decoder``). Tokens are bound by their encoder's own
            precision, everything behind them by the coarsest one.
    """
    vision = _TOKENS[coarsest({"vision": precisions["vision"]})]
    audio = _TOKENS[coarsest({"audio": precisions["audio"]})]
    return replace(
        _DECODER[coarsest(precisions)],
        vision_difference=vision[0],
        vision_cosine=vision[1],
        audio_difference=audio[0],
        audio_cosine=audio[1],
    )
