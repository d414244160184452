"""Open-vocabulary answers: sets of emotion words against sets, after words that mean the same are folded.

The set measures of OV-MER (Lian et al., ICML 2025), on this project's table of synonyms in place of theirs: figures are
comparable only with others on the same table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.metrics.bootstrap import Figures
from mosear.evaluation.metrics.emotion_text import emotion_words, parse_label
from mosear.evaluation.metrics.synonyms import Synonyms, default_synonyms, load_synonyms

__all__ = [
    "NAMES",
    "Synonyms",
    "default_synonyms",
    "emotion_words",
    "load_synonyms",
    "open_vocabulary_figures",
    "parse_label",
    "set_scores",
]

NAMES = ("open_vocabulary", "open_vocabulary_precision", "open_vocabulary_recall")
"""Mean of precision and recall, and both."""


def set_scores(found: Sequence[str], wanted: Sequence[str], synonyms: Synonyms) -> tuple[float, float]:
    """Precision |P ∩ G| / |P| and recall |P ∩ G| / |G| of one clip's words.

    Args:
        found: P, the model's words; precision is 0 when there are none.
        wanted: G, the truth.
        synonyms: by which both are folded.

    Raises:
        ValueError: the truth is empty.
    """
    answer, truth = ({synonyms.fold(word) for word in words} for words in (found, wanted))
    if not truth:
        raise ValueError("there is no truth to compare with")
    both = len(answer & truth)
    return both / len(answer) if answer else 0.0, both / len(truth)


def open_vocabulary_figures(
    found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]], synonyms: Synonyms, rows: NDArray[np.int64]
) -> Figures:
    """The figures ``NAMES``, means over clips, to be resampled.

    Args:
        found, wanted: [n], words of each clip, as for ``set_scores``.
        synonyms: by which both are folded.
        rows: [n], which clips of a run they are.
    """
    scores = [set_scores(*pair, synonyms) for pair in zip(found, wanted, strict=True)]

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[..., :2] / sums[..., 2:]
        return np.concatenate([means.mean(axis=-1, keepdims=True), means], axis=-1)

    features = np.array([(*pair, 1.0) for pair in scores]).reshape(len(scores), 3)
    return Figures(NAMES, features, of, rows)
