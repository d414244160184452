"""Answers appended to a file, a line each: JSON lines or CSV.

A line is in the file whole or not at all. Each is one write; what a full disk or a crash tore is cut off again, at once
or when the file is opened next. The file is held with a lock, so that no other writer's lines are cut with it.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator, Sequence

from mosear.runtime.errors import BadInput
from mosear.runtime.results import SCHEMA, Emotion, csv_header, csv_row
from mosear.runtime.sinks import SinkLost
from mosear.runtime.sinks.specs import LinesSpec

_BLOCK = 1 << 16
_JSON_START = b'{"schema": "' + SCHEMA.partition("/")[0].encode() + b"/"
_FOR_GOOD = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG),
}
"""What goes wrong with a path until somebody does something about it."""


class Lines:
    """An open file of answers.

    A file that was moved away or removed since the last line (logrotate does so) is made anew under its name.

    Args:
        spec: where, and in which form.
        labels: the model's, for the columns of CSV.

    Raises:
        BadInput: the file can't be made or read, is in use, or holds something else; a CSV file's header differs.
        SinkLost: the disk is full, or fails.
    """

    def __init__(self, spec: LinesSpec, labels: Sequence[str]) -> None:
        self.name = spec.name
        self._path = spec.path
        self._labels = labels
        self._header = csv_header(labels, live=True).encode() + b"\n" if spec.form == "csv" else None
        self._file = self._open()

    def write(self, emotion: Emotion) -> None:
        """Append a line. Raises ``SinkLost`` and ``BadInput`` as at the start."""
        if self._header is None:
            line = emotion.to_json()
        else:
            # A line break inside a cell would keep a torn row from being told by its last line.
            line = csv_row(emotion, self._labels, live=True).replace("\r", " ").replace("\n", " ")
        self._follow()
        with _trouble(self.name):
            self._append(self._file, line.encode(errors="backslashreplace") + b"\n")

    def check(self) -> None:
        """Nothing to look after."""

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _follow(self) -> None:
        """Open the file anew when its name no longer leads to it, or when it was emptied in place."""
        with _trouble(self.name):
            try:
                there = os.stat(self._path)
            except FileNotFoundError:
                there = None
            here = os.fstat(self._file)
            same = there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
            if same and here.st_size > 0:
                return
        self.close()
        self._file = self._open()

    def _open(self) -> int:
        with _trouble(self.name):
            # Without the flag, opening a named pipe would wait for its reader.
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise BadInput(f"{self.name} is not a regular file", "name a file")
                _hold(file, self.name)
                self._mend(file)
            except BaseException:
                os.close(file)
                raise
            return file

    def _mend(self, file: int) -> None:
        """Check what the file holds, and mend a last line that a crash tore."""
        self._check_start(file)
        size = os.fstat(file).st_size
        end = _last_line(file, size)
        if end < size:
            tail = os.pread(file, size - end, end)
            if self._header is None and _is_json(tail):
                os.write(file, b"\n")
            else:
                os.ftruncate(file, end)
        if self._header is not None and os.fstat(file).st_size == 0:
            self._append(file, self._header)

    def _check_start(self, file: int) -> None:
        # A wrong file must not be cut: its last line may be all that it has.
        expected = self._header or _JSON_START
        found = os.pread(file, len(expected), 0)
        torn = len(found) < len(expected) and b"\n" not in found
        if found == expected or (torn and expected.startswith(found)):
            return
        if self._header is None:
            raise BadInput(f"{self.name} holds something else than answers", "name another file")
        raise BadInput(f"{self.name} begins with other columns than this model's", "name another file, or move it away")

    def _append(self, file: int, line: bytes) -> None:
        before = os.fstat(file).st_size
        try:
            written = os.write(file, line)
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, before)
            raise


def _last_line(file: int, size: int) -> int:
    """Where the last line begins that has no end; ``size`` when all have one."""
    at = size
    while at > 0:
        start = max(0, at - _BLOCK)
        found = os.pread(file, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _hold(file: int, name: str) -> None:
    """Keep others that write answers out, where the system has file locks; the lock ends with the file."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadInput(f"{name} is being written by another program", "name another file, or end the other") from error


@contextlib.contextmanager
def _trouble(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{error.strerror or error}"
        if error.errno in _FOR_GOOD:
            raise BadInput(f"{name} can't be written: {what}", "name a file in a folder that can be written") from error
        raise SinkLost(f"can't be written: {what}") from error
