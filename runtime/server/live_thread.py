"""A live run beside the endpoints: the same loop as ``mosear watch``, its answers on the event streams."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from mosear.runtime.errors import MosearError, one_line
from mosear.runtime.live.opening import LiveRun

_ENDING_S = 10.0

_log = logging.getLogger("mosear")


class LiveThread:
    """Runs a live run in a thread of its own. It is a ``LiveSource``.

    Args:
        run: from ``open_live``.
        failed: called by the thread when the run ends on an error, after ``error`` is set.

    Attributes:
        error: what the run ended on; None as long as it did not.
    """

    def __init__(self, run: LiveRun, failed: Callable[[], None] = lambda: None) -> None:
        self._run = run
        self._failed = failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mosear-loop", daemon=True)
        self.error: MosearError | None = None

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self._run.plan.window

    @property
    def hop_s(self) -> float:
        """Seconds from window to window."""
        return self._run.plan.hop

    def start(self) -> None:
        """Open the sources and answer windows."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Answer no further window."""
        self._stop.set()

    def stop(self) -> None:
        """End the loop, release the sources, and deliver what waits for the sinks. May be called again."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_ENDING_S)
        self._run.close()

    def status(self) -> dict[str, Any]:
        """``LiveStatus.to_dict()``."""
        return self._run.loop.status().to_dict()

    def newest_picture(self) -> bytes | None:
        """The camera's newest picture as JPEG; None when there is none."""
        return self._run.newest_picture()

    def ask_reason(self) -> None:
        """Ask for the model's reason with the next answer."""
        self._run.loop.ask_reason()

    def _work(self) -> None:
        try:
            self._run.loop.run(self._stop)
        except MosearError as error:
            _log.error("the live run ended: %s; %s", one_line(error.what), one_line(error.remedy))
            self.error = error
            self._failed()
