"""How far a profile is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""What is done now, how many of it are done, and how many there are."""


def nobody(stage: str, done: int, of: int) -> None:
    """Shows nothing."""
