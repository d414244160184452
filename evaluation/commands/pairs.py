"""Options of the form NAME=VALUE, and pairs of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.runtime.errors import UsageError


def pairs_of(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """The pairs that an option was given.

    Raises:
        UsageError: one of them is no pair, or a name stands twice.
    """
    pairs: dict[str, str] = {}
    for each in given or ():
        name, sign, value = each.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise UsageError(f"{option} {each} is no pair", f"write it as {option} NAME=VALUE")
        if name.strip() in pairs:
            raise UsageError(f"{option} names {name.strip()} twice", "give it once")
        pairs[name.strip()] = value.strip()
    return pairs


def numbers_of(option: str, given: str | None) -> tuple[float, float] | None:
    """A rate and a threshold, written with a comma between them.

    Raises:
        UsageError: they are no two numbers, the rate is not in [0, 1) or the threshold not in [0, 1].
    """
    if given is None:
        return None
    try:
        rate, threshold = map(float, given.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {given} is no rate and threshold", f"write it as {option} 0.3,0.5") from error
    if not 0 <= rate < 1 or not 0 <= threshold <= 1:
        raise UsageError(f"{option} {given} is out of range", "the rate is in [0, 1), the threshold in [0, 1]")
    return rate, threshold
