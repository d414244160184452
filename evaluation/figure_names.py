"""How figures are named and written for people."""

from __future__ import annotations

SUBSETS = ("video_aligned", "audio_aligned", "consistent")
"""CA-MER's subsets, in the paper's order."""

_TITLES = {
    "accuracy": "accuracy",
    "war": "WAR",
    "uar": "UAR",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "modality_gap": "modality gap",
    "calibration_error": "expected calibration error",
    "brier_score": "Brier score",
    "negative_log_likelihood": "negative log-likelihood, nats",
    "clue_overlap": "clue overlap, 0 to 10",
    "label_overlap": "label overlap, 0 to 10",
    "open_vocabulary": "open vocabulary, mean of both",
    "open_vocabulary_precision": "open vocabulary, set precision",
    "open_vocabulary_recall": "open vocabulary, set recall",
}
_PLAIN = {
    "calibration_error",
    "brier_score",
    "negative_log_likelihood",
    "clue_overlap",
    "label_overlap",
}


def title_of(name: str) -> str:
    """A figure's name as it is read."""
    return _TITLES.get(name, name.replace("_", " "))


def shown(name: str, value: float | None) -> str:
    """A figure's value: shares in percent with one digit, others with three; ``-`` where it is undefined."""
    if value is None:
        return "-"
    return f"{value:.3f}" if name in _PLAIN else f"{100 * value:.1f} %"


def shown_difference(name: str, value: float | None) -> str:
    """A difference of two values of a figure, with its sign; shares in percentage points."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if name in _PLAIN else f"{100 * value:+.1f}"
