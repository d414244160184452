"""What a verification found, as typed records: all that a manifest states of it and all that its page is drawn from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from mosear.export.checks.rows import (
    Divergence,
    GateRow,
    HeadsRow,
    Identity,
    Latency,
    LayerRow,
    Reliability,
    SensitivityRow,
    SizeRow,
    SubsetRow,
)

__all__ = [
    "Check",
    "Divergence",
    "GateRow",
    "HeadsRow",
    "Identity",
    "Latency",
    "LayerRow",
    "Reliability",
    "Report",
    "SensitivityRow",
    "SizeRow",
    "SubsetRow",
]


@dataclass(frozen=True)
class Check:
    """One line of the parity table.

    Attributes:
        name: what was compared.
        measured: the figure.
        relation: ``<=`` or ``>=``: how it must stand to the tolerance.
        tolerance: the bound, or None where the figure is only reported.
        component: what was run: ``vision``, ``audio``, ``decoder``, ``whole`` (all three), ``experts`` or ``PyTorch``.
        precision: of that component.
        count: how many windows, clips or layers the figure rests on; 0 where it is a property of the model.
        margin: what the sampling noise of ``count`` clips adds to the tolerance; see ``figures``.
    """

    name: str
    measured: float
    relation: str
    tolerance: float | None
    component: str = "whole"
    precision: str = ""
    count: int = 0
    margin: float = 0.0

    @property
    def bound(self) -> float | None:
        """The tolerance with the margin of the sampling noise."""
        if self.tolerance is None:
            return None
        return self.tolerance + self.margin if self.relation == "<=" else self.tolerance - self.margin

    @property
    def passed(self) -> bool:
        """Whether the figure keeps to the bound. A figure that is not a number does not."""
        if self.bound is None:
            return True
        return self.measured <= self.bound if self.relation == "<=" else self.measured >= self.bound


@dataclass(frozen=True)
class Report:
    """A verification: every check, and the figures behind them.

    Attributes:
        identity: what was verified.
        checks: the parity table.
        examples: windows compared label by label; 0 where the model was only compared layer by layer.
        numeric_examples: windows compared number by number.
        accuracy: by subset.
        reliability: None without labelled clips.
        divergence: of merged from dynamic gates; None where it was not measured.
        gates: by layer and class.
        heads: by reallocating layer.
        layers: outputs by decoder layer, where they were compared.
        sensitivity: the part that costs most first.
        sizes: by component.
        latency: None where nothing was run.
    """

    identity: Identity
    checks: tuple[Check, ...]
    examples: int
    numeric_examples: int = 0
    accuracy: dict[str, SubsetRow] = field(default_factory=dict)
    reliability: Reliability | None = None
    divergence: Divergence | None = None
    gates: tuple[GateRow, ...] = ()
    heads: tuple[HeadsRow, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    sensitivity: tuple[SensitivityRow, ...] = ()
    sizes: tuple[SizeRow, ...] = ()
    latency: Latency | None = None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not."""
        return tuple(check for check in self.checks if not check.passed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the manifest; a figure that is not finite becomes None."""
        rows = [asdict(check) | {"bound": check.bound, "passed": check.passed} for check in self.checks]
        content: dict[str, Any] = _plain(asdict(self) | {"passed": self.passed, "checks": rows})
        return content


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
