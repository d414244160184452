"""The benchmarks' words for emotions, and which of MER2023's six words is meant by each.

Nouns and adjectives of one emotion (anger, angry) mean the same. Fear is taken for ``worried``, and anxiety with it: a
choice of this project, for MER2023 has no closer word. Disgust, contempt, calm and the like have no counterpart: a clip
with such a truth stays in the benchmark, and no answer of a model with six words meets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mosear.clips.benchmarks.gather import LeftOutError
from mosear.runtime.modality import LABELS

_MEANING = {
    **{label: label for label in LABELS},
    "anger": "angry",
    "joy": "happy",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "fear": "worried",
    "fearful": "worried",
    "worry": "worried",
    "anxiety": "worried",
}


def to_model(labels: Iterable[str]) -> dict[str, str]:
    """By label, the word of ``mosear.runtime.modality.LABELS`` that is closest; labels without one are missing."""
    return {label: _MEANING[label] for label in labels if label in _MEANING}


def label_of(word: str, labels: Sequence[str]) -> str:
    """``word`` as the closed set ``labels`` has it, whatever its case.

    Raises:
        LeftOutError: it is empty, or not in the set.
    """
    if not word:
        raise LeftOutError("it has no label")
    if word.casefold() not in labels:
        raise LeftOutError(f"label {word!r} is none of {', '.join(labels)}")
    return word.casefold()
