"""What a service manager hears, with a real datagram socket in its place."""

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mosear.runtime.appliance import health, notify

DEADLINE_S = 10.0


class Manager:
    """The receiving end."""

    def __init__(self, address: str | bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)

    def heard(self, wait: float = DEADLINE_S) -> str | None:
        """The next message; None when none comes for ``wait`` seconds."""
        readable, _, _ = select.select([self._socket], [], [], wait)
        return self._socket.recv(4096).decode() if readable else None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[Manager, dict[str, str]]]:
    made = Manager(str(tmp_path / "notify"))
    yield made, {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    made.close()


def test_each_message_as_systemd_defines_it(manager: tuple[Manager, dict[str, str]]) -> None:
    made, environment = manager
    assert notify.ready(environment)
    assert made.heard() == "READY=1"
    assert notify.stopping(environment)
    assert made.heard() == "STOPPING=1"
    assert notify.status("3 answers\nREADY=1", environment)
    assert made.heard() == "STATUS=3 answers READY=1"


def test_reloading_carries_the_time_and_lifts_the_watchdog_until_ready(manager: tuple[Manager, dict[str, str]]) -> None:
    made, environment = manager
    watched = {**environment, "WATCHDOG_USEC": "30000000"}
    before = time.monotonic_ns() // 1000
    assert notify.reloading(watched, limit_s=600)
    lines = dict(line.split("=") for line in (made.heard() or "").splitlines())
    assert lines["RELOADING"] == "1"
    assert before <= int(lines["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert (lines["WATCHDOG_USEC"], lines["WATCHDOG"]) == ("600000000", "1")
    assert notify.ready(watched)
    assert (made.heard() or "").splitlines() == ["READY=1", "WATCHDOG_USEC=30000000", "WATCHDOG=1"]
    assert notify.reloading(environment)
    assert "WATCHDOG" not in (made.heard() or "")


def test_an_abstract_socket() -> None:
    name = f"mosear-test-{os.getpid()}"
    made = Manager(b"\0" + name.encode())
    try:
        assert notify.ready({"NOTIFY_SOCKET": "@" + name})
        assert made.heard() == "READY=1"
    finally:
        made.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path", "/does/not/exist", "/" + "x" * 300])
def test_nobody_to_tell_is_no_error(address: str) -> None:
    assert not notify.ready({"NOTIFY_SOCKET": address})
    assert not notify.ready({})


def test_a_manager_that_does_not_read_does_not_hold_the_loop_up(manager: tuple[Manager, dict[str, str]]) -> None:
    made, environment = manager
    said = 0
    while notify.status("x" * 100, environment):
        said += 1
        assert said < 1_000_000
    assert made.heard() is not None


def test_a_tick_is_told_three_times_a_limit_at_most(manager: tuple[Manager, dict[str, str]]) -> None:
    made, environment = manager
    now = [100.0]
    watchdog = notify.Watchdog({**environment, "WATCHDOG_USEC": "30000000"}, lambda: now[0])
    told = 0
    for _ in range(601):  # 60 s at ten a second
        watchdog.tick()
        if made.heard(0) is not None:
            told += 1
        now[0] += 0.1
    assert told == 6 or told == 7


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_process_that_is_not_watched_says_nothing(
    manager: tuple[Manager, dict[str, str]], changes: dict[str, str]
) -> None:
    made, environment = manager
    notify.Watchdog({**environment, **changes}).tick()
    assert made.heard(0) is None


def test_a_loop_that_hangs_is_not_covered_up(manager: tuple[Manager, dict[str, str]]) -> None:
    made, environment = manager
    watchdog = notify.Watchdog({**environment, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())})
    hang, hung, end = threading.Event(), threading.Event(), threading.Event()

    def loop() -> None:
        while not hang.is_set():
            watchdog.tick()
            hang.wait(0.001)
        hung.set()
        end.wait()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        assert made.heard() == "WATCHDOG=1"
        assert made.heard() == "WATCHDOG=1"
        hang.set()
        assert hung.wait(DEADLINE_S)
        while made.heard(0) is not None:
            pass
        # Ten limits long: a thread of the watchdog's own would have told something.
        assert made.heard(0.3) is None
    finally:
        hang.set()
        end.set()
        thread.join()


def test_a_heartbeat_file_is_touched_by_the_loop_and_judged_by_its_age(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    environment = {notify.HEARTBEAT_VARIABLE: str(path)}
    assert "no heartbeat" in (health.problem(environment) or "")
    now = [0.0]
    watchdog = notify.Watchdog(environment, lambda: now[0])
    watchdog.tick()
    assert health.problem(environment) is None
    for age in (61, 3600, -3600):
        then = time.time() - age
        os.utime(path, (then, then))
        assert "old" in (health.problem(environment) or "")
    now[0] = 4.0
    watchdog.tick()
    assert health.problem(environment) is not None
    now[0] = 6.0
    watchdog.tick()
    assert health.problem(environment) is None


def test_a_heartbeat_that_cant_be_written_does_not_stop_the_loop(tmp_path: Path) -> None:
    notify.Watchdog({notify.HEARTBEAT_VARIABLE: str(tmp_path / "no" / "beat")}).tick()


@pytest.mark.parametrize(("answer", "well"), [(b"200 OK", True), (b"503 Service Unavailable", False)])
def test_a_server_is_well_when_it_says_that_it_is_ready(answer: bytes, well: bool) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        port = str(listener.getsockname()[1])
        problem = health.problem({"MOSEAR_PORT": port, "http_proxy": "http://127.0.0.1:9"})
        thread.join()
    assert (problem is None) is well
    assert asked[0].startswith(b"GET /v2/health/ready ")
    assert "can't be reached" in (health.problem({"MOSEAR_PORT": port}) or "")


def test_loops_behind_one_watchdog_must_all_move(manager: tuple[Manager, dict[str, str]]) -> None:
    made, environment = manager
    clock = [0.0]
    alive = notify.AllAlive(notify.Watchdog({**environment, "WATCHDOG_USEC": "3000000"}, lambda: clock[0]))
    model, live = alive.loop("model"), alive.loop("live")
    for _ in range(20):
        clock[0] += 1.5
        model()
    assert made.heard(0) is None
    live()
    assert made.heard() == "WATCHDOG=1"
    for _ in range(20):
        clock[0] += 1.5
        live()
    assert made.heard(0) is None
