"""A file in place of a camera or microphone: its pictures and sound come at the time at which they would have."""

import contextlib
import heapq
import threading
from collections.abc import Generator, Iterator

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.listening import SoundRun
from mosear.runtime.capture.stream import Item, Lost, Picture, Sound
from mosear.runtime.errors import BadInput
from mosear.runtime.media.file import MediaInfo, pictures, sound


class Start:
    """When files that are played together begin: the time at which the first of them is asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._time: float | None = None

    def first(self) -> float:
        """The common beginning, in seconds of the clock."""
        with self._lock:
            if self._time is None:
                self._time = self._clock.now()
            return self._time


class FilePlayer:
    """A file that is played at the speed of the clock.

    Args:
        info: the file.
        rate: samples a second of the sound that is given.
        clock: an item is given when this says its time.
        start: the time of the first picture or sound of the file.
        pictures: whether pictures are wanted.
        sounds: whether sound is wanted.
        loop: begin again at the end, with the times going on.
    """

    def __init__(
        self,
        info: MediaInfo,
        rate: int,
        clock: Clock,
        start: float,
        pictures: bool = True,
        sounds: bool = True,
        loop: bool = False,
    ) -> None:
        self._info, self._rate, self._clock, self._start = info, rate, clock, start
        self._pictures, self._sounds, self._loop = pictures, sounds, loop
        self._closing = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """Items in order of their times; see ``Device``."""
        start = self._start
        run = SoundRun(self._rate)
        while True:
            given = 0
            try:
                with contextlib.ExitStack() as tracks:
                    for item in self._merged(start, run, tracks):
                        if self._clock.wait(item.time, self._closing):
                            return
                        yield item
                        given += 1
            except BadInput as error:
                raise Lost(error.what) from None
            if not self._loop:
                return
            if not given:
                raise Lost("the file gives nothing any more")
            start += self._info.duration

    def close(self) -> None:
        """End the iteration; see ``Device``."""
        self._closing.set()

    def _merged(self, start: float, run: SoundRun, tracks: contextlib.ExitStack) -> Iterator[Item]:
        chosen: list[Generator[Item, None, None]] = []
        if self._pictures:
            chosen.append(self._seen(start))
        if self._sounds:
            chosen.append(self._heard(start, run))
        for track in chosen:
            tracks.enter_context(contextlib.closing(track))
        return heapq.merge(*chosen, key=lambda item: item.time)

    def _seen(self, start: float) -> Generator[Picture, None, None]:
        for time, frame in pictures(self._info):
            yield Picture(start + time, frame)

    def _heard(self, start: float, run: SoundRun) -> Generator[Sound, None, None]:
        for place, samples in sound(self._info, self._rate):
            heard = run.place(start + place / self._rate, samples)
            if heard is not None:
                yield heard
