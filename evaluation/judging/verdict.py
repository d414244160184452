"""A judge's answer → two numbers, or why there are none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LOWEST, HIGHEST = 0.0, 10.0
_FIELDS = ("clue", "label")


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one clip.

    Attributes:
        clue: overlap of the clues, 0 to 10; None without a verdict.
        label: overlap of the labels, 0 to 10; None without a verdict.
        failure: why there is none, beginning with ``verdict:``; None when there is one.
    """

    clue: float | None = None
    label: float | None = None
    failure: str | None = None


def parse_verdict(raw: str) -> Verdict:
    """Read ``{"clue": 0 to 10, "label": 0 to 10}``. Nothing else is a verdict: no code fence, no third field, no text
    around it, no number in quotes."""
    try:
        content = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return Verdict(failure=f"verdict: {_why_no_json(raw.strip())}")
    if not isinstance(content, dict) or sorted(content) != sorted(_FIELDS):
        return Verdict(failure="verdict: not an object of clue and label alone")
    for name in _FIELDS:
        value = content[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return Verdict(failure=f"verdict: {name} is no number")
        if not LOWEST <= value <= HIGHEST:
            return Verdict(failure=f"verdict: {name} is out of range")
    return Verdict(float(content["clue"]), float(content["label"]))


def _why_no_json(text: str) -> str:
    if not text:
        return "nothing was answered"
    return "JSON in a code fence" if text.startswith("```") else "not JSON"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a field stands there twice")
    return content
