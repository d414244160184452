"""Where live answers go. A slow or lost sink never stops the loop."""

from typing import Protocol

from mosear.runtime.results import Emotion, Live


class SinkLost(Exception):
    """A sink can't take answers now; one line says why, without secrets. Opening it again may help."""


class Sink(Protocol):
    """An open sink, used by one thread.

    Attributes:
        name: what the user called it, without secrets.
    """

    name: str

    def write(self, emotion: Emotion) -> None:
        """Deliver an answer; may block for some seconds. Raises ``SinkLost``."""
        ...

    def check(self) -> None:
        """Look after the connection; called about once a second while nothing is to be written. Raises ``SinkLost``."""
        ...

    def close(self) -> None:
        """Let go of it, within seconds."""
        ...


def live_of(emotion: Emotion) -> Live:
    """What a live answer says beside the answer. Raises ValueError when it is not a live one."""
    if emotion.live is None:
        raise ValueError("only live answers go to sinks")
    return emotion.live
