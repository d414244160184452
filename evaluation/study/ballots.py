"""All choices of a study as one table: clips by raters, in terms of runs and of sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.study.answers import Answers
from mosear.evaluation.study.key import StudyKey

RUNS = ("A", "B", "tie")
SIDES = ("left", "right", "tie")


@dataclass(frozen=True, eq=False)
class Ballots:
    """Who chose what.

    Attributes:
        runs: [clips, raters, 3], 1 where the rater chose A, B or a tie for the clip; all 0 where nothing was chosen.
        sides: the same for left, right and tie.
        subsets: of the clips, "" where they have none.
    """

    runs: NDArray[np.float64]
    sides: NDArray[np.float64]
    subsets: tuple[str, ...]

    def of(self, subset: str) -> Ballots:
        """Those of the clips of one subset."""
        chosen = np.array([each == subset for each in self.subsets])
        return Ballots(self.runs[chosen], self.sides[chosen], tuple(subset for _ in range(int(chosen.sum()))))


def count_ballots(key: StudyKey, answers: Sequence[Answers]) -> Ballots:
    """Lay the answers of all raters beside the key. Checks of attention are not among them."""
    places = {clip.item: place for place, clip in enumerate(key.clips)}
    sides = np.zeros((len(key.clips), len(answers), len(SIDES)))
    for rater, sent in enumerate(answers):
        for choice in sent.choices:
            if choice.choice is not None and choice.item in places:
                sides[places[choice.item], rater, SIDES.index(choice.choice)] = 1
    runs = sides.copy()
    turned = np.array([clip.left == "B" for clip in key.clips])
    runs[turned] = sides[turned][:, :, [1, 0, 2]]
    return Ballots(runs, sides, tuple(clip.subset or "" for clip in key.clips))
