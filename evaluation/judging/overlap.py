"""How well a model's reason fits EMER's reference by the words that both share: deterministic, without a judge.

EMER's authors had a language model score the overlap of clues and of labels, 0 to 10 each (Lian et al., 2023). These
two figures have that scale and those names, and are not comparable with published judge scores: they count words, know
nothing of what a sentence says, and take a paraphrase for a miss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.judging.clue_words import clue_words
from mosear.evaluation.metrics.bootstrap import Figures
from mosear.evaluation.metrics.emotion_text import emotion_words
from mosear.evaluation.metrics.synonyms import Synonyms

SCALE = 10.0
CLUE, LABEL = "clue_overlap", "label_overlap"


def label_overlap(reason: str, reference: str, synonyms: Synonyms) -> float | None:
    """Dice's coefficient of the groups of both texts' emotion words, negated ones left out: 2 |P ∩ G| / (|P| + |G|),
    times 10. None when the reference has no emotion word of the table."""
    found, wanted = ({synonyms.fold(word) for word in emotion_words(text, synonyms)} for text in (reason, reference))
    return SCALE * 2 * len(found & wanted) / (len(found) + len(wanted)) if wanted else None


def clue_overlap(reason: str, reference: str, synonyms: Synonyms) -> float | None:
    """Recall of the reference's clue words: the share of its different content words (emotion words and stop words left
    out, endings taken off) that the reason has too, times 10. A longer reason can only gain. None when the reference
    has no clue word."""
    wanted = clue_words(reference, synonyms)
    return SCALE * len(clue_words(reason, synonyms) & wanted) / len(wanted) if wanted else None


def overlap_figures(
    reasons: Sequence[str | None], references: Sequence[str], synonyms: Synonyms, rows: NDArray[np.int64]
) -> Figures:
    """Means of ``clue_overlap`` and ``label_overlap`` over clips, to be resampled.

    Args:
        reasons: [n], what the model wrote; None where it wrote nothing, which counts 0.
        references: [n].
        synonyms: by which emotion words are found and folded.
        rows: [n], which clips of a run they are.
    """
    features = np.zeros((len(references), 4))
    for row, reason, reference in zip(features, reasons, references, strict=True):
        for place, overlap in enumerate((clue_overlap, label_overlap)):
            value = overlap(reason or "", reference, synonyms)
            if value is not None:
                row[2 * place : 2 * place + 2] = value, 1.0

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., ::2] / sums[..., 1::2]

    return Figures((CLUE, LABEL), features, of, rows)
