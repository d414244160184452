"""Who gets which item, with workers that do as the test says."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from mosear.evaluation.distribution.crew import Gone
from mosear.evaluation.distribution.dispatch import Dispatch, parcels
from mosear.evaluation.distribution.outcome import Done, Lost
from mosear.evaluation.distribution.station import Opened, Result, pack, unpack
from mosear.runtime.errors import Failed


class Obedient:
    """Workers with numbers. Those in ``late`` never open; those in ``frail`` end when they get an item."""

    def __init__(
        self, late: Collection[int] = (), frail: Collection[int] = (), stillborn: Collection[int] = ()
    ) -> None:
        self.late, self.frail, self.stillborn = late, frail, stillborn
        self.says: dict[int, list[bytes | Gone]] = {}
        self.ended: list[int] = []
        self.given: list[tuple[int, int]] = []

    def start(self) -> int:
        worker = len(self.says)
        first: list[bytes | Gone] = [Gone("fell over")] if worker in self.stillborn else [pack(Opened())]
        self.says[worker] = [] if worker in self.late else first
        return worker

    def give(self, worker: int, item: bytes) -> None:
        self.given.append((worker, unpack(item)))
        self.says[worker].append(Gone("broke") if worker in self.frail else pack(Result(-unpack(item))))

    def hear(self, workers: Collection[int], seconds: float) -> list[tuple[int, bytes | Gone]]:
        return [(worker, self.says[worker].pop(0)) for worker in workers if self.says[worker]]

    def end(self, worker: int) -> None:
        self.ended.append(worker)

    def close(self, at_once: bool) -> None:
        self.ended += [worker for worker in self.says if worker not in self.ended]


def test_a_worker_that_never_opens_holds_no_item_back() -> None:
    crew = Obedient(late={0, 2})
    outcomes = list(Dispatch(crew, parcels([("a", 1), ("b", 2), ("c", 3), ("d", 4)]), 3, 3, None).run())
    assert outcomes == [Done("a", -1), Done("b", -2), Done("c", -3), Done("d", -4)]
    assert {worker for worker, _ in crew.given} == {1}
    assert sorted(crew.ended) == [0, 1, 2]


def test_an_item_is_lost_after_as_many_workers_as_it_may_cost() -> None:
    crew = Obedient(frail=range(100))
    assert list(Dispatch(crew, parcels([("a", 1)]), 4, 3, None).run()) == [Lost("a", "broke", 3)]
    assert len(crew.says) == 3


def test_workers_that_fall_over_now_and_then_do_not_end_the_run() -> None:
    crew = Obedient(stillborn={0, 1, 3, 4}, frail={2, 5})
    outcomes = list(Dispatch(crew, parcels([("a", 1), ("b", 2)]), 1, 3, None).run())
    assert sorted(outcome.key for outcome in outcomes) == ["a", "b"]
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert len(crew.says) == 7


def test_workers_that_fall_over_in_a_row_do() -> None:
    crew = Obedient(stillborn=range(100))
    with pytest.raises(Failed, match=r"3 workers in a row .* fell over"):
        list(Dispatch(crew, parcels([("a", 1)]), 1, 3, None).run())
    assert len(crew.says) == 3
