"""What a device gives: pictures and sound with their times on one clock."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Protocol

import av
import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame and when it was taken, in seconds of the live ``Clock``."""

    time: float
    frame: av.VideoFrame


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples, float32 [n], mono, full scale 1, at the model's rate; ``time`` is when the first was heard."""

    time: float
    samples: np.ndarray


Item = Picture | Sound


class Lost(Exception):
    """A device is gone or can't be opened; one line says why, in terms of the device."""


class Device(Protocol):
    """An open device. It is iterated by one thread; ``close`` may be called from any."""

    def __iter__(self) -> Iterator[Item]:
        """Pictures and sound as they come. Ends when the device has no more to give; raises ``Lost`` when it breaks."""
        ...

    def close(self) -> None:
        """Release the device; an iteration under way ends within a second. May be called twice."""
        ...


Opener = Callable[[], Device]
"""Opens a device, or raises ``Lost``."""


class Condition(str, Enum):
    """How it stands with a source of media, or with a sink."""

    opening = "opening"
    live = "live"
    lost = "lost"
    ended = "ended"


@dataclass(frozen=True)
class LinkStatus:
    """How it stands with one source or sink.

    Attributes:
        kind: ``camera``, ``microphone`` or ``sink``.
        name: what the user called it, without secrets.
        condition: see ``Condition``.
        reconnects: how often it came back after it was lost.
        error: why it is lost, in one line; None when it is not.
        delivered: pictures and sounds that came, or answers that were taken.
        dropped: answers that a sink could not take.
    """

    kind: str
    name: str
    condition: Condition
    reconnects: int = 0
    error: str | None = None
    delivered: int = 0
    dropped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "condition": self.condition.value}
