"""Hands items to workers one at a time, and an item whose worker was lost to another one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic

from mosear.evaluation.distribution.crew import Crew, Gone, W
from mosear.evaluation.distribution.outcome import Done, Key, Lost, Outcome, Refused
from mosear.evaluation.distribution.station import (
    REPORT,
    Answer,
    Exhausted,
    Opened,
    Refusal,
    Result,
    Trouble,
    pack,
    unpack,
)
from mosear.runtime.errors import Failed, MosearError

_LISTEN_S = 1.0
_NEVER = float("inf")


@dataclass
class _Task:
    """An item, and how often a worker was lost over it."""

    key: Key
    item: bytes
    losses: int = 0


@dataclass
class _Post:
    """Where a worker is: opening the model, at a task, or idle."""

    opened: bool = False
    task: _Task | None = None
    until: float = _NEVER


def check(workers: int | None, attempts: int, limit_s: float | None) -> None:
    """Raise ValueError for numbers that mean nothing."""
    if workers is not None and workers < 1:
        raise ValueError("at least one worker")
    if attempts < 1:
        raise ValueError("at least one attempt")
    if limit_s is not None and not limit_s > 0:
        raise ValueError("a limit is above zero")


def parcels(items: Iterable[tuple[Key, Any]]) -> Iterator[tuple[Key, bytes]]:
    """Items packed for their workers, one at a time. Raises Failed for one that can't be pickled."""
    for key, item in items:
        try:
            parcel = pack(item)
        except Exception as error:
            what = f"{key} can't be sent to a worker ({type(error).__name__}: {error})"
            raise Failed(what, "run it in this process, without workers") from error
        yield key, parcel


class Dispatch(Generic[W]):
    """One run.

    Args:
        crew: makes the workers.
        items: key and packed item of each; read only as far as there are workers to take them.
        workers: how many at once, at most.
        attempts: workers that an item may cost before it is lost, and workers in a row that may end over opening the
            model before the run ends.
        limit_s: seconds that an item may take before its worker is ended.
    """

    def __init__(
        self, crew: Crew[W], items: Iterable[tuple[Key, bytes]], workers: int, attempts: int, limit_s: float | None
    ) -> None:
        self._crew = crew
        self._items = iter(items)
        self._waiting: deque[_Task] = deque()
        self._count = workers
        self._attempts = attempts
        self._limit_s = _NEVER if limit_s is None else limit_s
        self._posts: dict[W, _Post] = {}
        self._lost_openings = 0

    def run(self) -> Generator[Outcome, None, None]:
        """Every item's outcome, in the order in which they come. Closing it ends all workers at once.

        Raises:
            MosearError: a worker's own, other than a BadInput for an item; ``Failed`` for an exception that nobody
                expected, for an item or a result that can't be pickled, and when workers end while they open the model.
                What other workers had answered by then is given out first.
            Exception: of the items' iterator, likewise.
        """
        try:
            outcomes: list[Outcome] = []
            trouble: Exception | None = None
            while True:
                # Whoever answered has its next item before anybody looks at the answers, which may take a while.
                trouble = trouble or self._staff()
                yield from outcomes
                if trouble is not None:
                    raise trouble
                if not self._waiting and not any(post.task for post in self._posts.values()):
                    break
                outcomes, trouble = self._round()
            for worker in [worker for worker, post in self._posts.items() if not post.opened]:
                self._crew.end(worker)
            self._crew.close(at_once=False)
        finally:
            self._crew.close(at_once=True)

    def _staff(self) -> Exception | None:
        """Give what there is to do to idle workers, then start others for what is left."""
        try:
            for worker, post in self._posts.items():
                if post.opened and post.task is None and self._look_ahead(1):
                    post.task = self._waiting.popleft()
                    post.until = time.monotonic() + self._limit_s
                    self._crew.give(worker, post.task.item)
            opening = sum(not post.opened for post in self._posts.values())
            # An item a worker, but no worker's own: whoever is free first takes it, since some may be long in coming.
            while len(self._posts) < self._count and self._look_ahead(opening + 1):
                self._posts[self._crew.start()] = _Post()
                opening += 1
        except Exception as error:
            return error
        return None

    def _look_ahead(self, count: int) -> bool:
        """Whether there are ``count`` items to give out; reads no further."""
        while len(self._waiting) < count:
            for key, item in self._items:
                self._waiting.append(_Task(key, item))
                break
            else:
                return False
        return True

    def _round(self) -> tuple[list[Outcome], Exception | None]:
        """Listen once; then end whoever took too long."""
        outcomes: list[Outcome] = []
        trouble: Exception | None = None
        until = min(post.until for post in self._posts.values())
        for worker, said in self._crew.hear(self._posts, min(_LISTEN_S, max(0.0, until - time.monotonic()))):
            try:
                outcomes += self._lose(worker, said.reason) if isinstance(said, Gone) else self._hear(worker, said)
            except MosearError as error:
                trouble = trouble or error
        for worker in [worker for worker, post in self._posts.items() if post.until <= time.monotonic()]:
            self._crew.end(worker)
            outcomes += self._lose(worker, f"gave no answer within {self._limit_s:g} s")
        return outcomes, trouble

    def _hear(self, worker: W, said: bytes) -> list[Outcome]:
        """What a worker's answer means for its item. Raises the MosearError that ends the run."""
        post = self._posts[worker]
        answer = _read(said)
        if isinstance(answer, Opened):
            post.opened, self._lost_openings = True, 0
            return []
        task = post.task
        if task is None:
            raise _trouble(answer, "a worker can't open what it needs")
        if isinstance(answer, Exhausted):
            self._crew.end(worker)
            return self._lose(worker, "ran out of memory")
        post.task, post.until = None, _NEVER
        if isinstance(answer, Result):
            return [Done(task.key, answer.value)]
        if isinstance(answer, Refusal):
            return [Refused(task.key, answer.what, answer.remedy)]
        raise _trouble(answer, f"a worker failed on {task.key}")

    def _lose(self, worker: W, reason: str) -> list[Outcome]:
        """Strike off a worker that has ended, and see whether another may take its item."""
        post = self._posts.pop(worker)
        if not post.opened:
            self._lost_openings += 1
            if self._lost_openings >= self._attempts:
                what = f"{self._lost_openings} workers in a row ended while they opened what they need"
                raise Failed(
                    f"{what}; the last one {reason}",
                    "run fewer workers if memory is short, or none of them to see what happens",
                )
        if post.task is None:
            return []
        post.task.losses += 1
        if post.task.losses >= self._attempts:
            return [Lost(post.task.key, reason, post.task.losses)]
        self._waiting.append(post.task)
        return []


def _read(said: bytes) -> Answer:
    try:
        answer: Answer = unpack(said)
    except Exception as error:
        return Trouble.of(error)
    return answer


def _trouble(answer: Answer, doing: str) -> MosearError:
    if isinstance(answer, Trouble):
        return answer.error(doing)
    return Failed(f"{doing}: a worker answered with {type(answer).__name__}", REPORT)
