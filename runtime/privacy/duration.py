"""How long something is kept, as a person writes it."""

import re

from mosear.runtime.errors import UsageError

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.IGNORECASE | re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 366 * 86_400


def parse_duration(text: str) -> float:
    """Seconds of a duration like ``90s``, ``15m``, ``12h`` or ``7d``.

    Raises:
        UsageError: it is none, or is not above 0 and at most 366 days.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no length of time", "write a number and s, m, h or d, like 15m or 7d")
    seconds = float(match[1]) * _SECONDS[match[2].lower()]
    if not 0 < seconds <= _LONGEST_S:
        raise UsageError(f"a time of {text} is out of range", "choose more than 0 seconds and at most 366d")
    return seconds
