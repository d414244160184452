"""One model, many who ask: a thread owns the model, and jobs take turns at it window by window."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol

from mosear.runtime.errors import Failed, MosearError, UsageError
from mosear.runtime.results import Emotion
from mosear.runtime.server.errors import Busy, Stopping
from mosear.runtime.server.job import Job, Priority, Waiting
from mosear.runtime.windows import Window

_IDLE_S = 1.0
_FIRST_GUESS_S = 0.5
_LONGEST_WAIT_S = 120
_MEMORY = 0.8

_log = logging.getLogger("mosear")


class Model(Protocol):
    """What answers windows; used by one thread. ``mosear.runtime.pipeline.Pipeline`` is one."""

    @property
    def batch_limit(self) -> int | None:
        """How many windows ``analyse_many`` may be given."""
        ...

    def analyse(self, window: Window, clip: str = "", reason: bool = False) -> Emotion:
        """Answer one window."""
        ...

    def analyse_many(self, windows: Sequence[Window], clips: Sequence[str]) -> list[Emotion]:
        """Answer several, without reasons."""
        ...


Observe = Callable[[str, float], None]
"""Stage (``queue``, ``service``) and seconds; called for every window."""


class ModelWorker:
    """Runs the model in a thread of its own.

    A job holds a place in the queue from ``open`` to ``close``. Jobs take turns: each gets one window answered before
    any gets its second; live jobs go before uploads, and are never sent away for want of a place.

    Args:
        model: see ``Model``.
        queue: how many jobs there may be at once, live ones aside.
        max_batch: how many waiting windows the model is given at once, windows that want a reason aside.
        observe: told the seconds of every stage.
        tick: called by the thread at least every second as long as it is alive: a watchdog's food.

    Raises:
        UsageError: the model takes smaller batches.
    """

    def __init__(
        self,
        model: Model,
        queue: int = 16,
        max_batch: int = 1,
        observe: Observe = lambda stage, seconds: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        if queue < 1 or max_batch < 1:
            raise ValueError("at least one place and one window")
        self._model = model
        self._queue = queue
        if model.batch_limit is not None and max_batch > model.batch_limit:
            raise UsageError(
                f"this bundle's engines take {model.batch_limit} window at once, not {max_batch}",
                "leave --max-batch out",
            )
        self._batch = max_batch
        self._observe = observe
        self._tick = tick
        self._changed = threading.Condition()
        # Jobs with waiting windows, in the order of their turns.
        self._turns: dict[Priority, deque[Job]] = {priority: deque() for priority in Priority}
        self._uploads = self._jobs = 0
        self._stopping = self._ended = False
        self._window_s: float | None = None
        self._windows_a_job = 1.0
        self._thread = threading.Thread(target=self._run, name="mosear-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def ahead(self) -> int:
        """How many windows a job should have waiting, so that the model never waits for it."""
        return self._batch

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self._thread.is_alive() and not self._stopping

    @property
    def depth(self) -> int:
        """How many uploads hold a place."""
        return self._uploads

    def open(self, clip: str, reason: bool = False, priority: Priority = Priority.upload) -> Job:
        """A place at the model.

        Args:
            clip: what the answers name as their clip.
            reason: also generate the model's words.
            priority: see ``Priority``.

        Raises:
            Busy: all places are taken; ``retry_after`` is about when one will be free.
            Stopping: the worker stops.
        """
        with self._changed:
            if self._stopping or not self._thread.is_alive():
                raise Stopping
            if priority is Priority.upload:
                if self._uploads >= self._queue:
                    raise Busy("the queue is full", self._retry_after())
                self._uploads += 1
            self._jobs += 1
            return Job(clip, reason, priority, self._feed, self._close)

    @contextmanager
    def job(self, clip: str, reason: bool = False, priority: Priority = Priority.upload) -> Iterator[Job]:
        """``open``, and ``close`` at the end."""
        job = self.open(clip, reason, priority)
        try:
            yield job
        finally:
            job.close()

    def answer(self, window: Window, clip: str, reason: bool = False) -> Emotion:
        """Answer a live window, before all uploads, and wait for it.

        Raises:
            Stopping: the worker stops.
            MosearError: the model failed.
        """
        with self.job(clip, reason, Priority.live) as job:
            return job.feed(window).result()

    def refuse_new(self) -> None:
        """Take no more jobs; those that are open go on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def stop(self, finish: bool = True, grace: float = 20.0) -> None:
        """End the thread; jobs that don't end in time fail with ``Stopping``. May be called again.

        Args:
            finish: let the open jobs end first.
            grace: seconds that they have for it.
        """
        deadline = time.monotonic() + (grace if finish else 0.0)
        self.refuse_new()
        with self._changed:
            if finish:
                self._changed.wait_for(lambda: not self._jobs or not self._thread.is_alive(), grace)
            self._ended = True
            self._fail_waiting()
            self._changed.notify_all()
        if self._thread.ident is not None:
            # The window that is being answered can't be interrupted; the thread is a daemon and ends with the process.
            self._thread.join(max(deadline - time.monotonic(), 1.0))

    def _retry_after(self) -> int:
        window = _FIRST_GUESS_S if self._window_s is None else self._window_s
        # Until one of the jobs is through: all share the model, so about as long as one job alone times their number.
        seconds = window * self._windows_a_job * self._uploads
        return max(1, min(math.ceil(seconds), _LONGEST_WAIT_S))

    def _feed(self, job: Job, window: Window) -> "Future[Emotion]":
        with self._changed:
            if self._ended:
                raise Stopping
            if not job.open:
                raise RuntimeError("the job is closed")
            waiting = Waiting(window)
            if not job.waiting:
                self._turns[job.priority].append(job)
            job.waiting.append(waiting)
            self._changed.notify_all()
            return waiting.future

    def _close(self, job: Job) -> None:
        with self._changed:
            if not job.open:
                return
            job.open = False
            dropped = list(job.waiting)
            job.waiting.clear()
            self._jobs -= 1
            if job.priority is Priority.upload:
                self._uploads -= 1
            self._changed.notify_all()
        for each in dropped:
            each.future.cancel()

    def _fail_waiting(self) -> None:
        for turns in self._turns.values():
            for job in turns:
                for each in job.waiting:
                    if each.future.set_running_or_notify_cancel():
                        each.future.set_exception(Stopping())
                job.waiting.clear()
            turns.clear()

    def _run(self) -> None:
        try:
            while True:
                self._tick()
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or any(self._turns.values()), _IDLE_S)
                    if self._ended:
                        return
                    taken = self._take()
                if taken:
                    self._answer(taken)
        finally:
            # Whatever ended the thread, nobody waits for it in vain.
            with self._changed:
                self._stopping = self._ended = True
                self._fail_waiting()
                self._changed.notify_all()

    def _take(self) -> list[tuple[Job, Waiting]]:
        """The windows whose turn it is: one of each job, round and round, until the batch is full."""
        taken: list[tuple[Job, Waiting]] = []
        for turns in self._turns.values():
            while turns and len(taken) < self._batch:
                if taken and (turns[0].reason or taken[0][0].reason):
                    return taken
                job = turns.popleft()
                while job.waiting:
                    waiting = job.waiting.popleft()
                    if waiting.future.set_running_or_notify_cancel():
                        taken.append((job, waiting))
                        break
                if job.waiting:
                    turns.append(job)
        return taken

    def _answer(self, taken: list[tuple[Job, Waiting]]) -> None:
        began = time.monotonic()
        for _, waiting in taken:
            self._observe("queue", began - waiting.since)
        results = self._analyse(taken)
        took = time.monotonic() - began
        each_took = took / len(taken)
        with self._changed:
            self._window_s = _blend(self._window_s, each_took)
        for (_, waiting), result in zip(taken, results, strict=True):
            self._observe("service", each_took)
            if isinstance(result, BaseException):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)

    def _analyse(self, taken: list[tuple[Job, Waiting]]) -> Sequence[Emotion | BaseException]:
        if len(taken) > 1:
            try:
                return self._model.analyse_many([each.window for _, each in taken], [job.clip for job, _ in taken])
            except Exception:
                # One window may have spoilt it for all: each is tried by itself, so that only its own job fails.
                return [self._one(job, each) for job, each in taken]
        return [self._one(job, each) for job, each in taken]

    def _one(self, job: Job, waiting: Waiting) -> Emotion | BaseException:
        try:
            return self._model.analyse(waiting.window, job.clip, job.reason)
        except MosearError as error:
            return error
        except BaseException as error:  # whatever it is, somebody waits for this window
            # Its text may hold what a window holds.
            _log.error("the model failed on a window (%s)", type(error).__name__)
            return Failed(f"the model failed on a window ({type(error).__name__})", "report what the server's log says")

    def count_job(self, windows: int) -> None:
        """Note how many windows a job had, for what ``Busy`` tells others."""
        with self._changed:
            self._windows_a_job = _blend(self._windows_a_job, float(max(windows, 1)))


def _blend(past: float | None, now: float) -> float:
    return now if past is None else _MEMORY * past + (1 - _MEMORY) * now
