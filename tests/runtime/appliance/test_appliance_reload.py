"""SIGHUP, sent to real processes."""

import json
import os
import pty
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosear.runtime.appliance.reload import Reload, rehearsal
from mosear.runtime.errors import Failed, UsageError

DEADLINE_S = 20.0

PROGRAM = '''
"""A service: says what it read and what it holds, and reloads."""
import json, logging, os, sys, threading, time
from pathlib import Path
from mosear.runtime.appliance import notify
from mosear.runtime.appliance.configuration import load
from mosear.runtime.appliance.reload import Reload, own_command
from mosear.runtime.server.listening import open_sockets
from mosear.runtime.server.settings import ServerSettings
import typer

logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
config, mode = Path(sys.argv[1]), sys.argv[2]

def command(hop: float = 1.0) -> None: ...

app = typer.Typer()
app.callback()(lambda: None)
app.command("watch")(command)
commands = typer.main.get_command(app).commands
hop = load(config, commands)["watch"]["hop"]
gate = Path(sys.argv[3])
if mode == "gate":
    print(json.dumps({"event": "starting", "hop": hop}), flush=True)
    while not gate.exists():
        time.sleep(0.005)
sockets = open_sockets(ServerSettings(port=0)) if mode == "serve" else []
leaky = os.open("/dev/null", os.O_RDONLY)
os.set_inheritable(leaky, True)
reload = Reload(own_command(), lambda: load(config, commands))
reload.install()
links = []
for number in os.listdir("/proc/self/fd"):
    try:
        links.append(os.readlink(f"/proc/self/fd/{number}"))
    except OSError:
        pass
notify.ready()
print(json.dumps({
    "event": "ready", "hop": hop, "pid": os.getpid(), "fds": len(links), "threads": threading.active_count(),
    "ports": [each.getsockname()[1] for each in sockets], "listen": os.environ.get("LISTEN_FDS"), "argv": sys.argv,
}), flush=True)
while not reload.requested.wait(0.05):
    pass
print("unflushed words", end="\\n")
reload.go([each.fileno() for each in sockets])
'''


class Service:
    """A process of the program, its lines and its log."""

    def __init__(self, folder: Path, mode: str = "plain", **environment: str) -> None:
        self.config = folder / "mosear.toml"
        self.gate = folder / "gate"
        self.say(1)
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, str(program), str(self.config), mode, str(self.gate)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**{key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}, **environment},
            start_new_session=True,
        )
        self._out: queue.Queue[str] = queue.Queue()
        self._log: queue.Queue[str] = queue.Queue()
        for stream, lines in ((self.process.stdout, self._out), (self.process.stderr, self._log)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _read(stream: Any, lines: "queue.Queue[str]") -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))
        lines.put("(end)")

    def say(self, hop: float | str) -> None:
        """Put a configuration in place, in one step."""
        beside = self.config.with_suffix(".new")
        beside.write_text(f"[watch]\nhop = {hop}\n")
        beside.replace(self.config)

    def hup(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def line(self) -> str:
        return self._out.get(timeout=DEADLINE_S)

    def log(self) -> str:
        return self._log.get(timeout=DEADLINE_S)

    def event(self, name: str = "ready", fits: Callable[[dict], bool] = lambda event: True) -> dict:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            line = self.line()
            assert line != "(end)", f"the process ended: {self.process.wait(5)}"
            if line.startswith("{"):
                event = json.loads(line)
                if event["event"] == name and fits(event):
                    return event
        raise AssertionError("no such event")

    def quiet(self) -> bool:
        return self._out.empty() and self._log.empty()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(*arguments: str, **environment: str) -> Service:
        services.append(Service(tmp_path, *arguments, **environment))
        return services[-1]

    yield make
    for service in services:
        service.close()


def test_a_good_file_is_taken_over_by_the_same_process(start: Callable[..., Service]) -> None:
    service = start()
    first = service.event()
    assert (first["hop"], first["pid"]) == ("1", service.process.pid)
    service.say(2)
    service.hup()
    assert service.line() == "unflushed words"
    second = service.event()
    assert (second["hop"], second["pid"]) == ("2", service.process.pid)
    assert second["argv"] == first["argv"]


@pytest.mark.parametrize("bad", ["'soon'", "[1", "1\nnonsense = 2"])
def test_a_bad_file_is_one_line_in_the_log_and_nothing_else(start: Callable[..., Service], bad: str) -> None:
    service = start()
    service.event()
    service.say(bad)
    service.hup()
    line = service.log()
    assert line.startswith("ERROR the configuration is not reloaded, the present one stays: ")
    assert "mosear.toml" in line
    assert service.process.poll() is None
    service.say(3)
    service.hup()
    assert service.event()["hop"] == "3"
    assert service.quiet()


def test_a_file_that_is_gone_is_a_bad_file(start: Callable[..., Service]) -> None:
    service = start()
    service.event()
    service.config.unlink()
    service.hup()
    assert "is not a configuration file" in service.log()
    service.say(2)
    service.hup()
    assert service.event()["hop"] == "2"


def test_descriptors_do_not_pile_up_not_even_those_that_a_library_left_open(start: Callable[..., Service]) -> None:
    service = start()
    first = service.event()
    for hop in range(2, 6):
        service.say(hop)
        service.hup()
        event = service.event()
        assert (event["fds"], event["threads"]) == (first["fds"], first["threads"])


def test_a_listening_socket_lives_on(start: Callable[..., Service]) -> None:
    service = start("serve")
    (port,) = service.event()["ports"]
    with socket.create_connection(("127.0.0.1", port)):
        pass
    for hop in (2, 3):
        service.say(hop)
        # Clients that come while the program begins anew wait in the socket's own queue.
        service.hup()
        event = service.event()
        assert (event["ports"], event["listen"]) == ([port], None)
        with socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_storm_of_signals_neither_ends_it_nor_loses_the_last(start: Callable[..., Service]) -> None:
    service = start()
    service.event()
    for number in range(300):
        service.say(10 + number)
        service.hup()
        if number % 50 == 0:
            time.sleep(0.05)
    service.say(777)
    service.hup()
    event = service.event(fits=lambda event: event["hop"] == "777")
    assert event["pid"] == service.process.pid
    assert service.process.poll() is None


def test_a_signal_while_it_begins_anew_waits_for_it(start: Callable[..., Service]) -> None:
    service = start("gate")
    service.event("starting")
    service.gate.touch()
    service.event()
    service.gate.unlink()
    service.say(2)
    service.hup()
    assert service.event("starting")["hop"] == "2"
    service.say(3)
    service.hup()  # nobody listens yet; by default this would end the process
    service.gate.touch()
    assert service.event()["hop"] == "2"
    assert service.event()["hop"] == "3"


def test_the_service_manager_hears_of_it(start: Callable[..., Service], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE_S)
        service = start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(4096) == b"READY=1"
        service.say("'soon'")
        service.hup()
        service.log()
        service.say(2)
        service.hup()
        # Of the bad file it hears nothing: the service went on.
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(4096) == b"READY=1"


def test_a_closed_terminal_ends_it_as_it_ends_any_program(tmp_path: Path) -> None:
    program = (
        "from mosear.runtime.appliance.reload import Reload\n"
        "import time\n"
        "print(Reload(['/bin/true'], lambda: None).install(), flush=True)\n"
        "time.sleep(60)\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    try:
        assert os.read(terminal, 100).strip() == b"False"
    finally:
        os.close(terminal)
    end = time.monotonic() + DEADLINE_S
    done, status = os.waitpid(pid, os.WNOHANG)
    while not done and time.monotonic() < end:
        time.sleep(0.01)
        done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGHUP


def test_a_program_that_is_gone_is_said_before_anything_is_closed(tmp_path: Path) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    with pytest.raises(Failed, match="can't be run any more"):
        Reload([str(tmp_path / "gone")], lambda: None).go()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == mask


def test_a_rehearsal_passes_on_what_the_program_complained_of() -> None:
    rehearsal([sys.executable, "-c", "print('a plan')"])()
    complaint = (
        "import sys; print('notice'); print('error: no such camera\\n  fix: plug it in', file=sys.stderr); sys.exit(2)"
    )
    with pytest.raises(UsageError) as caught:
        rehearsal([sys.executable, "-c", complaint])()
    assert (caught.value.what, caught.value.remedy) == ("no such camera", "plug it in")
    with pytest.raises(UsageError, match="no word why"):
        rehearsal([sys.executable, "-c", "import sys; sys.exit(1)"])()
    with pytest.raises(UsageError, match="can't be run"):
        rehearsal(["/no/such/program"])()


def test_a_rehearsal_has_a_limit_and_does_not_speak_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"}
    for name in names:
        monkeypatch.setenv(name, "1")
    look = f"import os; assert not {names} & set(os.environ)"
    rehearsal([sys.executable, "-c", look])()
    with pytest.raises(UsageError, match="took over"):
        rehearsal([sys.executable, "-c", "import time; time.sleep(60)"], limit_s=0.5)()


def test_a_check_that_breaks_is_a_check_that_fails_and_the_next_one_counts() -> None:
    asked: queue.Queue[int] = queue.Queue()

    def validate() -> None:
        asked.put(1)
        if first.is_set():
            first.clear()
            raise RuntimeError("boom")

    first = threading.Event()
    first.set()
    reload = Reload(["/bin/true"], validate)
    thread = threading.Thread(target=reload._work)
    thread.start()
    reload._signals.put(True)
    asked.get(timeout=DEADLINE_S)
    assert not reload.requested.is_set()
    reload._signals.put(True)
    asked.get(timeout=DEADLINE_S)
    assert reload.requested.wait(DEADLINE_S)
    thread.join(DEADLINE_S)
