"""Workers on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from mosear.evaluation.distribution.crew import Gone
from mosear.evaluation.distribution.station import Trouble, pack, unpack
from mosear.runtime.errors import Failed, one_line

_PATIENCE_S = 60.0

logger = logging.getLogger("mosear")


def worker_class() -> type:
    """The class of a worker, for ``ray.remote``.

    Being made in a function it travels as code, so that it can also tell of a machine that has no mosear. It takes
    nothing from this module for the same reason.
    """

    class Worker:
        def open(self, opener: bytes, wanted: str) -> tuple[str, str, bytes]:
            """(this machine, what it lacks if anything, the packed answer of ``Station.open``)."""
            import importlib.metadata
            import platform

            machine = platform.node()
            try:
                found = importlib.metadata.version("mosear")
            except ImportError:
                return machine, "has no mosear", b""
            if found != wanted:
                return machine, f"has mosear {found}", b""
            try:
                from mosear.evaluation.distribution.station import Station
            except ImportError as error:
                return machine, f"can't import its mosear ({error})", b""
            self._station = Station(opener)
            return machine, "", self._station.open()

        def answer(self, item: bytes) -> bytes:
            return self._station.answer(item)

    return Worker


class _Worker:
    """An actor, and the answer that is awaited from it."""

    def __init__(self, actor: Any, awaited: Any) -> None:
        self.actor = actor
        self.awaited = awaited
        self.opened = False


class Actors:
    """A ``Crew`` of actors.

    Args:
        ray: the module, connected.
        opener: a packed ``Opener``.
        cpus, gpus: what Ray sets aside for each.
    """

    def __init__(self, ray: Any, opener: bytes, cpus: int, gpus: float) -> None:
        self._ray = ray
        self._opener = ray.put(opener)
        self._mosear = version("mosear")
        self._class = ray.remote(worker_class()).options(
            num_cpus=cpus,
            num_gpus=gpus or None,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._workers: set[_Worker] = set()
        self._quiet_since: float | None = time.monotonic()

    def start(self) -> _Worker:
        actor = self._class.remote()
        worker = _Worker(actor, actor.open.remote(self._opener, self._mosear))
        self._workers.add(worker)
        return worker

    def give(self, worker: _Worker, item: bytes) -> None:
        worker.awaited = worker.actor.answer.remote(item)

    def hear(self, workers: Collection[_Worker], seconds: float) -> list[tuple[_Worker, bytes | Gone]]:
        awaited = {worker.awaited: worker for worker in workers if worker.awaited is not None}
        try:
            if self._ray.wait(list(awaited), num_returns=1, timeout=seconds)[0]:
                ready = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)[0]
            else:
                ready = []
        except Exception as error:
            raise Failed(
                f"the Ray cluster is gone ({one_line(error, 300)})", "see `ray status`, and run again"
            ) from error
        self._be_patient(bool(ready))
        return [(awaited[each], self._said(awaited[each])) for each in ready]

    def _said(self, worker: _Worker) -> bytes | Gone:
        awaited, worker.awaited = worker.awaited, None
        try:
            said = self._ray.get(awaited)
        except self._ray.exceptions.RayError as error:
            self.end(worker)
            return Gone(_how(error))
        if worker.opened:
            return said
        worker.opened = True
        return self._opening(*said)

    def _opening(self, machine: str, lacks: str, said: bytes) -> bytes:
        """The answer over opening the model, with the machine in it when it is trouble."""
        if lacks:
            what = f"{machine}, a machine of the Ray cluster, {lacks}; this one has {self._mosear}"
            return pack(Trouble(Failed, what, f"pip install 'mosear=={self._mosear}' there", ""))
        answer = unpack(said)
        if isinstance(answer, Trouble):
            return pack(replace(answer, what=f"on {machine}: {answer.what}"))
        return said

    def _be_patient(self, heard: bool) -> None:
        """Tell once why nothing happens when no worker ever answers."""
        if heard:
            self._quiet_since = None
        elif self._quiet_since is not None and time.monotonic() > self._quiet_since + _PATIENCE_S:
            self._quiet_since = None
            logger.warning("the Ray cluster has started no worker yet; others may have its CPUs (see `ray status`)")

    def end(self, worker: _Worker) -> None:
        with contextlib.suppress(Exception):  # it, or its cluster, is gone already
            self._ray.kill(worker.actor)
        self._workers.discard(worker)

    def close(self, at_once: bool) -> None:
        for worker in list(self._workers):
            self.end(worker)


def _how(error: Exception) -> str:
    """What Ray knows of a worker's end: the last of many lines, without guesses at its causes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    known = lines[-1].rpartition("Worker exit detail: ")[2].partition(" Some common causes")[0]
    return f"ended: {one_line(known.partition(' There are some potential')[0], 250)}"
