"""Projections with MoSE in the forms that suit a graph: merged with a low-rank visual term, or with gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mosear.model.configuration import EXPERTS
from mosear.model.experts import MoseLinear, TokenModality


class VisualLowRankLinear(nn.Linear):
    """``y = W* x + b + visual * up(down(x))``, with ``visual`` 1 on visual rows and 0 elsewhere.

    ``W*`` [out, in] holds the merged non-visual weight, so audio and text rows are exact with it alone; ``down``
    [r, in] and ``up`` [out, r] hold the difference of the visual weight.

    Args:
        base: the projection that is replaced; its shape, type and bias are taken over.
        weight: W* [out, in].
        down, up: the low-rank difference.
        modality: holds the modality [B, S] of the rows; the owner of the forward sets it.

    Raises ValueError when the shapes do not fit.
    """

    def __init__(self, base: nn.Linear, weight: Tensor, down: Tensor, up: Tensor, modality: TokenModality) -> None:
        rank = down.shape[0]
        expected = (base.out_features, base.in_features), (rank, base.in_features), (base.out_features, rank)
        found = tuple(weight.shape), tuple(down.shape), tuple(up.shape)
        if found != expected:
            raise ValueError(f"weight, down and up must have the shapes {expected}, got {found}")
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        self.weight = _frozen(weight)
        self.bias = None if base.bias is None else _frozen(base.bias)
        self.down = nn.Linear(base.in_features, rank, bias=False, device="meta")
        self.up = nn.Linear(rank, base.out_features, bias=False, device="meta")
        self.down.weight, self.up.weight = _frozen(down), _frozen(up)
        self.modality = modality

    def forward(self, x: Tensor) -> Tensor:
        """Project ``x`` [B, S, in] to [B, S, out]."""
        visual = self.modality.is_visual().unsqueeze(-1).to(x.dtype)
        # Masking the r-wide inner product is cheaper than masking the result.
        return super().forward(x) + self.up(self.down(x) * visual)


class GatedLowRankLinear(nn.Linear):
    """``y = W x + b + up(g(x) * down(x))``: all experts in one low-rank product, with gates that depend on the input.

    Args:
        base: the projection that carries the experts.
        down: A [r, in], or the three stacked [3 r, in] where they are not shared.
        up: the three B side by side, scaled by alpha / r, [out, 3 r].
        gate: G divided by the temperature, [3, in].
        modality: holds the modality [B, S] of the rows.
    """

    def __init__(self, base: nn.Linear, down: Tensor, up: Tensor, gate: Tensor, modality: TokenModality) -> None:
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        self.weight = _frozen(base.weight)
        self.bias = None if base.bias is None else _frozen(base.bias)
        self.down = nn.Linear(base.in_features, len(down), bias=False, device="meta")
        self.up = nn.Linear(up.shape[1], base.out_features, bias=False, device="meta")
        self.gate = nn.Linear(base.in_features, len(EXPERTS), bias=False, device="meta")
        self.down.weight, self.up.weight, self.gate.weight = _frozen(down), _frozen(up), _frozen(gate)
        self.modality = modality

    @classmethod
    @torch.no_grad()
    def of(cls, module: MoseLinear) -> GatedLowRankLinear:
        """The form of ``module``, from copies of its experts."""
        names = ("shared",) if module.mose.share_a else EXPERTS
        down = torch.cat([module.lora_A[name] for name in names])
        up = torch.cat([module.lora_B[name] for name in EXPERTS], dim=1) * (module.mose.alpha / module.mose.r)
        return cls(module.base_layer, down, up, module.gate / module.mose.temperature, module.modality)

    def forward(self, x: Tensor) -> Tensor:
        """Project ``x`` [B, S, in] to [B, S, out]."""
        visual = self.modality.is_visual().unsqueeze(-1)
        closed = torch.where(visual, torch.tensor([0.0, _CLOSED, 0.0]), torch.tensor([_CLOSED, 0.0, 0.0]))
        gates = (self.gate(x) + closed).softmax(-1).unsqueeze(-1)
        low = self.down(x).reshape(*x.shape[:-1], -1, self.up.in_features // len(EXPERTS))
        return super().forward(x) + self.up((gates * low).flatten(-2))


# Far below any gate's logit, and still a number in float16.
_CLOSED = -30000.0


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
