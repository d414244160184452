"""Attention reallocation inside any transformers decoder, without touching its code.

Importing this module registers three attention implementations, one for each form of `mosear.model.reallocation`::

    mosear          probability form, the reference
    mosear_bias     logit bias and the fused kernel
    mosear_segment  segment merge

Load or build a decoder with ``attn_implementation="mosear"`` and call it with extra keyword arguments::

    telemetry = Telemetry()
    decoder(inputs_embeds=..., attention_mask=(key_modality >= 0), position_ids=..., past_key_values=...,
            key_modality=key_modality, reallocation=Reallocation(rate=0.3, threshold=0.5), telemetry=telemetry)

``key_modality`` int64 [B, T] covers the past and the present tokens. Without ``reallocation``, or in a layer that it
leaves out, attention is the library's own scaled dot product. Nothing is kept between calls: every forward selects
again, from its own last row.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

from mosear.model.reallocation import (
    Decision,
    Reallocation,
    bias_attention,
    probability_attention,
    segment_attention,
)

AttentionForm = Callable[..., tuple[Tensor, Decision]]
FORMS: dict[str, AttentionForm] = {
    "mosear": probability_attention,
    "mosear_bias": bias_attention,
    "mosear_segment": segment_attention,
}


class Telemetry:
    """What the reallocating layers of one forward saw. Give a fresh one to each forward."""

    def __init__(self) -> None:
        self.layers: list[int] = []
        self._audio_share: list[Tensor] = []
        self._selected: list[Tensor] = []
        self._modality_mass: list[Tensor] = []

    def record(self, layer: int, audio_share: Tensor, selected: Tensor, modality_mass: Tensor) -> None:
        """Add one layer: audio_share [B, Hq], selected [B, Hq], modality_mass [B, Hq, 3]."""
        self.layers.append(layer)
        self._audio_share.append(audio_share)
        self._selected.append(selected.to(audio_share.dtype))
        self._modality_mass.append(modality_mass)

    @property
    def audio_share(self) -> Tensor:
        """[B, R, Hq] audio part of the media attention on the last row, for the R layers in order."""
        return torch.stack(self._audio_share, dim=1)

    @property
    def selected(self) -> Tensor:
        """[B, R, Hq] 1.0 where the head reallocated, else 0.0."""
        return torch.stack(self._selected, dim=1)

    @property
    def modality_mass(self) -> Tensor:
        """[B, R, Hq, 3] text, visual and audio mass of the last row, before reallocation."""
        return torch.stack(self._modality_mass, dim=1)


def aligned_modality(key_modality: Tensor | None, keys: int) -> Tensor:
    """The modality [B, keys] of the keys that a layer sees; a sliding-window layer sees only the last ones.

    Raises ValueError when the ids are missing or fewer than the keys.
    """
    if key_modality is None:
        raise ValueError("reallocation needs key_modality: pass the modality id of every past and present token")
    if key_modality.shape[1] < keys:
        raise ValueError(
            f"key_modality covers {key_modality.shape[1]} tokens but attention sees {keys}: include the cached tokens"
        )
    return key_modality[:, key_modality.shape[1] - keys :]


def reallocates(module: Any, reallocation: Reallocation | None) -> bool:
    """Whether the attention ``module`` (with transformers' ``layer_idx``) reallocates."""
    return reallocation is not None and reallocation.acts_on(int(module.layer_idx))


def _attention(form: AttentionForm) -> Callable[..., tuple[Tensor, None]]:
    def forward(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        key_modality: Tensor | None = None,
        reallocation: Reallocation | None = None,
        telemetry: Telemetry | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        if reallocation is None or not reallocates(module, reallocation):
            return sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
            )
        if dropout:
            raise ValueError("reallocation acts at inference only: put the decoder in eval mode")
        if kwargs.get("softcap") is not None:
            raise ValueError("reallocation does not know capped logits (softcap): leave this decoder's layers out")
        if attention_mask is None:
            raise ValueError("reallocation needs the additive attention mask: pass attention_mask=(key_modality >= 0)")
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        modality = aligned_modality(key_modality, key.shape[2])
        output, decision = form(query, key, value, attention_mask, modality, scale, reallocation)
        if telemetry is not None:
            telemetry.record(int(module.layer_idx), decision.audio_share, decision.selected, decision.modality_mass)
        return output.transpose(1, 2).contiguous(), None

    return forward


for _name, _form in FORMS.items():
    AttentionInterface.register(_name, _attention(_form))
    AttentionMaskInterface.register(_name, eager_mask)
