"""Attention reallocation (AR): in heads that listen too much to the sound, move attention from audio to visual keys.

``p`` is one attention row after the softmax, ``P_a`` and ``P_v`` its mass on audio and on visual keys. Head ``h`` of a
sample is *selected* when, on the last query row, ``P_a / (P_a + P_v) > threshold``. In selected heads, on the rows that
``rows`` names::

    p_j <- (1 - rate) * p_j                  audio keys
    p_j <- (1 + rate * P_a / P_v) * p_j      visual keys
    p_j unchanged                            all others; the row still sums to 1

A row with ``P_a = 0`` or ``P_v = 0``, a row that sees no key at all, and the row of a hidden token stay as they are.
The idea is MoSEAR's (arXiv 2508.01181); the exact selection rule and the proportional split are this project's.

Three equal forms live here. *Probability* (`reallocate`) is the definition. *Logit bias* (`reallocation_bias`) adds
``log(1 - rate)`` and ``log(1 + rate * P_a / P_v)`` before the softmax, which any fused attention with an additive bias
can run. *Segment merge* (`segment_attention`) streams over the keys as a flash kernel does, keeps one accumulator and
one log-sum-exp for each modality, and recombines them with three scalars.

Shapes: B batch, Hq query heads, Hkv key/value heads (Hq is a multiple of Hkv), Sq query rows, Sk keys, Dh head size.
The queries are the last Sq of the Sk tokens, so their modality is ``key_modality[:, -Sq:]``; batches are padded on the
left. Masses are computed in float32, or float64 for float64 inputs, whatever the type of the tensors.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from mosear.runtime.modality import Modality

Rows = Literal["text", "last", "all"]

MASKED = -32768.0
"""An additive mask at or below this hides its key: it underflows every softmax, and float16 and bfloat16 hold it."""

CLASSES = (Modality.TEXT, Modality.VISUAL, Modality.AUDIO)


@dataclass(frozen=True)
class Reallocation:
    """What to reallocate.

    rate: part of the audio attention that moves, in [0, 1). 0 only observes.
    threshold: a head is selected when its audio share of the media attention exceeds this; in [0, 1].
    rows: query rows that change: those of ``text`` tokens, the ``last`` one, or ``all``.
    layers: decoder layers that reallocate, increasing, counted from 0; None means every layer.

    Raises ValueError for a value outside its range.
    """

    rate: float
    threshold: float
    rows: Rows = "text"
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"rate must be in [0, 1), got {self.rate}")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")
        if self.rows not in get_args(Rows):
            raise ValueError(f"rows must be one of {', '.join(get_args(Rows))}, got {self.rows!r}")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if list(self.layers) != sorted(set(self.layers)) or any(layer < 0 for layer in self.layers):
                raise ValueError(f"layers must be increasing numbers from 0, got {self.layers}")

    def acts_on(self, layer: int) -> bool:
        """Whether decoder layer ``layer`` reallocates."""
        return self.layers is None or layer in self.layers

    def active_layers(self, count: int) -> list[int]:
        """The reallocating layers of a decoder with ``count`` layers. Raises ValueError when one does not exist."""
        if self.layers and self.layers[-1] >= count:
            raise ValueError(f"layer {self.layers[-1]} does not exist: the decoder has layers 0 to {count - 1}")
        return [layer for layer in range(count) if self.acts_on(layer)]


class Decision(NamedTuple):
    """What the masses of one layer lead to.

    audio_share: [B, Hq] P_a / (P_a + P_v) on the last row, 0 when both are 0.
    selected: [B, Hq] bool, the heads that reallocate.
    modality_mass: [B, Hq, 3] mass of the last row on text, visual and audio keys, before reallocation.
    audio_factor, visual_factor: [B, Hq, Sq] what the probabilities of audio and of visual keys are multiplied by.
    """

    audio_share: Tensor
    selected: Tensor
    modality_mass: Tensor
    audio_factor: Tensor
    visual_factor: Tensor


def attention_logits(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Scaled and masked logits [B, Hq, Sq, Sk] in float32 (float64 for float64 inputs), grouped heads included.

    query [B, Hq, Sq, Dh], key [B, Hkv, Sk, Dh], mask additive and broadcastable to [B, Hq, Sq, Sk]. Minus infinity in
    the mask becomes the smallest finite number, so that a row without a visible key stays free of NaN.
    """
    precision = _precision(query)
    batch, heads, rows, size = query.shape
    grouped = query.to(precision).reshape(batch, key.shape[1], -1, size)
    scores = grouped @ key.to(precision).transpose(2, 3)
    return scores.reshape(batch, heads, rows, -1) * scale + _finite(mask, precision)


def decide(masses: Tensor, query_modality: Tensor, reallocation: Reallocation) -> Decision:
    """Select heads and compute the factors of every row.

    masses [B, Hq, Sq, 3]: what each row gives to text, visual and audio keys. query_modality [B, Sq].
    """
    visual, audio = masses[..., Modality.VISUAL], masses[..., Modality.AUDIO]
    # A mass below the smallest normal number cannot be divided by; it is as good as none.
    both = (visual >= torch.finfo(masses.dtype).tiny) & (audio >= torch.finfo(masses.dtype).tiny)
    media = visual[..., -1] + audio[..., -1]
    share = torch.where(media > 0, audio[..., -1] / media.clamp_min(torch.finfo(masses.dtype).tiny), 0.0)
    selected = (share > reallocation.threshold) & both[..., -1]
    moved = selected[..., None] & both & chosen_rows(query_modality, reallocation.rows)[:, None]
    rate = reallocation.rate
    return Decision(
        audio_share=share,
        selected=selected,
        modality_mass=masses[:, :, -1],
        audio_factor=1.0 - rate * moved.to(masses.dtype),
        visual_factor=torch.where(moved, 1.0 + rate * audio / torch.where(both, visual, 1.0), 1.0),
    )


def chosen_rows(query_modality: Tensor, rows: Rows) -> Tensor:
    """Which query rows [B, Sq] may change. Rows of hidden tokens never do: nothing reads them."""
    if rows == "text":
        return query_modality == Modality.TEXT
    visible = query_modality != Modality.HIDDEN
    if rows == "all":
        return visible
    last = torch.zeros_like(visible)
    last[:, -1] = True
    return last & visible


def reallocate(
    probabilities: Tensor, key_modality: Tensor, reallocation: Reallocation, mask: Tensor | None = None
) -> tuple[Tensor, Decision]:
    """The definition, on attention probabilities [B, Hq, Sq, Sk] that sum to 1 along the keys.

    key_modality int64 [B, Sk]. mask, the additive mask behind the probabilities, tells rows that see no key at all.
    Returns the new probabilities in the type of the old ones, and the decision.
    """
    precise = probabilities.to(_precision(probabilities))
    classes = _classes(key_modality, precise.dtype)
    masses = precise @ classes.transpose(1, 2)[:, None]
    decision = decide(_visible(masses, mask), key_modality[:, -precise.shape[2] :], reallocation)
    return (precise * _key_factors(decision, classes)).to(probabilities.dtype), decision


def reallocation_bias(
    query: Tensor, key: Tensor, mask: Tensor, key_modality: Tensor, scale: float, reallocation: Reallocation
) -> tuple[Tensor, Decision]:
    """The logit-bias form: what to add to the mask of a fused attention, [B, Hq, Sq, Sk] in float32 (or float64)."""
    probabilities = attention_logits(query, key, mask, scale).softmax(-1)
    classes = _classes(key_modality, probabilities.dtype)
    masses = _visible(probabilities @ classes.transpose(1, 2)[:, None], mask)
    decision = decide(masses, key_modality[:, -query.shape[2] :], reallocation)
    audio, visual = decision.audio_factor.log(), decision.visual_factor.log()
    bias = audio[..., None] * classes[:, None, None, Modality.AUDIO]
    return bias + visual[..., None] * classes[:, None, None, Modality.VISUAL], decision


def probability_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    key_modality: Tensor,
    scale: float,
    reallocation: Reallocation,
) -> tuple[Tensor, Decision]:
    """Attention in the probability form, the reference of every other. Returns the output [B, Hq, Sq, Dh]."""
    probabilities = attention_logits(query, key, mask, scale).softmax(-1)
    probabilities, decision = reallocate(probabilities, key_modality, reallocation, mask)
    batch, heads, rows, keys = probabilities.shape
    grouped = probabilities.reshape(batch, value.shape[1], -1, keys)
    output = grouped @ value.to(probabilities.dtype)
    return output.reshape(batch, heads, rows, -1).to(query.dtype), decision


def bias_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    key_modality: Tensor,
    scale: float,
    reallocation: Reallocation,
) -> tuple[Tensor, Decision]:
    """Attention in the logit-bias form: one pass for the masses, then the fused kernel with a bias."""
    bias, decision = reallocation_bias(query, key, mask, key_modality, scale, reallocation)
    biased = _finite(_finite(mask, bias.dtype) + bias, query.dtype)
    output = functional.scaled_dot_product_attention(query, key, value, biased, scale=scale, enable_gqa=True)
    return output, decision


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    key_modality: Tensor,
    scale: float,
    reallocation: Reallocation,
    block: int = 128,
) -> tuple[Tensor, Decision]:
    """Attention in the segment-merge form: ``block`` keys at a time, no [Sq, Sk] matrix is ever held."""
    batch, heads, rows, size = query.shape
    precision, segments = _precision(query), len(CLASSES)
    mask = mask.expand(batch, mask.shape[1], rows, key.shape[2])
    # One running maximum, sum and accumulator a segment; hidden keys ride with the text, where their weight is zero.
    peak = torch.full((batch, heads, rows, segments), -torch.inf, dtype=precision, device=query.device)
    total = torch.zeros_like(peak)
    gathered = torch.zeros(batch, heads, rows, segments, size, dtype=precision, device=query.device)
    for start in range(0, key.shape[2], block):
        span = slice(start, start + block)
        logits = attention_logits(query, key[:, :, span], mask[..., span], scale)[..., None, :]
        inside = _classes(key_modality[:, span].clamp_min(Modality.TEXT), torch.bool)[:, None, None]
        logits = logits.masked_fill(~inside, -torch.inf)
        higher = torch.maximum(peak, logits.amax(-1))
        anchor = torch.where(higher.isinf(), 0.0, higher)
        weights = (logits - anchor[..., None]).exp()
        fade = (peak - anchor).exp()
        values = value[:, :, span].to(precision).repeat_interleave(heads // value.shape[1], dim=1)
        total = total * fade + weights.sum(-1)
        gathered = gathered * fade[..., None] + weights @ values[:, :, None]
        peak = higher
    log_sum = peak + total.log()
    masses = (log_sum - log_sum.logsumexp(-1, keepdim=True)).exp()
    decision = decide(_visible(masses, mask), key_modality[:, -rows:], reallocation)
    factors = torch.stack((torch.ones_like(decision.audio_factor), decision.visual_factor, decision.audio_factor), -1)
    means = gathered / torch.where(total > 0, total, 1.0)[..., None]
    return ((masses * factors)[..., None] * means).sum(-2).to(query.dtype), decision


def _precision(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _finite(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return mask.to(dtype).clamp_min(torch.finfo(dtype).min)


def _classes(key_modality: Tensor, dtype: torch.dtype) -> Tensor:
    """Indicator [B, 3, Sk] of text, visual and audio keys; a hidden key is in none."""
    classes = torch.tensor(CLASSES, device=key_modality.device)
    return (key_modality[:, None] == classes[:, None]).to(dtype)


def _visible(masses: Tensor, mask: Tensor | None) -> Tensor:
    """Zero the masses of rows whose every key is masked: their softmax is uniform over keys that they must not see."""
    return masses if mask is None else masses * (mask.amax(-1, keepdim=True) > MASKED)


def _key_factors(decision: Decision, classes: Tensor) -> Tensor:
    audio = (decision.audio_factor - 1)[..., None] * classes[:, None, None, Modality.AUDIO]
    return 1 + audio + (decision.visual_factor - 1)[..., None] * classes[:, None, None, Modality.VISUAL]
