"""Something is tried in a process of its own, so that what crashes or hangs there does not take the doctor down."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosear.runtime.doctor.question import plain_environment
from mosear.runtime.errors import one_line

_LAST_WORDS_S = 2.0
_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Told:
    """What a child said.

    Attributes:
        lines: the objects that it wrote, those before a crash too.
        trouble: how it ended, when it did not end well: a crash, a hang, an error. None when all is well.
        fix: what an error of mosear's own says to do.
        stderr: the end of what it printed beside.
        error_type: name of the class of an exception.
        crashed: it was killed, by a signal or for its silence.
        exit_code: the one that goes with an error of mosear's own.
    """

    lines: list[dict[str, Any]]
    trouble: str | None = None
    fix: str | None = None
    stderr: str = ""
    error_type: str = ""
    crashed: bool = False
    exit_code: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """All lines as one object; the later one counts."""
        return {key: value for line in self.lines for key, value in line.items()}


def ask(probe: str, question: Mapping[str, Any], seconds: float, environment: Mapping[str, str]) -> Told:
    """Run ``python -m mosear.runtime.doctor.probe PROBE`` and wait for it.

    Args:
        probe: one of those in ``probe.py``.
        question: plain JSON; it goes through standard input, where other users can't read it.
        seconds: after so many it is killed.
        environment: the child's variables.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "mosear.runtime.doctor.probe", probe, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=plain_environment(environment),
        start_new_session=True,
    )
    _running.add(child)
    late = False
    try:
        said, beside = child.communicate(json.dumps(question).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        late = True
        _kill(child)
        said, beside = _last_words(child)
    finally:
        _running.discard(child)
    lines, error = _lines(said)
    stderr = one_line(beside.decode(errors="replace")[-2000:])
    if late:
        return Told(lines, f"did not answer within {seconds:g} s", stderr=stderr, crashed=True)
    if child.returncode < 0:
        return Told(lines, _signal(-child.returncode), stderr=stderr, crashed=True)
    if error is not None:
        return Told(lines, error["error"], error.get("fix"), stderr, error.get("type", ""), exit_code=error.get("code"))
    if child.returncode:
        return Told(lines, f"ended with exit status {child.returncode}: {stderr[-200:]}", stderr=stderr, crashed=True)
    return Told(lines, stderr=stderr)


@atexit.register
def _end_all() -> None:
    """After Ctrl-C no child may keep a camera open."""
    for child in list(_running):
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


def _last_words(child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return child.communicate(timeout=_LAST_WORDS_S)
    except subprocess.TimeoutExpired as error:
        # It hangs inside the kernel, as behind a broken driver: not even SIGKILL ends it before the driver returns.
        return error.output or b"", error.stderr or b""


def _lines(said: bytes) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    lines, error = [], None
    for text in said.decode(errors="replace").splitlines():
        # A child that was killed while it wrote leaves half a line.
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if "error" in line:
                error = line
            else:
                lines.append(line)
    return lines, error


def _signal(number: int) -> str:
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    return f"crashed with signal {number}{name}"
