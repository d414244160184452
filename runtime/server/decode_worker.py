"""A process that decodes uploads for the server, one at a time: ``python -m mosear.runtime.server.decode_worker``.

Its connection to the server (see ``decode_wire``) is its standard input. It is started by ``decode_child`` and ends
when the server hangs up. The media library's log goes to standard error, which is nowhere. It is not taken into Python:
its threads would wait for a lock that the main one holds while it waits for them.
"""

import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mosear.runtime.errors import BadInput, MosearError, one_line
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media import opening
from mosear.runtime.media.opening import Limits, OverLimit
from mosear.runtime.server import decode_cage
from mosear.runtime.server.decode_wire import Ended, Wire
from mosear.runtime.windows import Window, read_windows

_MESSAGE = 1000
_OVER = {"seconds": "too_long", "pixels": "too_many_pixels"}


def main() -> None:
    """Take the settings, give up rights, answer questions until the server hangs up."""
    logging.disable()
    wire = Wire(socket.socket(fileno=os.dup(0)))
    try:
        settings = wire.receive()
        decode_cage.tie_to_parent(settings["parent"])
        exhausted = decode_cage.limit_resources(settings["memory_mb"], settings["pixels"])
        preprocessing = Preprocessing.model_validate(settings["preprocessing"])
        walls = {"files": decode_cage.forbid_files(_readable(Path(settings["scratch"])))}
        walls["calls"] = decode_cage.forbid_calls()
        wire.send({"answer": "ready", **walls})
        while True:
            _decode(wire, preprocessing, settings, exhausted)
    except Ended:
        return


def _readable(scratch: Path) -> list[Path]:
    """The uploads, and Python's code: some of it is imported only when it is needed."""
    code = {Path(entry) for entry in sys.path} | {Path(opening.__file__).parents[1]}
    return [scratch, *(folder for folder in code if folder.is_dir())]


def _decode(wire: Wire, preprocessing: Preprocessing, settings: dict[str, Any], exhausted: Callable[[], bool]) -> None:
    """Answer the questions about one upload."""
    question = wire.receive()
    path = Path(question["path"])
    try:
        windows = _open(path, preprocessing, settings, question)
    except Exception as error:
        wire.send(_error(MemoryError() if exhausted() else error))
        return
    wire.send({"answer": "opened"})
    ready = _next(windows, exhausted)
    while wire.receive()["ask"] == "next":
        header, arrays = ready
        wire.send(header, *arrays)
        if header["answer"] != "window":
            return
        # While the server is busy with that one; no further, so that a slow reader holds no more than one in memory.
        ready = _next(windows, exhausted)
    wire.send({"answer": "closed"})


def _open(
    path: Path, preprocessing: Preprocessing, settings: dict[str, Any], question: dict[str, Any]
) -> Iterator[Window]:
    limits = Limits(settings["seconds"], settings["pixels"])
    return read_windows(path, preprocessing, question["window_s"], question["hop_s"], limits=limits)


def _next(windows: Iterator[Window], exhausted: Callable[[], bool]) -> tuple[dict[str, Any], list[Any]]:
    """Header and arrays of the next window, or the header that ends the clip."""
    try:
        window = next(windows, None)
        if exhausted():
            raise MemoryError
    except Exception as error:
        return _error(error), []
    if window is None:
        return {"answer": "end"}, []
    header = {
        "answer": "window",
        "start": window.start,
        "end": window.end,
        "states": list(window.states),
        "frames": window.frames is not None,
        "samples": window.samples is not None,
    }
    return header, [array for array in (window.frames, window.samples) if array is not None]


def _error(error: Exception) -> dict[str, Any]:
    if isinstance(error, OverLimit):
        return {"answer": "error", "kind": _OVER[error.which], "what": "", "remedy": ""}
    if isinstance(error, BadInput):
        return {"answer": "error", "kind": "bad", "what": one_line(error.what), "remedy": one_line(error.remedy)}
    if isinstance(error, MemoryError):
        return {"answer": "error", "kind": "memory", "what": "", "remedy": ""}
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = error.what if isinstance(error, MosearError) else error
    place = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {what}"
    return {"answer": "error", "kind": "fault", "what": one_line(place, _MESSAGE), "remedy": ""}


if __name__ == "__main__":
    main()
