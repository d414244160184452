"""SIGHUP: the configuration is checked, and if it is good the program begins anew as the same process."""

import fcntl
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from mosear.runtime.appliance import notify
from mosear.runtime.errors import Failed, MosearError, UsageError, one_line

_FIRST_INHERITED = 3
_REHEARSAL_S = 60.0
_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")

_log = logging.getLogger("mosear")


def own_command() -> list[str]:
    """The command line that this process was started with, interpreter first."""
    return [sys.executable, *sys.orig_argv[1:]]


def rehearsal(command: Sequence[str], limit_s: float = _REHEARSAL_S) -> Callable[[], None]:
    """A check that runs ``command`` in a process of its own, which must end with 0: say, the same with ``--dry-run``.

    The check raises UsageError with what that process complained of.
    """

    def check() -> None:
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_CHILDREN}
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"the check of it took over {limit_s:g} s", "run it by hand with --dry-run") from error
        except OSError as error:
            raise UsageError(f"the check of it can't be run ({error})", "mend the installation") from error
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            what = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "no word why")
            remedy = next((line for line in lines if line.startswith("fix: ")), "run it by hand with --dry-run")
            raise UsageError(what.removeprefix("error: "), remedy.removeprefix("fix: "))

    return check


class Reload:
    """Begins the program anew on SIGHUP, once the configuration is found good.

    A thread checks, so neither the main thread nor the model waits for it. When the check fails, that is one line in
    the log and everything goes on. When it passes, ``requested`` is set; the command then ends its work in good order,
    gives everything back, and calls ``go``. Signals that come during a check are answered by one more check.

    Args:
        argv: the command, interpreter first; ``own_command()``.
        validate: raises MosearError when the new configuration is bad.
        on_request: called by the thread when the check has passed; must not block.

    Attributes:
        requested: whether the program is to begin anew.
    """

    def __init__(
        self,
        argv: Sequence[str],
        validate: Callable[[], None],
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self.requested = threading.Event()
        self._argv = list(argv)
        self._validate = validate
        self._on_request = on_request
        # A lock that a handler takes may be held by the very code that it interrupts; this queue is made for that.
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def install(self) -> bool:
        """Listen to SIGHUP from now on, and to one that came while the program began anew. For the main thread.

        Not with a terminal, where SIGHUP says that it was closed and ends a program as ever; False is returned then.
        """
        if _has_terminal():
            return False
        self._thread = threading.Thread(target=self._work, name="mosear-reload", daemon=True)
        self._thread.start()
        signal.signal(signal.SIGHUP, self._heard)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        return True

    def close(self) -> None:
        """Listen no more: a further SIGHUP is ignored."""
        if self._thread is None:
            return
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._signals.put(False)
        self._thread = None

    def go(self, keep: Sequence[int] = (), environment: Mapping[str, str] = os.environ) -> NoReturn:
        """Become the program anew, as the same process. All else must have been given back: nothing is run at exit.

        Args:
            keep: file descriptors that it inherits, from 3 on and as systemd hands sockets over (``LISTEN_FDS``); all
                others but the standard streams are closed.
            environment: of the program.

        Raises:
            Failed: the program is gone.
        """
        if not os.access(self._argv[0], os.X_OK):
            raise Failed(f"{self._argv[0]} can't be run any more", "install mosear again, and restart it")
        # Blocked, not ignored: a SIGHUP that comes before the new program listens waits for it and is not lost, and
        # does not end it either.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        variables = {key: value for key, value in environment.items() if key not in ("LISTEN_FDS", "LISTEN_PID")}
        if keep:
            variables |= {"LISTEN_FDS": str(len(keep)), "LISTEN_PID": str(os.getpid())}
        _pass_on(keep)
        try:
            os.execve(self._argv[0], self._argv, variables)
        except OSError as error:
            raise Failed(f"{self._argv[0]} can't be run ({error.strerror})", "install mosear again") from error

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(True)

    def _work(self) -> None:
        while self._signals.get():
            while not self._signals.empty():
                if not self._signals.get():
                    return
            if self._is_good():
                notify.reloading()
                self.requested.set()
                self._on_request()
                return

    def _is_good(self) -> bool:
        try:
            self._validate()
        except MosearError as error:
            what, remedy = one_line(error.what), one_line(error.remedy)
            _log.error("the configuration is not reloaded, the present one stays: %s; %s", what, remedy)
            return False
        except Exception as error:
            # Whatever went wrong, it was in a check: the work goes on.
            what = f"{type(error).__name__}: {one_line(error)}"
            _log.error("the configuration is not reloaded, the present one stays: its check failed (%s)", what)
            return False
        return True


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _pass_on(keep: Sequence[int]) -> None:
    """Let the next program have ``keep`` as 3, 4, …, and none of the other descriptors."""
    beyond = _FIRST_INHERITED + len(keep)
    # Out of the way first: one of them may sit where another is to go.
    moved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, beyond) for number in keep]
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2:
            # Libraries in C open files too, and may leave them open for the next program. One is the listing's own.
            with suppress(OSError):
                os.set_inheritable(number, False)
    for place, number in enumerate(moved, _FIRST_INHERITED):
        os.dup2(number, place)
