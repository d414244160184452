"""A whole run in a process of its own, and what is left when it is stopped from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from distribution_workers import alive, noted, pids, wait_until

_PROGRAM = """
import sys
from pathlib import Path
from distribution_workers import Opening
from mosear.evaluation.distribution.processes import run_in_processes
try:
    for outcome in run_in_processes(Opening(Path(sys.argv[1])), eval(sys.argv[2]), 2):
        print(outcome.key, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""
_BUSY = [("sleeps", ("sleep", 600)), ("spins", ("spin", 600)), ("waits", ("sleep", 600))]


def begin(notes: Path, items: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(notes), repr(items)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )


def both_work(notes: Path) -> bool:
    return sum(what.startswith(("sleep", "spin")) for _, what in noted(notes)) >= 2


@pytest.mark.parametrize("moment", ["starting", "working"])
def test_ctrl_c_ends_everything_without_a_word(tmp_path: Path, moment: str) -> None:
    notes = tmp_path / "notes"
    run = begin(notes, _BUSY)
    if moment == "working":
        wait_until(lambda: both_work(notes))
    else:
        wait_until(lambda: len(psutil.Process(run.pid).children()) >= 2)
    started = [child.pid for child in psutil.Process(run.pid).children(recursive=True)]
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out, err) == (130, "", "")
    wait_until(lambda: not alive(started + pids(notes)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_by_themselves_when_the_run_is_no_more(tmp_path: Path, number: int) -> None:
    notes = tmp_path / "notes"
    run = begin(notes, _BUSY)
    wait_until(lambda: both_work(notes))
    assert len(alive(pids(notes))) == 2
    os.kill(run.pid, number)
    run.communicate(timeout=30)
    assert run.returncode == -number
    wait_until(lambda: not alive(pids(notes)))


def test_what_workers_print_is_not_among_the_results(tmp_path: Path) -> None:
    run = begin(tmp_path / "notes", [("a", ("print", "noise"))])
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0
    assert out == "a\n"
    assert err == "noise\nnoise\n"


def test_a_worker_killed_from_outside_is_replaced(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    run = begin(notes, [("a", ("hang", 1)), ("b", 3)])
    wait_until(lambda: any(what == "hang 1" for _, what in noted(notes)))
    os.kill(next(pid for pid, what in noted(notes) if what == "hang 1"), signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, sorted(out.split()), err) == (0, ["a", "b"], "")


def test_a_run_whose_standard_error_is_closed_still_works(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    command = [sys.executable, "-c", _PROGRAM, str(notes), repr([("a", ("print", "noise")), ("b", 2)])]
    told = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        timeout=60,
    )
    assert sorted(told.stdout.split()) == ["a", "b"]
