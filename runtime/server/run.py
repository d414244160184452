"""A service behind a socket, until a signal ends it: what runs is finished, nothing new is begun."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn

from mosear.runtime.server.app import create_app
from mosear.runtime.server.line import line_protocol
from mosear.runtime.server.security import LONGEST_HEAD
from mosear.runtime.server.service import Service
from mosear.runtime.server.settings import ServerSettings

_LONGEST_MESSAGE = 4 << 10
_KEEP_ALIVE_S = 5
_LAST_WINDOW_S = 1.0


class Server(uvicorn.Server):
    """uvicorn, told when to take nothing new, and with its signals kept to itself.

    Attributes:
        interrupted: whether Ctrl-C ended it.
        signals: how many signals told it to end.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, ready: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.interrupted = False
        self.signals = 0
        self._service = service
        self._ready = ready
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what runs."""
        self._stopping()
        self._service.begin_stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the base has it, but the signals are not raised again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second Ctrl-C stops at once."""
        self.signals += 1
        if sig == signal.SIGINT:
            self.force_exit = self.should_exit
            self.interrupted = True
        self.should_exit = True


def make_server(
    service: Service,
    settings: ServerSettings,
    ready: Callable[[], None] = lambda: None,
    debug: bool = False,
    stopping: Callable[[], None] = lambda: None,
) -> Server:
    """A server for a service, to be run with the sockets of ``open_sockets``."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        create_app(service, settings, debug),
        http=line_protocol(settings.header_s, settings.read_s, 2 * settings.requests),
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        ws_max_size=_LONGEST_MESSAGE,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.heartbeat_s,
        ws_ping_timeout=settings.heartbeat_s,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.grace_s,  # type: ignore[arg-type]
    )
    return Server(config, service, ready, stopping)


def run_server(
    service: Service,
    settings: ServerSettings,
    sockets: Sequence[socket.socket],
    ready: Callable[[], None] = lambda: None,
    debug: bool = False,
    stopping: Callable[[], None] = lambda: None,
) -> int:
    """Serve until SIGTERM or Ctrl-C, finish what runs within the grace, and end the service.

    Args:
        service: not yet started.
        settings: how the server works.
        sockets: from ``open_sockets``.
        ready: called once clients can connect.
        debug: log traces of what goes wrong inside.
        stopping: called when it begins to end.

    Returns:
        How many signals told it to end.

    Raises:
        Failed: the service can't be started.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    try:
        service.start()
        server = make_server(service, settings, ready, debug, stopping)
        server.run(list(sockets))
    finally:
        # Requests are over by now, or were cut off; a window under way is waited for a little.
        service.stop(_LAST_WINDOW_S)
        for each in sockets:
            each.close()
    if server.interrupted:
        raise KeyboardInterrupt
    return server.signals
