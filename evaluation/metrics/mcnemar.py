"""Whether two models that answer the same clips differ in accuracy (McNemar, Psychometrika, 1947)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.runtime.errors import Failed


@dataclass(frozen=True)
class McNemar:
    """The test on the clips that only one of both answers right.

    Attributes:
        b: clips that only the first answers right.
        c: clips that only the second answers right.
        exact: two-sided p-value of the exact test: binomial, b of b + c at one half; 1 without such clips.
        mid_p: the same with half the probability of what was seen (Fagerland, Lydersen and Laake, BMC Medical Research
            Methodology, 2013): less conservative, and advised by them for few clips.
    """

    b: int
    c: int
    exact: float
    mid_p: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return dict(vars(self))


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> McNemar:
    """McNemar's test, exact.

    Args:
        one, other: [n], whether each model's answers to the same clips are right.

    Raises:
        ValueError: they are not as long as each other.
        Failed: SciPy is not installed.
    """
    try:
        from scipy.stats import binom, binomtest
    except ImportError as error:
        raise Failed(f"McNemar's test needs SciPy ({error})", "pip install 'mosear[eval]'") from error
    if len(one) != len(other):
        raise ValueError(f"{len(one)} answers against {len(other)}")
    b, c = int((one & ~other).sum()), int((other & ~one).sum())
    if b + c == 0:
        return McNemar(0, 0, 1.0, 1.0)
    exact = float(binomtest(b, b + c).pvalue)
    seen = float(binom.pmf(b, b + c, 0.5))
    return McNemar(b, c, exact, exact - (seen / 2 if b == c else seen))
