"""Many items in real processes: the outcomes that are due, whatever becomes of the workers."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from distribution_workers import Fails, Opening, Peculiar, alive, noted, pids, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.evaluation.distribution.here import run_here
from mosear.evaluation.distribution.outcome import Done, Lost, Outcome, Refused
from mosear.evaluation.distribution.processes import run_in_processes
from mosear.runtime.errors import BadInput, CheckFailed, Failed, report


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def outcome_of(notes: Path, item: Any, **options: Any) -> Outcome:
    (outcome,) = run_in_processes(Opening(notes), [("it", item)], 1, **options)
    return outcome


ITEMS = st.lists(
    st.one_of(
        st.integers(-1000, 1000),
        st.just(("raise", "bad input")),
        st.sampled_from([("die", 1, signal.SIGKILL), ("die", 1, signal.SIGSEGV), ("die", 1, 0)]),
    ),
    max_size=12,
)


@given(items=ITEMS, workers=st.integers(1, 3))
@settings(max_examples=5, deadline=None)
def test_every_key_has_its_outcome_once_whatever_happens_to_workers(items: list[Any], workers: int) -> None:
    """As run_here has it, for those items that don't end their process."""
    with tempfile.TemporaryDirectory() as folder:
        opening = Opening(Path(folder) / "notes")
        keyed = [(f"clip {number}", item) for number, item in enumerate(items)]
        outcomes = list(run_in_processes(opening, iter(keyed), workers, attempts=len(items) + 2))
        harmless = [(key, item) for key, item in keyed if isinstance(item, int) or item[0] != "die"]
        alone = list(run_here(opening, harmless))
    assert sorted(outcome.key for outcome in outcomes) == sorted(key for key, _ in keyed)
    by_key = {outcome.key: outcome for outcome in outcomes}
    assert [by_key[outcome.key] for outcome in alone] == alone
    for key, item in keyed:
        if isinstance(item, int):
            assert by_key[key] == Done(key, item**2)
        elif item[0] == "raise":
            assert by_key[key] == Refused(key, "no picture in it", "leave it out")
        else:
            assert by_key[key] == Done(key, "survived")


@pytest.mark.parametrize("times", [1, 2])
def test_an_item_whose_worker_is_killed_runs_again(notes: Path, times: int) -> None:
    assert outcome_of(notes, ("die", times, signal.SIGKILL)) == Done("it", "survived")
    assert Counter(what for _, what in noted(notes)) == {"opened": times + 1, f"die {times}": times + 1}
    assert len(set(pids(notes))) == times + 1


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (("die", 9, signal.SIGKILL), "was killed by SIGKILL, as by the system when memory runs out"),
        (("die", 9, signal.SIGSEGV), "was killed by SIGSEGV"),
        (("die", 9, 0), "ended with exit status 7"),
        (("raise", "exit"), "ended with exit status 9"),
        (("raise", "memory"), "ran out of memory"),
    ],
)
def test_an_item_that_always_ends_its_worker_is_lost_and_the_others_finish(notes: Path, item: Any, reason: str) -> None:
    items = [("a", 2), ("poison", item), ("b", 3), ("c", 4)]
    outcomes = {each.key: each for each in run_in_processes(Opening(notes), items, 2, attempts=2)}
    assert outcomes == {
        "a": Done("a", 4),
        "b": Done("b", 9),
        "c": Done("c", 16),
        "poison": Lost("poison", reason, 2),
    }


def test_an_item_that_hangs_is_tried_again_and_then_lost(notes: Path) -> None:
    assert outcome_of(notes, ("hang", 1), limit_s=1.5) == Done("it", "woke")
    assert outcome_of(notes, ("hang", 9), limit_s=0.3, attempts=2) == Lost("it", "gave no answer within 0.3 s", 2)
    assert not any(psutil.pid_exists(pid) for pid in pids(notes))


def test_a_worker_that_dies_while_a_child_holds_its_files_is_noticed_and_the_child_ended(notes: Path) -> None:
    assert isinstance(outcome_of(notes, ("beget",), attempts=1), Lost)
    opened, child = pids(notes)
    assert opened != child
    assert not psutil.pid_exists(opened)
    wait_until(lambda: not alive([child]))


def test_big_items_and_results_pass(notes: Path) -> None:
    size = 10_000_000
    outcomes = list(run_in_processes(Opening(notes), [("out", ("big", size)), ("in", ("size", bytes(size)))], 2))
    assert sorted(outcomes, key=lambda each: each.key) == [Done("in", size), Done("out", bytes(size))]


def test_items_are_read_only_as_workers_take_them(notes: Path) -> None:
    read, workers = 0, 3

    def items() -> Iterator[tuple[str, int]]:
        nonlocal read
        for number in range(300):
            read += 1
            yield str(number), number

    for given_out, outcome in enumerate(run_in_processes(Opening(notes), items(), workers)):
        assert outcome == Done(outcome.key, int(outcome.key) ** 2)
        assert read <= given_out + 1 + 2 * workers
    assert read == 300


def test_no_more_workers_are_started_than_there_are_items(notes: Path) -> None:
    assert len(list(run_in_processes(Opening(notes), [("a", ("sleep", 0.5)), ("b", ("sleep", 0.5))], 50))) == 2
    assert len(pids(notes)) <= 2
    assert list(run_in_processes(Fails(notes, "bad input"), [], 2)) == []


def test_closing_early_leaves_no_process(notes: Path) -> None:
    items = [("quick", 1), *((str(number), ("sleep", 600)) for number in range(9))]
    with closing(run_in_processes(Opening(notes), items, 3)) as outcomes:
        assert next(outcomes) == Done("quick", 1)
        assert all(psutil.pid_exists(pid) for pid in pids(notes))
    assert pids(notes)
    assert not any(psutil.pid_exists(pid) for pid in pids(notes))


def test_an_error_over_opening_ends_the_run_as_it_is(notes: Path) -> None:
    with pytest.raises(BadInput, match="no such bundle: b") as caught:
        list(run_in_processes(Fails(notes, "bad input"), [("a", 1), ("b", 2)], 2))
    assert type(caught.value) is BadInput
    assert caught.value.remedy == "build it"
    with pytest.raises(Peculiar, match="peculiar 7") as caught:
        list(run_in_processes(Fails(notes, "peculiar"), [("a", 1)], 1))
    assert (caught.value.remedy, caught.value.exit_code) == ("be less so", 1)


def test_workers_that_end_over_opening_end_the_run(notes: Path) -> None:
    with pytest.raises(Failed, match=r"3 workers in a row .* SIGKILL"):
        list(run_in_processes(Fails(notes, "killed"), [("a", 1)], 1))
    assert len(pids(notes)) == 3


def test_an_error_that_is_no_bad_input_ends_the_run_after_what_was_answered(notes: Path) -> None:
    outcomes = run_in_processes(Opening(notes), [("a", 5), ("wrong", ("raise", "check")), ("b", 6)], 1)
    assert next(outcomes) == Done("a", 25)
    with pytest.raises(CheckFailed, match="the answer is wrong"):
        next(outcomes)
    assert not any(psutil.pid_exists(pid) for pid in pids(notes))


@pytest.mark.parametrize("opens", [True, False])
def test_an_exception_that_nobody_expected_is_told_in_two_lines(
    notes: Path, opens: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Opening(notes) if opens else Fails(notes, "unexpected")
    with pytest.raises(Failed) as caught:
        list(run_in_processes(worker, [("clip 7", ("raise", "zero"))], 1))
    report(caught.value)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert ("clip 7: ZeroDivisionError: a number" if opens else "KeyError: 'weights'") in lines[0]
    # For --debug.
    assert "distribution_workers.py" in str(caught.value.__cause__)


def test_what_can_not_be_pickled_is_named(notes: Path) -> None:
    with pytest.raises(Failed, match="clip 8: the result can't be pickled"):
        list(run_in_processes(Opening(notes), [("clip 8", ("lock",))], 1))
    with pytest.raises(Failed, match="clip 9 can't be sent"):
        list(run_in_processes(Opening(notes), [("clip 9", lambda: None)], 1))


def test_an_error_of_the_items_comes_after_what_was_answered(notes: Path) -> None:
    def items() -> Iterator[tuple[str, int]]:
        yield "a", 2
        raise BadInput("labels.csv breaks off", "copy it again")

    with pytest.raises(BadInput, match="breaks off"):
        list(run_in_processes(Opening(notes), items(), 2))
    assert not any(psutil.pid_exists(pid) for pid in pids(notes))


@pytest.mark.parametrize(
    ("workers", "options"), [(0, {}), (1, {"attempts": 0}), (1, {"limit_s": 0.0}), (1, {"limit_s": float("nan")})]
)
def test_numbers_that_mean_nothing_are_refused_before_anything_starts(
    notes: Path, workers: int, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"at least|above"):
        run_in_processes(Opening(notes), [], workers, **options)


def test_in_this_process_items_keep_their_order_and_errors_their_kind(notes: Path) -> None:
    items = [("a", 3), ("bad", ("raise", "bad input")), ("b", 4), ("wrong", ("raise", "check"))]
    outcomes = run_here(Opening(notes), items)
    assert [next(outcomes) for _ in range(3)] == [
        Done("a", 9),
        Refused("bad", "no picture in it", "leave it out"),
        Done("b", 16),
    ]
    with pytest.raises(CheckFailed):
        next(outcomes)
    assert [what for _, what in noted(notes)].count("opened") == 1
    with pytest.raises(Failed, match="clip 3 failed: ZeroDivisionError: a number"):
        list(run_here(Opening(notes), [("clip 3", ("raise", "zero"))]))
    with pytest.raises(BadInput, match="no such bundle"):
        list(run_here(Fails(notes, "bad input"), [("a", 1)]))
    with pytest.raises(Failed, match="KeyError"):
        list(run_here(Fails(notes, "unexpected"), [("a", 1)]))
