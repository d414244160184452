"""How a bundle holds its experts: the choice that a build makes and records."""

from __future__ import annotations

from dataclasses import dataclass

from mosear.export.checks.record import Divergence


@dataclass(frozen=True)
class Experts:
    """How a bundle holds its experts, and why.

    Attributes:
        mode: ``merged``, ``dynamic`` or ``none``.
        why: one line.
        divergence: of merged from dynamic, where it was measured.
    """

    mode: str
    why: str
    divergence: Divergence | None = None
