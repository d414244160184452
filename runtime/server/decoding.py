"""Uploads as windows, decoded in processes of their own: a crash, a hang or a bomb costs one process and no more."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mosear.runtime.errors import Failed, MosearError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.server.decode_child import (
    DecodeLimits,
    DecoderChild,
    DecoderCrashed,
    TooLong,
    TooManyPixels,
    TooSlow,
)
from mosear.runtime.server.decode_wire import Ended, Late, Nonsense
from mosear.runtime.windows import Window, lengths

__all__ = ["Busy", "DecodeLimits", "DecoderCrashed", "DecoderPool", "TooLong", "TooManyPixels", "TooSlow"]

_LONGEST_PAUSE = 10.0

logger = logging.getLogger("mosear")


class Busy(MosearError):
    """Every decoder has work; ``retry_after`` is in seconds."""

    status = 503

    def __init__(self, what: str, retry_after: int = 1) -> None:
        super().__init__(what, f"try again in {retry_after} s")
        self.retry_after = retry_after


class DecoderPool:
    """A few decoder processes, started ahead, each replaced when it fails or has decoded many clips.

    Args:
        preprocessing: the model's sizes and rates.
        limits: what one upload may cost.
        processes: how many uploads are decoded at once.
        scratch: the folder that uploads lie in; the processes can open nothing else.
        wait_s: how long ``windows`` waits for a process before it raises ``Busy``.
        clips_each: uploads after which a process is replaced, so that what the library leaks does not add up.
        command: the program of a process; tests give others.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        limits: DecodeLimits,
        processes: int,
        scratch: Path,
        wait_s: float = 10.0,
        clips_each: int = 200,
        command: list[str] | None = None,
    ) -> None:
        if processes < 1:
            raise ValueError("at least one process")
        self._preprocessing = preprocessing
        self._limits = limits
        self._count = processes
        self._scratch = scratch.resolve()
        self._wait_s = wait_s
        self._clips_each = clips_each
        self._command = command
        self._idle: queue.Queue[DecoderChild | None] = queue.Queue()
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._children: set[DecoderChild] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    def start(self) -> None:
        """Start the processes and wait until all of them are ready.

        Raises:
            Failed: they don't start.
        """
        started: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._stopping.clear()
        self._idle, self._wanted = queue.Queue(), queue.SimpleQueue()
        self._keeper = threading.Thread(target=self._keep, args=(started,), name="mosear-decoders", daemon=True)
        self._keeper.start()
        if not started.get():
            self.stop()
            raise Failed(
                "the processes that decode uploads don't start",
                "raise their memory limit, or see what `python -m mosear.runtime.server.decode_worker` says",
            )

    def stop(self) -> None:
        """End all processes, those at work too: their ``windows`` raises ``Busy``. May be called again."""
        self._stopping.set()
        with self._lock:
            children = list(self._children)
        for child in children:
            child.kill()
        self._wanted.put(False)
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        self._empty()

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        with self._lock:
            return sorted(child.pid for child in self._children if child.alive)

    def windows(
        self, path: Path, window_s: float | None = None, hop_s: float | None = None, transcript: str | None = None
    ) -> Iterator[Window]:
        """The windows of an upload as ``read_windows`` gives them. Any thread may call it, and close it early.

        A process is taken at the first ``next`` and given back at the end; it decodes one window ahead of the caller.
        The time that the caller takes over a window does not count against ``decode_s``.

        Args:
            path: a file in the scratch folder.
            window_s, hop_s, transcript: see ``read_windows``.

        Raises:
            Busy: all processes had work for ``wait_s``, or the pool stops.
            UsageError: ``window_s`` or ``hop_s`` is out of range.
            BadInput: the upload can't be decoded: ``TooLong``, ``TooManyPixels``, ``TooSlow``, ``DecoderCrashed``, or
                as ``read_windows`` has it, with "the upload" in place of the path.
            ValueError: the path leads out of the scratch folder.
        """
        length, hop = lengths(self._preprocessing, window_s, hop_s)
        upload = path.resolve()
        if not upload.is_relative_to(self._scratch):
            raise ValueError("an upload lies in the scratch folder")
        child = self._take()
        try:
            yield from child.windows(upload, length, hop, transcript)
        except DecoderCrashed:
            if self._stopping.is_set():
                raise Busy("the server is stopping") from None
            raise
        finally:
            self._give_back(child)

    def _take(self) -> DecoderChild:
        deadline = time.monotonic() + self._wait_s
        while not self._stopping.is_set():
            try:
                child = self._idle.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Busy("all decoders have work") from None
            if child is None:
                break
            if child.alive:
                return child
            self._replace(child)
        self._idle.put(None)  # for the next one who waits
        raise Busy("the server is stopping")

    def _give_back(self, child: DecoderChild) -> None:
        if child.settled and child.clips < self._clips_each and child.alive and not self._stopping.is_set():
            self._idle.put(child)
            if self._stopping.is_set():
                self._empty()
        else:
            self._replace(child)

    def _replace(self, child: DecoderChild) -> None:
        child.hang_up()
        with self._lock:
            self._children.discard(child)
        self._wanted.put(not self._stopping.is_set())

    def _empty(self) -> None:
        """Hang up on all who wait for work, and wake those who wait for one of them."""
        while True:
            try:
                child = self._idle.get_nowait()
            except queue.Empty:
                break
            if child is not None:
                child.hang_up()
                with self._lock:
                    self._children.discard(child)
        self._idle.put(None)

    def _keep(self, started: "queue.SimpleQueue[bool]") -> None:
        """Start processes. All are started by this one thread, since the kernel ends them with their thread."""
        children = [child for _ in range(self._count) if (child := self._spawn())]
        ready = [child for child in children if self._await(child)]
        for child in ready:
            self._idle.put(child)
        started.put(len(ready) == self._count)
        pause = 0.0
        while self._wanted.get() and not self._stopping.wait(pause):
            fresh = self._spawn()
            if fresh and self._await(fresh):
                self._idle.put(fresh)
                pause = 0.0
            elif not self._stopping.is_set():
                pause = min(max(2 * pause, 0.1), _LONGEST_PAUSE)
                self._wanted.put(True)

    def _spawn(self) -> DecoderChild | None:
        try:
            child = DecoderChild(self._preprocessing, self._limits, self._scratch, self._command)
        except OSError as error:
            logger.error("a decoder process can't be started: %s", error)
            return None
        with self._lock:
            self._children.add(child)
        if self._stopping.is_set():  # stop() may have looked before it was there
            child.kill()
        return child

    def _await(self, child: DecoderChild) -> bool:
        try:
            walls = child.wait_ready()
        except (Ended, Late, Nonsense):
            if not self._stopping.is_set():
                logger.error("a decoder process did not start")
            child.hang_up()
            with self._lock:
                self._children.discard(child)
            return False
        if not all(walls.values()):
            logger.debug(
                "the kernel has no %s for decoders", " and ".join(n for n, is_up in walls.items() if not is_up)
            )
        return True
