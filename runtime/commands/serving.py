"""A bundle behind HTTP, with or without a live run, until a signal ends it or begins it anew."""

import os
import signal
import socket
import sys
from contextlib import ExitStack

from mosear.runtime.appliance import notify
from mosear.runtime.appliance.memory import FreeMemory
from mosear.runtime.appliance.notify import AllAlive, Watchdog
from mosear.runtime.bundle import Bundle
from mosear.runtime.commands.live_command import reload_on_hangup
from mosear.runtime.live.opening import open_live
from mosear.runtime.live.plan import LivePlan
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.privacy.notice import in_brief
from mosear.runtime.privacy.notice_texts import load
from mosear.runtime.server.listening import url_of
from mosear.runtime.server.live_thread import LiveThread
from mosear.runtime.server.run import run_server
from mosear.runtime.server.service import Service, open_service
from mosear.runtime.server.settings import ServerSettings
from mosear.runtime.server.uploads import Uploads

LANGUAGE = "en"


class Serving:
    """One run of the server, from its sockets to its end.

    Args:
        settings: how the server works.
        sockets: from ``open_sockets``.
        bundle: opened.
        plan: of the live run; None without one.
        debug: log traces of what goes wrong inside.
    """

    def __init__(
        self,
        settings: ServerSettings,
        sockets: list[socket.socket],
        bundle: Bundle,
        plan: LivePlan | None,
        debug: bool,
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._bundle = bundle
        self._plan = plan
        self._debug = debug

    def run(self, threads: int | None, provider: str | None) -> None:
        """Serve until SIGTERM or Ctrl-C. SIGHUP begins the program anew, and the sockets refuse nobody meanwhile.

        Args:
            threads: CPU threads; the library's choice when None.
            provider: ``cpu`` or ``cuda``; what the bundle was built for when None.

        Raises:
            MosearError: the service can't be started, or the live run ended on an error.
            UsageError: the bundle takes smaller batches.
            KeyboardInterrupt: Ctrl-C ended it.
        """
        manifest = self._bundle.manifest
        reload = reload_on_hangup(_end)
        kept = [each.dup() for each in self._sockets]
        pipeline = Pipeline(self._bundle, threads, provider, self._debug)
        print(manifest.notice, file=sys.stderr, flush=True)
        alive, memory = AllAlive(Watchdog()), FreeMemory()
        moved = alive.loop("model")

        def tick() -> None:
            moved()
            memory.tick()

        with ExitStack() as closers:
            uploads = Uploads()
            closers.callback(uploads.close)
            service = open_service(manifest, pipeline, self._settings, uploads, tick)
            live = self._live(service, closers, alive)

            def stopping() -> None:
                if not reload.requested.is_set():
                    notify.stopping()
                    reload.close()
                    for each in kept:
                        # Else clients would queue up behind a server that answers no more.
                        each.close()

            signals = run_server(service, self._settings, self._sockets, self._ready, self._debug, stopping)
        if live is not None and live.error is not None:
            raise live.error
        # A SIGTERM beside our own means that somebody wants the end, and no new beginning.
        if reload.requested.is_set() and signals < 2:
            reload.go([each.fileno() for each in kept])
        reload.close()

    def _live(self, service: Service, closers: ExitStack, alive: AllAlive) -> LiveThread | None:
        if self._plan is None:
            return None
        preprocessing = self._bundle.manifest.preprocessing
        run = open_live(self._plan, preprocessing, service.worker.answer, service.publish, alive.loop("live"))
        live = LiveThread(run, _end)
        closers.callback(live.stop)
        service.attach(live, in_brief(load(LANGUAGE), self._plan.options.keep_for))
        return live

    def _ready(self) -> None:
        for each in self._sockets:
            print(f"listening on {url_of(each)}", file=sys.stderr, flush=True)
        notify.ready()


def _end() -> None:
    """Let the server end as SIGTERM would have it. From any thread."""
    os.kill(os.getpid(), signal.SIGTERM)
