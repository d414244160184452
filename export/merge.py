"""MoSE merging: experts with constant gates become one weight and a low-rank term for visual rows.

With gates ḡ that are constant for a modality class c

    ΔW_c = (alpha / r) * sum_e ḡ_{c,e} B_e A_e
    W*   = W + ΔW_non_visual            exact for every text and audio row, so for all of decoding
    C    = ΔW_visual - ΔW_non_visual    added on visual rows only, kept as up · down: rank r with a shared A, else 3 r
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mosear.calibration.gates import GateStatistics
from mosear.calibration.gates import merged_weight as weight_at
from mosear.export.graphs.low_rank import GatedLowRankLinear, VisualLowRankLinear
from mosear.export.tensors import Weights, float_weight
from mosear.model.configuration import EXPERTS
from mosear.model.experts import MoseLinear
from mosear.model.modeling import Mosear
from mosear.runtime.errors import BadInput, UsageError


@dataclass(frozen=True)
class VisualTerm:
    """What visual rows add to the merged weight.

    Attributes:
        down: [rank, in].
        up: [out, rank].
        error: what truncation lost, relative to the whole term in the Frobenius norm; 0 without truncation.
    """

    down: Tensor
    up: Tensor
    error: float


@torch.no_grad()
def merged_weight(module: MoseLinear, gates: Tensor) -> Tensor:
    """W* [out, in] of one expert module in float32; its products are summed in float64.

    Args:
        module: the experts on one linear module.
        gates: [2 classes, 3 experts]: visual, non-visual; in the order of ``EXPERTS``.
    """
    return weight_at(module, gates[1]).float()


@torch.no_grad()
def visual_term(module: MoseLinear, gates: Tensor, rank: int | None = None) -> VisualTerm:
    """C of one expert module in float32.

    Args:
        module: the experts on one linear module.
        gates: [2 classes, 3 experts].
        rank: keep so many singular values of C (Eckart and Young, 1936); None keeps C as it is.

    Raises:
        UsageError: the term has a smaller rank than the one asked for.
    """
    a = [module.lora_A["shared" if module.mose.share_a else name].double() for name in EXPERTS]
    b = [module.lora_B[name].double() for name in EXPERTS]
    visual, other = gates.double()
    difference = (module.mose.alpha / module.mose.r) * (visual - other)
    if module.mose.share_a:
        down, up = a[0], sum((d * b_e for d, b_e in zip(difference, b, strict=True)), torch.zeros_like(b[0]))
    else:
        down, up = torch.cat(a), torch.cat([d * b_e for d, b_e in zip(difference, b, strict=True)], dim=1)
    if rank is None:
        return VisualTerm(down.float(), up.float(), 0.0)
    if rank > len(down):
        raise UsageError(f"the visual term of {module.path} has rank {len(down)}, not {rank}", "ask for a smaller rank")
    # The singular values of up · down are those of the small product of the two triangular factors.
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    left, values, right = torch.linalg.svd(r_up @ r_down.T)
    whole = float(values.square().sum().sqrt())
    lost = float(values[rank:].square().sum().sqrt()) / whole if whole else 0.0
    root = values[:rank].sqrt()
    return VisualTerm((root[:, None] * (right[:rank] @ q_down.T)).float(), (q_up @ left[:, :rank] * root).float(), lost)


def merge_linear(module: MoseLinear, gates: Tensor, rank: int | None = None) -> VisualLowRankLinear:
    """A module that computes what ``module`` computes with these gates, but for what truncation loses."""
    term = visual_term(module, gates, rank)
    return VisualLowRankLinear(
        module.base_layer, merged_weight(module, gates), term.down, term.up, module.modality
    )  # fmt: skip


@dataclass(frozen=True)
class Merged:
    """What merging made.

    Attributes:
        weights: W* by weight name, each [in, out] and merged when it is read.
        truncation: by module path, what truncation lost of the visual term; empty without truncation.
    """

    weights: Weights
    truncation: dict[str, float]


@contextlib.contextmanager
def merging(model: Mosear, gates: GateStatistics, rank: int | None = None) -> Iterator[Merged]:
    """Inside the block the decoder has the shape of a merged one, so that it can be traced.

    The parameters ``weight`` of its merged projections hold nothing: their values are the weights that are yielded.

    Raises:
        BadInput: the gates were measured on other modules.
        UsageError: see `visual_term`.
    """
    if gates.mean.keys() != model.experts.keys():
        raise BadInput(
            "the calibrated gates belong to other modules than the checkpoint's experts",
            "calibrate this checkpoint again",
        )
    weights: Weights = {}
    truncation: dict[str, float] = {}

    def merged(path: str, module: MoseLinear) -> nn.Module:
        mean = gates.mean[path]
        term = visual_term(module, mean, rank)
        if rank is not None:
            truncation[path] = term.error
        shape = module.base_layer.weight.shape
        weights[f"{path}.weight"] = float_weight(
            (shape[1], shape[0]), lambda: merged_weight(module, mean).T.contiguous().numpy()
        )
        return VisualLowRankLinear(
            module.base_layer, torch.zeros(()).expand(shape), term.down, term.up, module.modality
        )

    with _swapped(model, merged):
        yield Merged(weights, truncation)


@contextlib.contextmanager
def gating(model: Mosear) -> Iterator[None]:
    """Inside the block the decoder's experts are in the form that suits a graph: gates as they depend on the input."""
    with _swapped(model, lambda path, module: GatedLowRankLinear.of(module)):
        yield


@contextlib.contextmanager
def _swapped(model: Mosear, make: Callable[[str, MoseLinear], nn.Module]) -> Iterator[None]:
    try:
        for path, module in model.experts.items():
            _put(model.decoder, path, make(path, module))
        yield
    finally:
        for path, module in model.experts.items():
            _put(model.decoder, path, module)


def _put(decoder: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(decoder.get_submodule(parent), leaf, module)


def fix_gates(model: Mosear, gates: GateStatistics | None) -> None:
    """Hold every gate of ``model`` at its calibrated mean, or with None let it depend on the input again."""
    for path, module in model.experts.items():
        module.fixed_gates = None if gates is None else gates.mean[path]
