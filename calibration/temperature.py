"""Temperature of the label scores (Guo et al., ICML 2017): one number that makes confidence match accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fit_temperature(log_probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    """The temperature that minimizes the negative log-likelihood of the true labels.

    Args:
        log_probabilities: log-probabilities or logits of the labels, [N, labels].
        true: index of each true label, [N].

    Returns:
        A value in [0.05, 20].
    """

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(log_probabilities.astype(np.float64) / np.exp(log_temperature), axis=-1)
        return -float(scaled[np.arange(len(true)), true].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))
