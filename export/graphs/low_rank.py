"""A merged projection that keeps the experts' visual part as a low-rank term."""

from torch import Tensor, nn

from mosear.model.experts import TokenModality


class VisualLowRankLinear(nn.Linear):
    """``y = W* x + b + visual * up(down(x))``, with ``visual`` 1 on visual rows and 0 elsewhere.

    ``W*`` [out, in] holds the merged non-visual weight, so audio and text rows are exact with it alone; ``down``
    [r, in] and ``up`` [out, r] hold the difference of the visual weight. With ``enabled = False`` the module is the
    plain ``W* x + b``: decoding has no visual rows.

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
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        """Project ``x`` [B, S, in] to [B, S, out]."""
        y = super().forward(x)
        if not self.enabled:
            return y
        visual = self.modality.is_visual().unsqueeze(-1).to(x.dtype)
        # Masking the r-wide inner product is cheaper than masking the result.
        return y + self.up(self.down(x) * visual)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=False)
