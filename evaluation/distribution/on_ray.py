"""Items on the machines of a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from mosear.evaluation.distribution.actors import Actors
from mosear.evaluation.distribution.child import Child, be_apart, without_interrupts
from mosear.evaluation.distribution.cluster import joined, room
from mosear.evaluation.distribution.crew import Gone
from mosear.evaluation.distribution.dispatch import Dispatch, check, parcels
from mosear.evaluation.distribution.outcome import Key, Opener, Outcome
from mosear.evaluation.distribution.station import Trouble, pack, unpack
from mosear.runtime.errors import Failed, UsageError

_LISTEN_S = 1.0
_LEAVE_S = 10.0
_MORE, _THROUGH = "more", "through"


@dataclass(frozen=True)
class _Order:
    """What the process that is connected to the cluster is to do; see ``run_on_ray``."""

    opener: bytes
    address: str
    attempts: int
    workers: int | None
    limit_s: float | None
    cpus_each: int
    gpus_each: float


def run_on_ray(
    open_worker: Opener,
    items: Iterable[tuple[Key, Any]],
    address: str,
    *,
    attempts: int = 3,
    workers: int | None = None,
    limit_s: float | None = None,
    cpus_each: int = 1,
    gpus_each: float = 0,
) -> Generator[Outcome, None, None]:
    """Answer items on a Ray cluster, in any order, each key once.

    Every machine of the cluster needs this version of mosear, and whatever ``open_worker`` and the items name at the
    same path: the bundle, the clips. An item whose worker or machine is lost goes to another one. The workers end with
    the iterator, and the cluster stays as it was. A process of its own is connected to the cluster, since Ray ends a
    process whose cluster is lost, and prints where results go.

    Args:
        open_worker, items, attempts, limit_s: as in ``run_in_processes``.
        address: see ``cluster.joined``.
        workers: at once, at most; None for as many as the cluster has room for.
        cpus_each: CPUs that Ray sets aside for a worker, whose threads it should match.
        gpus_each: the same for GPUs; with 0 a worker sees none.

    Raises:
        MosearError: see ``cluster.joined`` and ``Dispatch.run``. An error over opening the model names the machine.
        UsageError: no machine of the cluster has the CPUs and GPUs of a worker.
        Failed: the cluster is lost.
        ValueError: a number that means nothing.
    """
    check(workers, attempts, limit_s)
    if cpus_each < 1 or gpus_each < 0:
        raise ValueError("at least one CPU, and no fewer GPUs than none")
    order = _Order(pack(open_worker), address, attempts, workers, limit_s, cpus_each, gpus_each)
    return _follow(pack(order), parcels(items))


def _follow(order: bytes, items: Iterator[tuple[Key, bytes]]) -> Generator[Outcome, None, None]:
    """Give the connected process items as it asks for them, and pass on what it says."""
    child: Child | None = None
    trouble: Exception | None = None
    try:
        with without_interrupts():
            child = Child(_connected, order)
        while (said := unpack(_next(child))) != _THROUGH:
            if said == _MORE:
                try:
                    item = next(items, None)
                except Exception as error:
                    item, trouble = None, error  # raised when what is at work is through
                child.give(pack(item))
            elif isinstance(said, Trouble):
                trouble = said.error("the run on Ray failed")
                break
            else:
                yield said
        child.end(_LEAVE_S)
        child = None
        if trouble is not None:
            raise trouble
    finally:
        if child is not None:
            child.interrupt()
            child.end(_LEAVE_S)


def _next(child: Child) -> bytes:
    while (said := child.said()) is None:
        wait(child.signs, _LISTEN_S)
    if isinstance(said, Gone):
        what = f"the Ray cluster is lost: the process that was connected to it {said.reason}"
        raise Failed(what, "see `ray status`, and run again")
    return said


def _connected(pipe: Connection, order: bytes) -> None:
    """The life of the connected process."""
    try:
        be_apart(can_be_interrupted=True)
        # Ray tells there of every worker that ended.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        for outcome in _outcomes(unpack(order), _asked(pipe)):
            _tell(pipe, outcome)
        _tell(pipe, _THROUGH)
    except KeyboardInterrupt:
        return
    except Exception as error:
        _tell(pipe, Trouble.of(error))


def _asked(pipe: Connection) -> Iterator[tuple[Key, bytes]]:
    while True:
        _tell(pipe, _MORE)
        try:
            item = unpack(pipe.recv_bytes())
        except (EOFError, OSError):
            raise SystemExit from None
        if item is None:
            return
        yield item


def _tell(pipe: Connection, what: Any) -> None:
    """To the run; when that has hung up, leave the cluster and end."""
    try:
        pipe.send_bytes(pack(what))
    except OSError:
        raise SystemExit from None


def _outcomes(order: _Order, items: Iterator[tuple[Key, bytes]]) -> Generator[Outcome, None, None]:
    with joined(order.address) as ray:
        most = room(ray, order.cpus_each, order.gpus_each)
        if most < 1:
            gpus = f" and {order.gpus_each:g} GPUs" if order.gpus_each else ""
            what = f"no machine of the Ray cluster has {order.cpus_each} CPUs{gpus}"
            raise UsageError(what, "ask for fewer for each worker; `ray status` lists what there is")
        # More would wait for room that the others take until the run is over.
        count = most if order.workers is None else min(order.workers, most)
        crew = Actors(ray, order.opener, order.cpus_each, order.gpus_each)
        yield from Dispatch(crew, items, count, order.attempts, order.limit_s).run()
