"""The server's side of one decoder process: started, asked, distrusted, killed."""

import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mosear.runtime.errors import BadInput, one_line
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.server.decode_wire import Ended, Late, Nonsense, Wire
from mosear.runtime.windows import Window

WORKER = "mosear.runtime.server.decode_worker"

_STATES = {"no_video", "no_audio", "no_speech", "short", "truncated"}
_PASSED_ON = ("PATH", "HOME", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_SINGLE = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LONGEST_START = 60.0
_ACCEPTING = 5.0
_HANGING_UP = 0.25
_DYING = 5.0
_SLACK = 1e-3
_SLACK_OF_CLIP = 2.0
_MESSAGE = 1000

logger = logging.getLogger("mosear")


@dataclass(frozen=True)
class DecodeLimits:
    """What one upload may cost.

    Attributes:
        seconds: length of the clip.
        pixels: of one picture.
        decode_s: wall time spent waiting for the decoder over the whole clip.
        memory_mb: address space of a decoder process, in MiB, beyond the libraries that it starts with. H.264 of
            1920x1080 takes about 100 on two cores, of 3840x2160 200; every further core takes two pictures and 8 more.
    """

    seconds: float
    pixels: int
    decode_s: float
    memory_mb: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(x) and x > 0 for x in (self.seconds, self.pixels, self.decode_s, self.memory_mb)):
            raise ValueError(f"limits are positive numbers: {self}")


class TooLong(BadInput):
    """The upload lasts longer than ``DecodeLimits.seconds``."""

    status = 422


class TooManyPixels(BadInput):
    """A picture of the upload is larger than ``DecodeLimits.pixels``."""

    status = 422


class TooSlow(BadInput):
    """Decoding the upload took more than ``DecodeLimits.decode_s``."""

    status = 408


class DecoderCrashed(BadInput):
    """The decoder process ended, or talked nonsense, over this upload."""

    status = 422


class DecoderChild:
    """One decoder process; used by one thread at a time, but for ``kill``, which any may call.

    The thread that makes it must live as long as the process is wanted: the kernel ends the process with it.

    Args:
        preprocessing: the model's sizes and rates.
        limits: what one upload may cost.
        scratch: the folder that uploads lie in; the process can open nothing else.
        command: the program to start; tests give others.
    """

    def __init__(
        self, preprocessing: Preprocessing, limits: DecodeLimits, scratch: Path, command: list[str] | None = None
    ) -> None:
        self.clips = 0
        self.settled = True
        self._killed = False
        self._preprocessing = preprocessing
        self._limits = limits
        ours, theirs = socket.socketpair()
        self._wire = Wire(ours)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            self._process = subprocess.Popen(
                command or [sys.executable, "-m", WORKER],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",  # not where uploads lie: one of them may be called av.py
                env={**environment, **_SINGLE, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"},
                start_new_session=True,
                close_fds=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        settings = {
            "parent": os.getpid(),
            "preprocessing": preprocessing.model_dump(),
            "seconds": limits.seconds,
            "pixels": limits.pixels,
            "memory_mb": limits.memory_mb,
            "scratch": str(scratch),
        }
        with suppress(Ended, Late):  # wait_ready says so
            self._wire.send(settings, seconds=_ACCEPTING)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait_ready(self) -> dict[str, bool]:
        """Wait until it can take an upload; which of the kernel's walls (``files``, ``calls``) stand around it.

        Raises:
            Ended, Late, Nonsense: it does not start.
        """
        answer = self._wire.receive(time.monotonic() + _LONGEST_START)
        walls = {name: answer.get(name) is True for name in ("files", "calls")}
        if answer.get("answer") != "ready":
            raise Nonsense("no ready")
        return walls

    def kill(self) -> None:
        """End the process and all that it started, whatever it is doing."""
        self._killed = True
        if self._process.poll() is None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(_DYING)
        except subprocess.TimeoutExpired:
            logger.error("a decoder process (%d) does not die", self._process.pid)

    def hang_up(self) -> None:
        """Kill it and give back what the server holds of it; from the thread that uses it."""
        self.kill()
        self._wire.close()

    def windows(self, path: Path, window_s: float, hop_s: float, transcript: str | None) -> Iterator[Window]:
        """The windows of an upload. Closed early, or after an error, ``settled`` says whether it can take another.

        Raises:
            BadInput, TooLong, TooManyPixels, TooSlow, DecoderCrashed.
        """
        self.clips += 1
        self.settled = False
        budget = self._limits.decode_s
        try:
            started = time.monotonic()
            self._wire.send({"ask": "open", "path": str(path), "window_s": window_s, "hop_s": hop_s}, seconds=budget)
            self._expect("opened", self._wire.receive(started + budget), path)
            previous = -1.0
            while True:
                budget -= time.monotonic() - started
                started = time.monotonic()
                self._wire.send({"ask": "next"}, seconds=_ACCEPTING)
                answer = self._wire.receive(started + budget)
                if answer.get("answer") == "end":
                    self.settled = True
                    return
                self._expect("window", answer, path)
                window = self._window(answer, started + budget, previous, window_s, transcript)
                budget -= time.monotonic() - started
                previous = window.start
                yield window
                started = time.monotonic()
        except GeneratorExit:
            self._close_early()
            raise
        except Late as error:
            raise TooSlow(
                f"the upload takes more than {self._limits.decode_s:g} s to decode",
                "send a shorter clip, with smaller pictures or in a common format",
            ) from error
        except (Ended, Nonsense) as error:
            if not self._killed:
                logger.warning("a decoder process failed over an upload: %s", self._how_it_ended(error))
            raise _crashed() from error

    def _close_early(self) -> None:
        # It owes at most the window that it prepares; where that takes long, a fresh process is there sooner.
        deadline = time.monotonic() + _HANGING_UP
        with suppress(Ended, Late, Nonsense):
            self._wire.send({"ask": "close"}, seconds=_HANGING_UP)
            self.settled = self._wire.receive(deadline).get("answer") == "closed"

    def _expect(self, answer: str, header: dict[str, Any], path: Path) -> None:
        given = header.get("answer")
        if given == answer:
            return
        if given != "error":
            raise Nonsense(f"{one_line(given, 40)!r} instead of {answer}")
        kind, what, remedy = header.get("kind"), header.get("what"), header.get("remedy")
        if not isinstance(what, str) or not isinstance(remedy, str):
            raise Nonsense("an error without its words")
        if kind == "fault":
            logger.warning("decoding an upload failed: %s", one_line(what.replace(str(path), "the upload"), _MESSAGE))
            raise _crashed()
        self.settled = kind != "memory"  # what is left of one that ran out of memory is anyone's guess
        if kind == "too_long":
            raise TooLong(f"the upload lasts longer than {self._limits.seconds:g} s", "send a shorter part of it")
        if kind == "too_many_pixels":
            raise TooManyPixels(
                f"the upload has pictures of more than {self._limits.pixels} pixels", "send smaller pictures"
            )
        if kind == "memory":
            raise BadInput("the upload takes more memory to decode than there is", "send smaller pictures")
        if kind != "bad":
            self.settled = False
            raise Nonsense("an error of no known kind")
        named = [one_line(text.replace(str(path), "the upload"), _MESSAGE) for text in (what, remedy)]
        raise BadInput(named[0], named[1])

    def _window(
        self, header: dict[str, Any], deadline: float, previous: float, length: float, transcript: str | None
    ) -> Window:
        """The window of a header, if both can come from a decoder that does what it should."""
        start, end, states = header.get("start"), header.get("end"), header.get("states")
        has_frames, has_samples = header.get("frames"), header.get("samples")
        if not _is_number(start) or not _is_number(end) or not previous < start <= end <= start + length + _SLACK:
            raise Nonsense("a window at no possible time")
        if (
            not isinstance(states, list)
            or len(states) > len(_STATES)
            or not all(isinstance(state, str) and state in _STATES for state in states)
        ):
            raise Nonsense("states that are none")
        if not isinstance(has_frames, bool) or not isinstance(has_samples, bool):
            raise Nonsense("a window of no known shape")
        if end > self._limits.seconds + _SLACK_OF_CLIP:
            raise TooLong(f"the upload lasts longer than {self._limits.seconds:g} s", "send a shorter part of it")
        wanted = self._preprocessing
        shape = (wanted.frames, wanted.frame_size, wanted.frame_size, 3)
        frames = self._wire.receive_array(shape, np.uint8, deadline) if has_frames else None
        samples = self._wire.receive_array((wanted.window_samples,), np.float32, deadline) if has_samples else None
        if samples is not None and not np.isfinite(samples).all():
            raise Nonsense("sound that is no number")
        return Window(float(start), float(end), frames, samples, transcript, tuple(states))

    def _how_it_ended(self, error: Exception) -> str:
        if isinstance(error, Nonsense):
            return one_line(error)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_HANGING_UP)
        code = self._process.returncode
        if code is None:
            return "it hung up"
        return f"signal {-code}" if code < 0 else f"exit status {code}"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _crashed() -> DecoderCrashed:
    return DecoderCrashed(
        "the upload makes the media library crash", "convert it to another format, or record it again"
    )
