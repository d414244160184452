"""PyTorch's layers one at a time, as the reference of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mosear.export.graphs.decoder import ExplicitCache
from mosear.export.layers.compare import LayerOutput
from mosear.model.attention import Telemetry
from mosear.model.experts import TokenModality
from mosear.model.reallocation import MASKED, Reallocation


class TorchLayers:
    """Runs layer ``l`` of a transformers decoder in the probability form; a `ReferenceLayer`.

    Args:
        layer: gives the module of a layer, float32 and with the attention implementation ``mosear``. It is called when
            the layer is wanted, and its result is not kept, so that it may load the weights of one layer at a time.
        rotary: the decoder's rotary embedding, ``model.rotary_emb``.
        feeds: the graph's inputs by name. Of a past with room for more only the first T - S tokens are used.
        layers: how many there are.
        reallocation: what to reallocate, or None.
        holders: through which the projections learn the modality of the rows.
    """

    def __init__(
        self,
        layer: Callable[[int], nn.Module],
        rotary: nn.Module,
        feeds: Mapping[str, NDArray],
        layers: int,
        reallocation: Reallocation | None = None,
        holders: Iterable[TokenModality] = (),
    ) -> None:
        self._layer = layer
        self._rotary = rotary
        self._reallocation = reallocation
        self._holders = list(holders)
        self._modality = torch.from_numpy(np.ascontiguousarray(feeds["key_modality"]))
        self._positions = torch.from_numpy(np.ascontiguousarray(feeds["position_ids"]))
        self._rows = feeds["inputs_embeds"].shape[1]
        past = self._modality.shape[1] - self._rows
        self._past = [
            (_float(feeds[f"past_key_{index}"][:, :, :past]), _float(feeds[f"past_value_{index}"][:, :, :past]))
            for index in range(layers)
        ]
        self._mask = _mask(self._modality, self._rows)

    def __call__(self, layer: int, hidden: NDArray[np.float32]) -> LayerOutput:
        """The layer's output for ``hidden`` [B, S, D], and what its attention saw."""
        values, telemetry = _float(hidden), Telemetry()
        for holder in self._holders:
            holder.value = self._modality[:, -self._rows :]
        with torch.no_grad():
            result: Any = self._layer(layer)(
                values,
                attention_mask=self._mask,
                position_ids=self._positions,
                past_key_values=ExplicitCache(self._past),
                use_cache=True,
                position_embeddings=self._rotary(values, self._positions),
                key_modality=self._modality,
                reallocation=self._reallocation,
                telemetry=telemetry,
            )
        seen = {name: getattr(telemetry, name)[:, 0].numpy() for name in _TELEMETRY} if telemetry.layers else {}
        return LayerOutput((result[0] if isinstance(result, tuple) else result).numpy(), seen)


_TELEMETRY = ("audio_share", "selected", "modality_mass")


def _float(array: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _mask(modality: Tensor, rows: int) -> Tensor:
    """Additive [B, 1, S, T]: causal, and without hidden keys."""
    keys = modality.shape[1]
    causal = torch.arange(keys)[None] <= torch.arange(rows)[:, None] + (keys - rows)
    return torch.where(causal[None] & (modality >= 0)[:, None], 0.0, MASKED)[:, None]
