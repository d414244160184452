"""What a service tells systemd: ready, reloading, stopping, and that it is still alive.

Without ``NOTIFY_SOCKET`` in the environment nothing is told, so that a command works the same in a terminal.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mosear.runtime.errors import one_line

HEARTBEAT_VARIABLE = "MOSEAR_HEARTBEAT"
"""Names a file that is touched as long as the loop is alive: for a container, which has no service manager."""

_RELOAD_S = 600.0
_BEATS_A_LIMIT = 3
_HEARTBEAT_S = 5.0
_MICRO = 1e6


def ready(environment: Mapping[str, str] = os.environ) -> bool:
    """Say that the service works, for the first time or after a reload. True if it was said; so for those below."""
    limit = _watchdog_us(environment)
    # After a reload this puts back the limit that ``reloading`` had lifted.
    return send("READY=1", *([f"WATCHDOG_USEC={limit}", "WATCHDOG=1"] if limit else []), environment=environment)


def reloading(environment: Mapping[str, str] = os.environ, limit_s: float = _RELOAD_S) -> bool:
    """Say that the service is about to begin anew; ``ready`` says that it has.

    The model is loaded meanwhile and nothing feeds the watchdog, which would end the service: it is given ``limit_s``.
    """
    lines = ["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"]
    if _watchdog_us(environment):
        lines += [f"WATCHDOG_USEC={round(limit_s * _MICRO)}", "WATCHDOG=1"]
    return send(*lines, environment=environment)


def stopping(environment: Mapping[str, str] = os.environ) -> bool:
    """Say that the service is about to end."""
    return send("STOPPING=1", environment=environment)


def status(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Say how it is doing, in a line that ``systemctl status`` shows."""
    return send(f"STATUS={one_line(text, 200)}", environment=environment)


def send(*lines: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send assignments to the service manager. Never waits and never fails: the work goes before the news of it."""
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)
            connection.sendto("\n".join(lines).encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return False
    return True


class Watchdog:
    """Tells that the loop is alive, when the loop itself says so; when the loop hangs, nothing is told.

    Args:
        environment: has ``WATCHDOG_USEC`` when systemd watches, and ``MOSEAR_HEARTBEAT`` when a file is to be touched.
        now: monotonic time in seconds.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ, now: Callable[[], float] = time.monotonic) -> None:
        self._environment = environment
        self._now = now
        limit = _watchdog_us(environment)
        self._every = limit / _MICRO / _BEATS_A_LIMIT if limit else None
        self._heartbeat = Path(environment[HEARTBEAT_VARIABLE]) if environment.get(HEARTBEAT_VARIABLE) else None
        self._told = self._touched = float("-inf")

    def tick(self) -> None:
        """The loop is alive. May be called at any rate: little is told more often than three times a limit."""
        now = self._now()
        if self._every is not None and now - self._told >= self._every:
            self._told = now
            send("WATCHDOG=1", environment=self._environment)
        if self._heartbeat is not None and now - self._touched >= _HEARTBEAT_S:
            self._touched = now
            _touch(self._heartbeat)


class AllAlive:
    """Several loops behind one watchdog, which is fed only when every one of them has moved since it was last fed.

    Args:
        watchdog: what they feed together.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._lock = threading.Lock()
        self._moved: dict[str, bool] = {}

    def loop(self, name: str) -> Callable[[], None]:
        """What the loop of that name calls as long as it is alive. All are named before the first one runs."""
        self._moved[name] = False

        def tick() -> None:
            with self._lock:
                self._moved[name] = True
                if not all(self._moved.values()):
                    return
                self._moved = dict.fromkeys(self._moved, False)
            self._watchdog.tick()

        return tick


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError:
        # A full disk must not stop the loop; whoever looks at the file sees that it is old.
        return


def _watchdog_us(environment: Mapping[str, str]) -> int:
    """The limit in microseconds; 0 when this process is not watched."""
    process, limit = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if not (limit.isascii() and limit.isdigit()) or process not in ("", str(os.getpid())):
        return 0
    return int(limit)
