"""Items in several processes of this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Generator, Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from mosear.evaluation.distribution.child import Child, be_apart, without_interrupts
from mosear.evaluation.distribution.crew import Gone
from mosear.evaluation.distribution.dispatch import Dispatch, check, parcels
from mosear.evaluation.distribution.outcome import Key, Opener, Outcome
from mosear.evaluation.distribution.station import Station, pack

_CLEAN_UP_S = 5.0


def run_in_processes(
    open_worker: Opener,
    items: Iterable[tuple[Key, Any]],
    workers: int,
    *,
    attempts: int = 3,
    limit_s: float | None = None,
) -> Generator[Outcome, None, None]:
    """Answer items in ``workers`` processes, in any order, each key once.

    A worker that ends on an item (a crash, the system short of memory) is replaced and the item given to another one.
    What workers print goes to standard error. They end with the iterator: when it is through, closed, or its process
    gone, by whatever signal. Close it (``contextlib.closing``) where it may not be read to its end.

    Args:
        open_worker: opens the model in each process. Its share of the CPU is for it to keep to: see ``threads_for``.
        items: key and item of each, picklable, read as far as there are workers to take them.
        workers: processes at once, at most.
        attempts: workers that an item may cost before it is ``Lost``.
        limit_s: seconds that an item may take; then its worker is ended, which costs it one of its attempts. Opening
            the model has no limit.

    Raises:
        MosearError: see ``Dispatch.run``.
        ValueError: a number that means nothing.
    """
    check(workers, attempts, limit_s)
    return Dispatch(_Processes(open_worker), parcels(items), workers, attempts, limit_s).run()


class _Processes:
    """A ``Crew`` of processes."""

    def __init__(self, open_worker: Opener) -> None:
        self._opener = pack(open_worker)
        self._workers: set[Child] = set()

    def start(self) -> Child:
        with without_interrupts():
            worker = Child(_work, self._opener)
            self._workers.add(worker)
        return worker

    def give(self, worker: Child, item: bytes) -> None:
        worker.give(item)

    def hear(self, workers: Collection[Child], seconds: float) -> list[tuple[Child, bytes | Gone]]:
        wait([sign for worker in workers for sign in worker.signs], seconds)
        heard = [(worker, said) for worker in workers if (said := worker.said()) is not None]
        for worker, said in heard:
            if isinstance(said, Gone):
                self.end(worker)
        return heard

    def end(self, worker: Child) -> None:
        worker.end()
        self._workers.discard(worker)

    def close(self, at_once: bool) -> None:
        for worker in self._workers:
            worker.hang_up()
        until = time.monotonic() + (0.0 if at_once else _CLEAN_UP_S)
        for worker in list(self._workers):
            worker.end(max(0.0, until - time.monotonic()))
            self._workers.discard(worker)


def _work(pipe: Connection, opener: bytes) -> None:
    """The life of a worker: open the model, then answer items until the run hangs up."""
    be_apart()
    station = Station(opener)
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(station.open())
        while True:
            pipe.send_bytes(station.answer(pipe.recv_bytes()))
