"""Items on a real Ray cluster of this machine, with workers and a node killed on the way."""

from __future__ import annotations

import importlib.util
import os
import pickle
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from distribution_workers import Fails, Opening, alive, noted, pids, wait_until

from mosear.evaluation.distribution.actors import worker_class
from mosear.evaluation.distribution.on_ray import run_on_ray
from mosear.evaluation.distribution.outcome import Done, Lost, Outcome, Refused
from mosear.evaluation.distribution.station import Opened, Result, pack, unpack
from mosear.runtime.errors import BadInput, Failed, UsageError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: mosear[ray]")
_HERE = str(Path(__file__).parent)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_ray(*arguments: str) -> subprocess.Popen[str]:
    """A node that runs until it is terminated."""
    node = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": _HERE},
    )
    assert node.stdout is not None
    said = []
    for line in node.stdout:
        said.append(line)
        if "Ray runtime started" in line:
            break
    else:
        pytest.fail("".join(said))
    threading.Thread(target=node.stdout.read, daemon=True).start()
    return node


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster with two CPUs, which only who has its token may use."""
    # Short, for the sockets in it.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        head = start_ray(
            "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={folder}"
        )  # fmt: skip
        try:
            yield f"127.0.0.1:{port}"
        finally:
            nodes = psutil.Process(head.pid).children(recursive=True)
            head.terminate()
            head.wait(timeout=60)
            for each in psutil.wait_procs(nodes, timeout=10)[1]:
                each.kill()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@needs_ray
def test_the_outcomes_are_those_of_one_process_while_workers_are_killed(cluster: str, notes: Path) -> None:
    items: list[tuple[str, Any]] = [
        *((str(number), number) for number in range(20)),
        ("refused", ("raise", "bad input")),
        ("once", ("die", 1, signal.SIGKILL)),
        ("outside", ("hang", 1)),
        ("poison", ("die", 9, 0)),
        ("big", ("big", 10_000_000)),
    ]
    outcomes: dict[str, Outcome] = {}

    def kill() -> None:
        """From outside, while it holds its item."""
        wait_until(lambda: any(what == "hang 1" for _, what in noted(notes)))
        os.kill(next(pid for pid, what in noted(notes) if what == "hang 1"), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    for outcome in run_on_ray(Opening(notes), iter(items), cluster, attempts=2):
        assert outcome.key not in outcomes
        outcomes[outcome.key] = outcome
    killer.join()
    lost = outcomes.pop("poison")
    assert isinstance(lost, Lost)
    assert (lost.attempts, "ended" in lost.reason) == (2, True)
    assert outcomes == {
        **{str(number): Done(str(number), number**2) for number in range(20)},
        "refused": Refused("refused", "no picture in it", "leave it out"),
        "once": Done("once", "survived"),
        "outside": Done("outside", "woke"),
        "big": Done("big", bytes(10_000_000)),
    }
    wait_until(lambda: not alive(pids(notes)))


@needs_ray
def test_items_of_a_machine_that_is_lost_run_elsewhere(cluster: str, notes: Path) -> None:
    second = start_ray(f"--address={cluster}", "--num-cpus=1")
    items = [("a", ("hang", 1)), ("b", ("hang", 1)), ("c", ("hang", 1))]
    with closing(run_on_ray(Opening(notes), items, cluster, limit_s=60)) as outcomes:

        def end() -> None:
            wait_until(lambda: sum(what == "hang 1" for _, what in noted(notes)) == 3)
            for each in [*psutil.Process(second.pid).children(recursive=True), psutil.Process(second.pid)]:
                each.kill()

        killer = threading.Thread(target=end)
        killer.start()
        (first,) = [next(outcomes)]
        killer.join()
    second.wait(timeout=30)
    assert isinstance(first, Done)
    assert first.result == "woke"
    wait_until(lambda: not alive(pids(notes)))


@needs_ray
def test_errors_over_opening_name_the_machine(
    cluster: str, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = socket.gethostname()
    with pytest.raises(BadInput, match=f"on {here}: no such bundle: b") as caught:
        list(run_on_ray(Fails(notes, "bad input"), [("a", 1)], cluster))
    assert caught.value.remedy == "build it"
    # This machine gets another version of mosear, and the cluster keeps its own.
    (tmp_path / "mosear-99.1.dist-info").mkdir()
    (tmp_path / "mosear-99.1.dist-info" / "METADATA").write_text("Name: mosear\nVersion: 99.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Failed, match=f"{here}, a machine of the Ray cluster, has mosear .*; this one has 99.1"):
        list(run_on_ray(Opening(notes), [("a", 1)], cluster))


@needs_ray
def test_what_the_cluster_has_no_room_for_is_refused(cluster: str, notes: Path) -> None:
    with pytest.raises(UsageError, match="no machine of the Ray cluster has 500 CPUs and 2 GPUs"):
        list(run_on_ray(Opening(notes), [("a", 1)], cluster, cpus_each=500, gpus_each=2))


_PROGRAM = """
import sys
from pathlib import Path
from distribution_workers import Opening
from mosear.evaluation.distribution.on_ray import run_on_ray
items = [("dies", ("die", 1, 9)), ("sleeps", ("sleep", 600))]
try:
    for outcome in run_on_ray(Opening(Path(sys.argv[1])), items, sys.argv[2]):
        print(outcome.key, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@needs_ray
def test_ctrl_c_leaves_nothing_and_standard_output_has_results_only(cluster: str, notes: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(notes), cluster],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": _HERE},
    )
    assert run.stdout is not None
    first = run.stdout.readline()
    wait_until(lambda: any(what == "sleep 600" for _, what in noted(notes)))
    children = [each.pid for each in psutil.Process(run.pid).children(recursive=True)]
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, first + out, err) == (130, "dies\n", "")
    wait_until(lambda: not alive(children + pids(notes)))


@pytest.mark.parametrize("address", ["somewhere", "http://127.0.0.1:6379", "host:port", "ray://host"])
def test_what_is_no_address_is_refused(notes: Path, address: str) -> None:
    with pytest.raises(UsageError, match=f"{address} is no address"):
        list(run_on_ray(Opening(notes), [("a", 1)], address))


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_where_nobody_answers_is_told_at_once(notes: Path, form: str) -> None:
    address = form.format(f"127.0.0.1:{free_port()}")
    with pytest.raises(Failed, match=f"nobody answers at {address}"):
        list(run_on_ray(Opening(notes), [("a", 1)], address))


def test_a_machine_without_ray_is_told_how_to_get_it(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('as if it were not there')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Failed, match="Ray is not installed") as caught:
        list(run_on_ray(Opening(notes), [("a", 1)], "auto"))
    assert caught.value.remedy == "pip install 'mosear[ray]'"


@needs_ray
def test_a_machine_without_mosear_can_say_so() -> None:
    """The class travels as code: a process that has no mosear makes it, and answers."""
    from ray import cloudpickle

    code = (
        "import sys, pickle, importlib.metadata\n"
        "class Nowhere:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'mosear': raise ImportError(name)\n"
        "sys.meta_path.insert(0, Nowhere())\n"
        "def version(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.version = version\n"
        "print(pickle.load(sys.stdin.buffer)().open(b'', '1')[1])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps(worker_class()), capture_output=True, check=True
    )
    assert told.stdout == b"has no mosear\n"


def test_a_worker_of_the_same_version_opens_and_answers(notes: Path) -> None:
    from importlib.metadata import version

    worker = worker_class()()
    assert worker.open(pickle.dumps(Opening(notes)), "0.0") == (
        socket.gethostname(),
        f"has mosear {version('mosear')}",
        b"",
    )
    machine, lacks, said = worker.open(pickle.dumps(Opening(notes)), version("mosear"))
    assert (machine, lacks, unpack(said)) == (socket.gethostname(), "", Opened())
    assert unpack(worker.answer(pack(7))) == Result(49)
