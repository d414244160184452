"""Scores over labels, the conflict between two of them, and what the answer relied on."""

import numpy as np

from mosear.runtime.modality import Modality


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis, in float64."""
    wide = np.asarray(logits, np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def label_scores(log_probs: np.ndarray, temperature: float) -> np.ndarray:
    """Scores of labels, summing to 1 over the last axis: softmax of their log-probabilities over the temperature."""
    return np.exp(log_softmax(np.asarray(log_probs, np.float64) / temperature))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence to base 2 of two distributions [L]: 0 when equal, 1 when they share nothing."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return min(max(divergence, 0.0), 1.0)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    there = p > 0
    return float(np.sum(p[there] * np.log2(p[there] / q[there])))


def reliance(modality_mass: np.ndarray, selected: np.ndarray, rate: float) -> dict[str, float]:
    """Mean share of attention by modality after reallocation, over layers and heads.

    In a selected head the share ``rate`` of the audio mass P_a goes to the visual keys; a row without audio or without
    visual mass is left as it is (the rule of the op itself).

    Args:
        modality_mass: [R, H, 3], mass of the last row on text, visual and audio keys before reallocation.
        selected: [R, H], 1 where the head is reallocated.
        rate: γ of the method; 0 when the model does not reallocate or the last row is not one that it acts on.
    """
    mass = np.asarray(modality_mass, np.float64)
    text, visual, audio = (mass[..., kind] for kind in (Modality.TEXT, Modality.VISUAL, Modality.AUDIO))
    moved = np.where((np.asarray(selected) > 0) & (visual > 0) & (audio > 0), rate * audio, 0.0)
    return {
        "visual": float(np.mean(visual + moved)),
        "audio": float(np.mean(audio - moved)),
        "text": float(np.mean(text)),
    }
