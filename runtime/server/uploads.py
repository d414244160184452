"""Clips on their way in: each in a file of a private folder, for as long as its request lasts."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from starlette.types import Receive

from mosear.runtime.errors import Failed
from mosear.runtime.server.errors import Refused

_PREFIX = "mosear-uploads-"
_NO_ROOM = "make room in the folder for temporary files, or set TMPDIR to another"


class Gone(Exception):
    """The client went away."""


class Uploads:
    """A folder that only this user can enter; what a server before this one left behind is deleted at ``open``."""

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        self._folder: Path | None = None
        self._held: int | None = None

    @property
    def folder(self) -> Path:
        """Where the files lie; there from ``open`` to ``close``."""
        if self._folder is None:
            raise RuntimeError("not open")
        return self._folder

    def open(self) -> None:
        """Make the folder.

        Raises:
            Failed: it can't be made.
        """
        for left in self._parent.glob(f"{_PREFIX}*"):
            _remove_if_orphaned(left)
        try:
            while self._held is None:
                self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
                # Another server that starts now may have taken it for left behind, before it was locked.
                with suppress(FileNotFoundError):
                    self._held = _lock(self._folder)
        except OSError as error:
            raise Failed(f"no folder for uploads can be made ({error.strerror})", _NO_ROOM) from error

    def close(self) -> None:
        """Delete the folder. May be called again."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._held is not None:
            os.close(self._held)
            self._held = None

    @contextmanager
    def file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file and its path, by which a decoder in another process opens it. It is gone at the end."""
        try:
            number, name = tempfile.mkstemp(dir=self.folder)
        except OSError as error:
            raise _no_room(error) from error
        path = Path(name)
        try:
            with open(number, "wb", buffering=0) as file:
                yield path, file
        finally:
            with suppress(FileNotFoundError):
                path.unlink()


async def receive_body(receive: Receive, file: BinaryIO) -> None:
    """Write a request's body to ``file`` as it comes.

    Raises:
        Gone: the client went away in the middle.
        Refused: the body is empty, the file can't be written, or as the limits have it.
    """
    count, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body, more = message.get("body", b""), message.get("more_body", False)
        count += len(body)
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise _no_room(error) from error
    if not count:
        raise Refused(415, "the body is empty", "send the bytes of a clip as the body")


def _no_room(error: OSError) -> Refused:
    return Refused(507, f"the upload can't be kept ({error.strerror})", _NO_ROOM)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed, by whatever end; None when another holds it."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        return None
    return number


def _remove_if_orphaned(folder: Path) -> None:
    """Delete the folder of a server that was killed; never one of another user, or of a server that runs."""
    with suppress(OSError):
        if folder.lstat().st_uid != os.getuid():
            return
        number = _lock(folder)
        if number is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(number)
