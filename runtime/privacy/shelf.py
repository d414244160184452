"""The folder in which media are kept: who may look into it, which files lie there, and when each must go."""

import contextlib
import logging
import os
import stat
import time
from datetime import datetime, timezone
from pathlib import Path

from mosear.runtime.errors import BadInput, one_line

PREFIX, SUFFIX = "mosear-", ".mkv"

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_LOOK_AGAIN_S = 60.0

_log = logging.getLogger("mosear")


def steady() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps where the system has such."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Shelf:
    """A folder of media, held by one program at a time.

    A file's name says when its first moment was taken. It is due ``keep_for`` seconds later, reckoned once on a clock
    that nobody sets. Of a file that an earlier program left only the name and the system clock can tell the age: where
    they say that it lies in the future the clock was set back, nobody knows how old it is, and it is due at once.
    Files of other names are never touched.

    Args:
        folder: made for its owner alone when it is missing. A link is followed once, here.
        keep_for: seconds.

    Raises:
        BadInput: it can't be made or written to, anyone may write to it, or another program keeps media there.
    """

    def __init__(self, folder: Path, keep_for: float) -> None:
        self._keep_for = keep_for
        self._due: dict[str, float] = {}
        self._looked: float | None = None
        self._failing = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder = folder.resolve(strict=True)
            self._check_mode()
            self._lock: int | None = self._hold()
        except OSError as error:
            raise BadInput(
                f"media can't be kept in {folder} ({error.strerror or error})", "name a folder that can be written to"
            ) from error

    def new(self, taken: float) -> tuple[int, Path]:
        """Make a file for its owner alone, whose first moment was taken at ``taken`` on the steady clock.

        Returns:
            A descriptor that is open for reading and writing, and the file's path.

        Raises:
            OSError: it can't be made.
        """
        wall = time.time() - (steady() - taken)
        path = self.folder / f"{PREFIX}{datetime.fromtimestamp(wall, timezone.utc).strftime(_STAMP)}{SUFFIX}"
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._due[path.name] = taken + self._keep_for
        return number, path

    def purge(self) -> float:
        """Delete what is due, and return in how many seconds the next file is.

        A file that can't be deleted is tried again each time; that is logged once, until it works again.
        """
        now = steady()
        if self._looked is None or now - self._looked >= _LOOK_AGAIN_S:
            self._look(now)
        failed: OSError | None = None
        for name in [name for name, due in self._due.items() if due <= now]:
            try:
                (self.folder / name).unlink(missing_ok=True)
                del self._due[name]
            except OSError as error:
                failed = error
        self._say(failed)
        waiting = [due - now for due in self._due.values() if due > now]
        return min([_LOOK_AGAIN_S, *waiting])

    def close(self) -> None:
        """Let another program have the folder. May be called twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _look(self, now: float) -> None:
        """Take in the files that are there, with the age that the system clock gives them."""
        self._looked = now
        try:
            names = os.listdir(self.folder)
        except OSError as error:
            self._say(error)
            return
        wall = time.time()
        for name in names:
            began = _began(name)
            if began is not None and name not in self._due:
                left = began + self._keep_for - wall
                self._due[name] = now if left > self._keep_for else now + left

    def _say(self, error: OSError | None) -> None:
        if error is not None and not self._failing:
            _log.error("media that are too old can't be deleted in %s: %s", self.folder, one_line(error))
        self._failing = error is not None

    def _check_mode(self) -> None:
        mode = self.folder.stat().st_mode
        if mode & stat.S_IWOTH:
            raise BadInput(
                f"media can't be kept in {self.folder}: anyone may write to it, and could carry off what lies there",
                f"name a new folder, or: chmod o-w {self.folder}",
            )

    def _hold(self) -> int:
        """Lock the folder itself, so that nothing is left behind by it, and prove that files can be made."""
        import fcntl

        number = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInput(
                    f"another mosear keeps media in {self.folder}", "give each of them a folder of its own"
                ) from error
            probe = self.folder / f"{PREFIX}{os.getpid()}.probe"
            with contextlib.suppress(FileNotFoundError):
                probe.unlink()
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            probe.unlink()
        except BaseException:
            os.close(number)
            raise
        return number


def _began(name: str) -> float | None:
    """The system clock's reading that stands in a file's name; None where it is no name of ours."""
    if not (name.startswith(PREFIX) and name.endswith(SUFFIX)):
        return None
    try:
        stamp = datetime.strptime(name[len(PREFIX) : -len(SUFFIX)], _STAMP)
    except ValueError:
        return None
    return stamp.replace(tzinfo=timezone.utc).timestamp()
