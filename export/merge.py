"""MoSE merging: experts with constant gates become one weight and a low-rank term for visual rows.

With gates ḡ that are constant for a modality class c

    ΔW_c = (alpha / r) * sum_e ḡ_{c,e} B_e A_e
    W*   = W + ΔW_non_visual            exact for every text and audio row, so for all of decoding
    C    = ΔW_visual - ΔW_non_visual    added on visual rows only, kept as up · down: rank r with a shared A, else 3 r
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from mosear.calibration.gates import GateStatistics
from mosear.export.graphs.low_rank import VisualLowRankLinear
from mosear.model.configuration import EXPERTS
from mosear.model.experts import MoseLinear
from mosear.model.modeling import Mosear
from mosear.runtime.errors import BadInput


def merge_linear(module: MoseLinear, gates: Tensor) -> VisualLowRankLinear:
    """Merge one expert module.

    Args:
        module: the experts on one linear module.
        gates: [2 classes, 3 experts]: visual, non-visual; in the order of ``EXPERTS``.

    Returns:
        A module that computes what ``module`` computes with these gates.
    """
    scale = module.mose.alpha / module.mose.r
    a = [module.lora_A["shared" if module.mose.share_a else name].double() for name in EXPERTS]
    b = [module.lora_B[name].double() for name in EXPERTS]
    visual, other = gates.double()
    weight = module.base_layer.weight.double()
    merged = weight + scale * sum(g * b_e @ a_e for g, a_e, b_e in zip(other, a, b, strict=True))
    difference = scale * (visual - other)
    if module.mose.share_a:
        down, up = a[0], sum(d * b_e for d, b_e in zip(difference, b, strict=True))
    else:
        down, up = torch.cat(a), torch.cat([d * b_e for d, b_e in zip(difference, b, strict=True)], dim=1)
    kind = module.base_layer.weight.dtype
    return VisualLowRankLinear(module.base_layer, merged.to(kind), down.to(kind), up.to(kind), module.modality)


@torch.no_grad()
def merge(model: Mosear, gates: GateStatistics) -> Any:
    """A copy of the decoder with every expert module merged at its mean gates.

    Raises:
        BadInput: the gates were measured on other modules.
    """
    if gates.mean.keys() != model.experts.keys():
        raise BadInput(
            "the calibrated gates belong to other modules than the checkpoint's experts",
            "calibrate this checkpoint again",
        )
    decoder = copy.deepcopy(model.decoder)
    for path, module in model.experts.items():
        parent, _, leaf = path.rpartition(".")
        merged = merge_linear(module, gates.mean[path])
        setattr(decoder.get_submodule(parent), leaf, merged)
    return decoder


def fix_gates(model: Mosear, gates: GateStatistics | None) -> None:
    """Hold every gate of ``model`` at its calibrated mean, or with None let it depend on the input again."""
    for path, module in model.experts.items():
        module.fixed_gates = None if gates is None else gates.mean[path]
