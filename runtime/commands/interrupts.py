"""Ctrl-C that is not lost: NumPy, PyAV and ONNX Runtime clear what is raised in some of the Python that they call."""

import signal
from types import FrameType, TracebackType


class Interrupts:
    """While it is entered, remembers a Ctrl-C besides raising KeyboardInterrupt.

    What was cleared on its way is raised again by ``check``, and at the end. An interrupt that is ignored or handled
    by others stays so.
    """

    def __init__(self) -> None:
        self._came = False
        self._is_ours = False

    def __enter__(self) -> "Interrupts":
        self._is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_ours:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # An import that was interrupted fails as if the library were broken.
        if kind is None or issubclass(kind, Exception):
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt when there was one."""
        if self._came:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt
