"""An upload, once it lies in its file → its answers, as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mosear.runtime.errors import BadInput
from mosear.runtime.results import Emotion
from mosear.runtime.server.errors import Refused
from mosear.runtime.server.job import Job
from mosear.runtime.server.service import Service
from mosear.runtime.windows import Window

CLIP = "upload"
"""What answers to an upload name as their clip."""


@dataclass(frozen=True)
class Asked:
    """What a request asks of its clip; see ``read_windows``."""

    window_s: float | None
    hop_s: float | None
    transcript: str | None
    reason: bool


async def answers(service: Service, job: Job, path: Path, asked: Asked) -> AsyncGenerator[Emotion, None]:
    """Answer the clip at ``path``, window by window. To be closed when it is left early.

    Raises:
        MosearError: the clip can't be decoded, or the model failed.
    """
    waiting: deque[Future[Emotion]] = deque()
    count = 0
    try:
        async with _windows(service, path, asked) as windows:
            async for window in windows:
                waiting.append(job.feed(window))
                count += 1
                # The next window is decoded while the model has this one.
                while waiting and (len(waiting) > service.worker.ahead or waiting[0].done()):
                    yield await _answer(service, waiting.popleft())
        while waiting:
            yield await _answer(service, waiting.popleft())
        service.worker.count_job(count)
    finally:
        for each in waiting:
            each.cancel()


async def _answer(service: Service, future: "Future[Emotion]") -> Emotion:
    emotion = await asyncio.wrap_future(future)
    service.metrics.answered(emotion)
    return emotion


@asynccontextmanager
async def _windows(service: Service, path: Path, asked: Asked) -> AsyncIterator[AsyncIterator[Window]]:
    """The windows of the clip, each decoded when it is asked for. The decoder is free again at the end."""
    async with service.decoder_places:
        windows = service.decoders.windows(path, asked.window_s, asked.hop_s, asked.transcript)
        step = _Steps(service, windows)
        try:
            yield step.each()
        finally:
            await step.close()


class _Steps:
    """A blocking iterator, taken one step at a time in a thread, and closed only when no step is under way."""

    def __init__(self, service: Service, windows: Iterator[Window]) -> None:
        self._threads = service.threads
        self._windows = windows
        self._step: asyncio.Future[Window | None] | None = None

    async def each(self) -> AsyncIterator[Window]:
        while True:
            self._step = asyncio.get_running_loop().run_in_executor(self._threads, _next, self._windows)
            # Shielded: a thread can't be cancelled, and the iterator must not be closed under it.
            window = await asyncio.shield(self._step)
            if window is None:
                return
            yield window

    async def close(self) -> None:
        await asyncio.shield(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        if self._step is not None:
            await asyncio.wait({self._step})
            if not self._step.cancelled():
                self._step.exception()  # so that nobody complains that it was never looked at
        close = getattr(self._windows, "close", None)
        if close is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, close)


def _next(windows: Iterator[Window]) -> Window | None:
    try:
        return next(windows, None)
    except BadInput as error:
        if hasattr(error, "status"):
            raise
        # What the decoder finds wrong is the kind of the upload; what the model finds wrong is not.
        raise Refused(415, error.what, error.remedy) from error
