"""How a live run is doing."""

from dataclasses import dataclass, field
from typing import Any

from mosear.runtime.capture.stream import LinkStatus


@dataclass(frozen=True)
class LiveStatus:
    """How a live run is doing.

    Attributes:
        running: whether windows are being answered.
        answers: windows answered since the start.
        dropped: windows left out since the start, because the model was busy.
        failures: windows whose answer failed since the start.
        sources: cameras and microphones.
        sinks: where answers go.
    """

    running: bool
    answers: int
    dropped: int
    failures: int
    sources: list[LinkStatus] = field(default_factory=list)
    sinks: list[LinkStatus] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "running": self.running,
            "answers": self.answers,
            "dropped": self.dropped,
            "failures": self.failures,
            "sources": [each.to_dict() for each in self.sources],
            "sinks": [each.to_dict() for each in self.sinks],
        }
