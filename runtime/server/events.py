"""Live answers for those who follow them: any number of threads publish, each follower has a short queue of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from mosear.runtime.errors import one_line
from mosear.runtime.results import Emotion
from mosear.runtime.server.errors import Busy, Stopping, encoded

_RETRY_S = 10


class Follower:
    """One client's queue. Made by ``Hub.follow``; used by the event loop that made it."""

    def __init__(self, hub: "Hub", backlog: int) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque(maxlen=backlog)
        self._some = asyncio.Event()
        self.dropped = 0
        self.ended = False

    async def next(self, timeout: float) -> bytes | None:
        """The next event as JSON; None when none came for ``timeout`` seconds, or when ``ended``."""
        if not self._waiting and not self.ended:
            try:
                await asyncio.wait_for(self._some.wait(), timeout)
            except asyncio.TimeoutError:
                return None
        self._some.clear()
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Follow no more. May be called again."""
        self._hub._forget(self)

    def _take(self, event: bytes) -> None:
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
            self._hub.dropped += 1
        self._waiting.append(event)
        self._some.set()

    def _end(self) -> None:
        self.ended = True
        self._some.set()

    def _call(self, what: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)


class Hub:
    """Hands events to all who follow. A follower that is too slow loses its oldest events, and holds up nobody.

    Args:
        most: followers at once.
        backlog: events kept for each.
    """

    def __init__(self, most: int, backlog: int) -> None:
        self._most = most
        self._backlog = backlog
        self._followers: set[Follower] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.dropped = 0

    def publish(self, emotion: Emotion) -> None:
        """Hand an answer to all followers. Never blocks; any thread may call it."""
        with self._lock:
            followers = list(self._followers)
        if followers:
            event = encoded({"type": "emotion", "emotion": emotion.to_dict()})
            for each in followers:
                each._call(each._take, event)

    def follow(self) -> Follower:
        """Follow from now on; called in an event loop.

        Raises:
            Busy: there are as many as there may be.
            Stopping: the hub is closed.
        """
        with self._lock:
            if self._closed:
                raise Stopping
            if len(self._followers) >= self._most:
                raise Busy(one_line(f"{self._most} clients follow the events already"), _RETRY_S)
            follower = Follower(self, self._backlog)
            self._followers.add(follower)
            return follower

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def close(self) -> None:
        """End all streams; any thread may call it."""
        with self._lock:
            self._closed = True
            followers = list(self._followers)
        for each in followers:
            each._call(each._end)

    def _forget(self, follower: Follower) -> None:
        with self._lock:
            self._followers.discard(follower)
