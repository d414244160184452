"""mosear watch and mosear serve under a service manager: told from outside, in processes of their own."""

import http.client
import os
import queue
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runtime_commands import command

DEADLINE_S = 60.0


class Managed:
    """A command as systemd runs it: with a socket to talk to, and a watchdog of half a second."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
        environment |= {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "500000"}
        self.process = subprocess.Popen(
            command(*arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        self.log: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.put(line.rstrip())

    def told(self, word: str) -> str:
        """The next message that begins with ``word``; those before it are dropped."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            readable, _, _ = select.select([self._manager], [], [], 0.2)
            if readable:
                message = self._manager.recv(4096).decode()
                if message.startswith(word):
                    return message
            assert self.process.poll() is None or readable, list(self.log.queue)
        raise AssertionError(f"{word} was not told; the log: {list(self.log.queue)}")

    def said(self, text: str) -> str:
        """The next line of the log that holds ``text``."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            line = self.log.get(timeout=DEADLINE_S)
            if text in line:
                return line
        raise AssertionError(text)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._manager.close()


@pytest.fixture
def manage(tmp_path: Path) -> Iterator[Callable[..., Managed]]:
    made: list[Managed] = []

    def start(*arguments: object) -> Managed:
        made.append(Managed(tmp_path, *arguments))
        return made[-1]

    yield start
    for each in made:
        each.close()


def grows(path: Path) -> bool:
    """Whether another answer is written to the file."""
    before = path.stat().st_size if path.exists() else 0
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if path.exists() and path.stat().st_size > before:
            return True
        time.sleep(0.05)
    return False


def test_watch_is_ready_alive_reloaded_and_stopped(
    manage: Callable[..., Managed], tmp_path: Path, toy_bundle: Path, clip: Path
) -> None:
    config = tmp_path / "appliance.toml"

    def configure(sink: str, camera: object = clip) -> None:
        config.write_text(
            f"[all]\nbundle = '{toy_bundle}'\nthreads = 1\n[watch]\ncamera = '{camera}'\nmicrophone = 'none'\n"
            f"loop = true\nhop = 0.5\nvad = false\nsink = ['jsonl:{tmp_path / sink}']\n"
        )

    configure("first.jsonl")
    watch = manage("--config", config, "watch")
    watch.told("READY=1")
    watch.told("WATCHDOG=1")
    assert grows(tmp_path / "first.jsonl")

    # Good TOML of the right types, which nevertheless means nothing.
    configure("second.jsonl", camera="/no/such/file.mp4")
    watch.process.send_signal(signal.SIGHUP)
    assert "/no/such/file.mp4" in watch.said("the configuration is not reloaded")
    assert grows(tmp_path / "first.jsonl")
    assert not (tmp_path / "second.jsonl").exists()

    configure("second.jsonl")
    watch.process.send_signal(signal.SIGHUP)
    watch.told("RELOADING=1")
    assert "WATCHDOG_USEC=500000" in watch.told("READY=1")
    watch.told("WATCHDOG=1")
    assert grows(tmp_path / "second.jsonl")
    assert watch.process.poll() is None

    watch.process.terminate()
    watch.told("STOPPING=1")
    assert watch.process.wait(DEADLINE_S) == 0


def test_serve_is_ready_alive_reloaded_and_stopped(
    manage: Callable[..., Managed], tmp_path: Path, toy_bundle: Path
) -> None:
    config = tmp_path / "appliance.toml"
    config.write_text(f"[serve]\nbundle = '{toy_bundle}'\nport = 0\nthreads = 1\n")
    serve = manage("--config", config, "serve")
    port = int(serve.said("listening on ").rsplit(":", 1)[1])
    serve.told("READY=1")
    serve.told("WATCHDOG=1")
    assert _ready(port) == 200

    config.write_text(f"[serve]\nbundle = '{tmp_path / 'gone'}'\nport = 0\n")
    serve.process.send_signal(signal.SIGHUP)
    serve.said("the configuration is not reloaded")
    assert _ready(port) == 200

    config.write_text(f"[serve]\nbundle = '{toy_bundle}'\nport = 0\nthreads = 1\nqueue = 3\n")
    serve.process.send_signal(signal.SIGHUP)
    serve.told("RELOADING=1")
    # Whoever connects meanwhile waits in the socket's own queue, or is told to come again: nobody is refused. Only the
    # one connection that was taken in the moment of the end may be cut off.
    answers: list[int] = []
    cut_off = 0
    end = time.monotonic() + DEADLINE_S
    while not any("listening on " in line for line in list(serve.log.queue)) and time.monotonic() < end:
        try:
            answers.append(_ready(port))
        except (ConnectionResetError, http.client.RemoteDisconnected):
            cut_off += 1
    assert set(answers) <= {200, 503}
    assert cut_off <= 1
    serve.told("READY=1")
    assert int(serve.said("listening on ").rsplit(":", 1)[1]) == port
    assert serve.process.poll() is None

    serve.process.terminate()
    serve.told("STOPPING=1")
    assert serve.process.wait(DEADLINE_S) == 0


def _ready(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status
    finally:
        connection.close()
