"""What a run asks of its workers, whatever they are: processes of this machine, or actors of a cluster."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

W = TypeVar("W", bound=Hashable)
"""A worker."""


@dataclass(frozen=True)
class Gone:
    """A worker that ended by itself, and how."""

    reason: str


class Crew(Protocol, Generic[W]):
    """Starts workers and listens to them. A worker answers in bytes as ``station.Station`` does."""

    def start(self) -> W:
        """A new worker. It opens the model by itself, and its first answer tells how that went."""

    def give(self, worker: W, item: bytes) -> None:
        """Hand an item to a worker that has nothing else to do. Whether it had ended before is for ``hear`` to tell."""

    def hear(self, workers: Collection[W], seconds: float) -> list[tuple[W, bytes | Gone]]:
        """Answers that have come, all there are, after waiting up to ``seconds`` for the first one.

        Args:
            workers: those to listen to, none of which was ``Gone`` before.
            seconds: no bound on what is heard: an answer that was there already comes without a wait.
        """

    def end(self, worker: W) -> None:
        """End a worker at once, whatever it does, and leave nothing of it."""

    def close(self, at_once: bool) -> None:
        """End all workers that were started. May be called again.

        Args:
            at_once: whatever they do; otherwise they have nothing to do, and get a moment for their own clean-up.
        """
