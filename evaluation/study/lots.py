"""What chance decides in a study: which clips there are, and whose reason is on the left."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction

from mosear.evaluation.study.pairing import Pair
from mosear.runtime.errors import BadInput, UsageError

A, B = "A", "B"


def draw_clips(pairs: Sequence[Pair], count: int | None, chance: random.Random) -> list[Pair]:
    """Draw ``count`` clips, or all where it is None, in an order by chance; from every subset its share of them.

    Shares are rounded by largest remainders, and no subset goes without a clip where there are clips enough to draw.

    Raises:
        UsageError: ``count`` is below 1.
        BadInput: there are fewer clips.
    """
    if count is None:
        count = len(pairs)
    if count < 1:
        raise UsageError(f"a study can't have {count} clips", "ask for 1 or more")
    if count > len(pairs):
        raise BadInput(
            f"{count} clips are asked for, and {len(pairs)} have two different reasons",
            f"ask for {len(pairs)} or fewer; without a number, all are taken",
        )
    groups = _by_subset(pairs)
    sizes = _shares({name: len(places) for name, places in groups.items()}, count)
    drawn = [pairs[place] for name, places in groups.items() for place in chance.sample(places, sizes[name])]
    chance.shuffle(drawn)
    return drawn


def draw_sides(pairs: Sequence[Pair], chance: random.Random) -> list[str]:
    """For each pair the run, A or B, whose reason is on the left.

    In every subset each run is on the left for half of the clips, and chance decides about an odd one: so raters that
    like one side don't seem to like one run.
    """
    sides = [A] * len(pairs)
    for places in _by_subset(pairs).values():
        drawn = [A, B] * (len(places) // 2) + [chance.choice((A, B))] * (len(places) % 2)
        chance.shuffle(drawn)
        for place, side in zip(places, drawn, strict=True):
            sides[place] = side
    return sides


def _by_subset(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """By subset, the places of its pairs; in an order that does not depend on theirs."""
    groups: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        groups.setdefault(pair.subset or "", []).append(place)
    return dict(sorted(groups.items()))


def _shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """``count`` in whole numbers proportional to the sizes, by largest remainders (Hamilton's method)."""
    least = 1 if count >= len(sizes) else 0
    spare, rest = count - least * len(sizes), sum(sizes.values()) - least * len(sizes)
    exact = {name: Fraction(spare * (size - least), rest) if rest else Fraction(0) for name, size in sizes.items()}
    shares = {name: least + int(part) for name, part in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares
