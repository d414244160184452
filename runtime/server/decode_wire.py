"""What a decoder process and the server say to each other: a JSON header behind its length, then the bytes of arrays.

The server asks and the process answers, one answer for each question. Nothing is ever unpickled, and no size is taken
from the other side but the length of a header, which has a bound.

    question                                    answers
    {"ask": "open", "path", "window_s", "hop_s"}   opened | error
    {"ask": "next"}                                window (+ frames, + samples) | end | error
    {"ask": "close"}                               closed
"""

import json
import socket
import struct
import time
from typing import Any

import numpy as np

MAX_HEADER = 16384

_LENGTH = struct.Struct(">I")


class Ended(Exception):
    """The other side is gone."""


class Late(Exception):
    """The other side did not answer in time."""


class Nonsense(Exception):
    """The other side says what the protocol does not know."""


class Wire:
    """One end of the connection; not thread-safe.

    Args:
        end: a connected stream socket, owned from here on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def send(self, header: dict[str, Any], *arrays: np.ndarray, seconds: float | None = None) -> None:
        """Send a header and the bytes of arrays.

        Args:
            header: what JSON can hold.
            arrays: C-contiguous.
            seconds: how long the other side may take to accept it; None for ever.

        Raises:
            Ended, Late.
        """
        text = json.dumps(header, allow_nan=False).encode()
        if len(text) > MAX_HEADER:
            raise ValueError(f"a header of {len(text)} bytes")
        try:
            self._end.settimeout(seconds)
            self._end.sendall(_LENGTH.pack(len(text)) + text)
            for array in arrays:
                self._end.sendall(array.data.cast("B"))
        except TimeoutError as error:
            raise Late from error
        except OSError as error:
            raise Ended from error

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next header; ``deadline`` is a time of ``time.monotonic``.

        Raises:
            Ended, Late.
            Nonsense: it is no JSON object, or longer than ``MAX_HEADER`` bytes.
        """
        prefix = bytearray(_LENGTH.size)
        self._fill(memoryview(prefix), deadline)
        (length,) = _LENGTH.unpack(prefix)
        if not 2 <= length <= MAX_HEADER:
            raise Nonsense(f"a header of {length} bytes")
        text = bytearray(length)
        self._fill(memoryview(text), deadline)
        try:
            header = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Nonsense("a header that is no JSON") from error
        if not isinstance(header, dict):
            raise Nonsense("a header that is no object")
        return header

    def receive_array(self, shape: tuple[int, ...], dtype: type, deadline: float | None = None) -> np.ndarray:
        """The next array, whose shape and type the receiver states.

        Raises:
            Ended, Late.
        """
        array: np.ndarray = np.empty(shape, dtype)
        self._fill(array.data.cast("B"), deadline)
        return array

    def _fill(self, view: memoryview, deadline: float | None) -> None:
        filled = 0
        while filled < len(view):
            try:
                if deadline is None:
                    self._end.settimeout(None)
                else:
                    # Data that are there already are taken even at the deadline: the other side was in time.
                    self._end.settimeout(max(deadline - time.monotonic(), 1e-3))
                count = self._end.recv_into(view[filled:])
            except TimeoutError as error:
                raise Late from error
            except OSError as error:
                raise Ended from error
            if count == 0:
                raise Ended
            filled += count
