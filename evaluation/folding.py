"""What a model says of a clip's windows → one answer to the clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.evaluation.asking import WRITE, Asking, View
from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.evaluation.words import Words
from mosear.runtime.results import UNKNOWN

EmotionWords = Callable[[str], list[str]]
ParseLabel = Callable[[str, Sequence[str]], tuple["str | None", "str | None"]]


def fold_clip(
    clip: BenchmarkClip,
    views: Sequence[View],
    asking: Asking,
    words: Words,
    root: Path,
    parse_label: ParseLabel,
    emotion_words: EmotionWords,
) -> ClipRecord:
    """One clip's answer.

    Scores, conflict and reliance are means over the windows that have them, and the scored answer is the label with the
    highest mean score. Of written labels, the one that most windows have is taken, of several the one with the higher
    mean score; windows whose text holds no label count for none.

    Args:
        clip: the truth.
        views: one a window, at least one.
        asking: what was asked.
        words: the words of answers.
        root: of the benchmark; media are named from there.
        parse_label: text and labels → the label and None, or None and why there is none.
        emotion_words: the emotion words of a text.
    """
    seen = [view for view in views if view.prefill is not None]
    emotions = [view.emotion for view in seen]
    scores = _mean_scores([emotion.scores for emotion in emotions]) or {}
    predicted, failure = _answer(seen, scores, asking, words, parse_label)
    reasons = [emotion.reason for emotion in emotions if emotion.reason]
    named: list[str] = []
    if clip.labels or not clip.label:
        named = emotion_words(" ".join(reasons)) if asking.reason else [predicted] if predicted else []
    texts = [view.text for view in seen if view.text is not None]
    return ClipRecord(
        name=clip.name,
        label=words.of(clip.label),
        predicted=predicted,
        failure=failure,
        labels=list(clip.labels),
        predicted_labels=named,
        subset=clip.subset,
        fold=clip.fold,
        speaker=clip.speaker,
        transcript=clip.transcript,
        reference=clip.reference,
        media=_below(clip.media, root),
        windows=len(seen),
        scores=scores,
        by_modality={
            kind: _mean_scores([alone for emotion in emotions if (alone := emotion.by_modality[kind]) is not None])
            for kind in ("visual", "audio")
        },
        conflict=_mean([emotion.conflict for emotion in emotions if emotion.conflict is not None]),
        reliance=_mean_scores([emotion.reliance for emotion in emotions if emotion.reliance is not None]),
        reallocated=_mean([len(emotion.reallocated_heads) for emotion in emotions]),
        states=list(dict.fromkeys(state for view in views for state in view.emotion.states)),
        text=" | ".join(texts) if texts else None,
        reason=" ".join(reasons) if reasons else None,
        seconds=sum(emotion.timings_ms.get("total", 0.0) for emotion in emotions) / 1000,
    )


def fold_attention(clip: BenchmarkClip, views: Sequence[View], layers: Sequence[int]) -> AttentionRecord | None:
    """Attention and gates of a clip, means over its windows; None when nothing was reported."""
    told = [view for view in views if view.prefill is not None and view.prefill.modality_mass is not None]
    if not told or not layers:
        return None
    mass: list[Any] = [view.prefill.modality_mass[0] for view in told if view.prefill]  # type: ignore[index]
    selected = []
    for view in told:
        chosen = np.zeros((len(layers), mass[0].shape[1]))
        for layer, head in view.emotion.reallocated_heads:
            chosen[layers.index(layer), head] = 1.0
        selected.append(chosen)
    paths = dict.fromkeys(path for view in told for path in view.gates)
    gates = {path: np.mean([view.gates[path] for view in told if path in view.gates], axis=0) for path in paths}
    return AttentionRecord(
        name=clip.name,
        layers=list(layers),
        mass=np.mean(mass, axis=0).tolist(),
        selected=np.mean(selected, axis=0).tolist(),
        gates={path: values.tolist() for path, values in gates.items()},
    )


def _answer(
    seen: Sequence[View], scores: dict[str, float], asking: Asking, words: Words, parse_label: ParseLabel
) -> tuple[str | None, str | None]:
    if not seen:
        return None, UNKNOWN
    if asking.answer != WRITE:
        return max(scores, key=lambda label: scores[label]), None
    parsed = [parse_label(view.text or "", words.answers) for view in seen]
    votes = Counter(label for label, _ in parsed if label is not None)
    if not votes:
        return None, next(why for _, why in parsed if why is not None)
    return max(votes, key=lambda label: (votes[label], scores.get(label, 0.0))), None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _mean_scores(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} if rows else None


def _below(media: Path, root: Path) -> str:
    media, root = media.resolve(), root.resolve()
    return media.relative_to(root).as_posix() if media.is_relative_to(root) else str(media)
