"""What the model says of a window → the answer: scores, conflict, reliance, reallocated heads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mosear.runtime.manifest import Label, Reallocation
from mosear.runtime.results import UNKNOWN, Emotion
from mosear.runtime.scores import jensen_shannon, label_scores, reliance
from mosear.runtime.windows import Window


@dataclass(frozen=True, eq=False)
class Prefill:
    """What the model says of a window before it is made into an answer; B rows.

    Attributes:
        rows: what each row sees: ``all``, ``visual``, ``audio``; only ``all`` when a modality is missing.
        logits: float32 [B, K] behind the prompt, a column for each of ``Pipeline.logit_tokens``.
        label_log_probs: float64 [B, L], in the order of the manifest's labels; see ``Decoder.score_labels``.
        audio_share: float32 [B, R, H], or None when the graph does not report it (so also below).
        selected: float32 [B, R, H], 1 where the head was reallocated.
        modality_mass: float32 [B, R, H, 3] on text, visual and audio keys, before reallocation.
        visual_embeds: float32 [N, k, D], or None without a picture.
        audio_embeds: float32 [1, a, D], or None without sound.
        last_is_text: whether the last query row is text.
        timings_ms: milliseconds by stage.
    """

    rows: tuple[str, ...]
    logits: np.ndarray
    label_log_probs: np.ndarray
    audio_share: np.ndarray | None
    selected: np.ndarray | None
    modality_mass: np.ndarray | None
    visual_embeds: np.ndarray | None
    audio_embeds: np.ndarray | None
    last_is_text: bool
    timings_ms: dict[str, float] = field(default_factory=dict)


class Terms(Protocol):
    """What an answer is made by; a bundle's manifest is one."""

    @property
    def labels(self) -> Sequence[Label]:
        """The labels, in the order of the scores."""
        ...

    @property
    def temperature(self) -> float:
        """Of the scores."""
        ...

    @property
    def reallocation(self) -> Reallocation | None:
        """What attention reallocation did, or None for nothing."""
        ...


def unknown(window: Window, clip: str) -> Emotion:
    """The answer to a window without picture and sound."""
    alone: dict[str, dict[str, float] | None] = {"visual": None, "audio": None}
    return Emotion(clip, window.start, window.end, UNKNOWN, {}, alone, None, None, [], [*window.states, UNKNOWN])


def answer(
    terms: Terms, window: Window, clip: str, prefill: Prefill, words: str | None, timings: dict[str, float]
) -> Emotion:
    """The answer to a window.

    Args:
        terms: labels, temperature and reallocation.
        window: what was seen and heard.
        clip: what the answer names as its clip.
        prefill: what the model says of it.
        words: the model's reason, if it was asked for one.
        timings: milliseconds by stage.
    """
    names = [label.name for label in terms.labels]
    scores = label_scores(prefill.label_log_probs, terms.temperature)
    by_row = dict(zip(prefill.rows, scores, strict=True))
    seen = by_row.get("visual", scores[0] if window.samples is None else None)
    heard = by_row.get("audio", scores[0] if window.frames is None else None)
    return Emotion(
        clip=clip,
        start=window.start,
        end=window.end,
        label=names[int(np.argmax(scores[0]))],
        scores=_named(names, scores[0]),
        by_modality={
            "visual": None if seen is None else _named(names, seen),
            "audio": None if heard is None else _named(names, heard),
        },
        conflict=None if seen is None or heard is None else jensen_shannon(seen, heard),
        reliance=_reliance(terms, prefill),
        reallocated_heads=_reallocated(terms, prefill),
        states=list(window.states),
        reason=words,
        timings_ms=timings,
    )


def _named(names: list[str], scores: np.ndarray) -> dict[str, float]:
    return dict(zip(names, scores.tolist(), strict=True))


def _reliance(terms: Terms, prefill: Prefill) -> dict[str, float] | None:
    mass, selected = prefill.modality_mass, prefill.selected
    if mass is None or mass[0].size == 0:
        return None
    settings = terms.reallocation
    acts = settings is not None and (settings.rows != "text" or prefill.last_is_text)
    chosen = selected[0] if selected is not None else np.zeros(mass[0].shape[:2])
    return reliance(mass[0], chosen, settings.rate if settings and acts else 0.0)


def _reallocated(terms: Terms, prefill: Prefill) -> list[list[int]]:
    settings = terms.reallocation
    if settings is None or prefill.selected is None:
        return []
    return [[settings.layers[place], int(head)] for place, head in np.argwhere(prefill.selected[0] > 0)]
