"""Engines that were built on this device, kept for the next start.

An entry's name is the SHA-256 of everything that decides what the engine is: the graph and its weights, the library's
version, the GPU, the sizes. A file is written aside and renamed, ends with the hash of what it holds, and is thrown
away when that does not fit. Builders of one entry wait for one another where the system has file locks, so that two
processes that start at once do not need the memory of two builds. When the folder grows over its cap, the entries that
were used longest ago go.
"""

import contextlib
import hashlib
import json
import mmap
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mosear.runtime.errors import Failed

CAP_BYTES = 20 << 30
"""How much is kept, unless ``MOSEAR_ENGINE_CACHE_GB`` says otherwise."""

_MAGIC = b"mosear1\0"
_FOOTER = len(_MAGIC) + hashlib.sha256().digest_size
_STALE_SECONDS = 24 * 3600
_ENGINE, _TIMING, _LOCK = ".engine", ".timing", ".lock"


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """``MOSEAR_ENGINE_CACHE``, or ``mosear/engines`` in the user's cache folder."""
    if environment.get("MOSEAR_ENGINE_CACHE"):
        return Path(environment["MOSEAR_ENGINE_CACHE"])
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mosear" / "engines"


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of what ``parts`` decides; they must be plain JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


class EngineCache:
    """A folder of engines.

    Args:
        folder: made when it is needed.
        cap_bytes: how much may stay; the newest entry stays whatever its size.
    """

    def __init__(self, folder: Path, cap_bytes: int = CAP_BYTES) -> None:
        self.folder = folder
        self.cap_bytes = cap_bytes

    def get(self, key: str) -> memoryview | None:
        """The engine of ``key``, mapped and not loaded, or None. One that was damaged is removed."""
        return self._read(key + _ENGINE)

    def put(self, key: str, engine: Any) -> None:
        """Keep an engine, then remove what is over the cap.

        Raises:
            Failed: the folder can't be written, or the disk is full.
        """
        self._write(key + _ENGINE, engine)
        self._evict(spare=key + _ENGINE)

    def timing(self, key: str) -> bytes:
        """What earlier builds learnt of kernel times on this GPU with this library; empty at first."""
        found = self._read(key + _TIMING)
        return b"" if found is None else bytes(found)

    def keep_timing(self, key: str, data: bytes) -> None:
        """Keep it for the next build. Raises Failed as `put`."""
        if data:
            self._write(key + _TIMING, data)

    @contextlib.contextmanager
    def building(self, key: str) -> Iterator[None]:
        """Hold the entry while it is built; another process that wants it waits here.

        Raises:
            Failed: the folder can't be written.
        """
        path = self.folder / (key + _LOCK)
        with self._errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        with file:
            _lock(file.fileno())
            yield

    def _read(self, name: str) -> memoryview | None:
        path = self.folder / name
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size <= _FOOTER:
                    raise ValueError("too short")
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            content, footer = view[:-_FOOTER], view[-_FOOTER:]
            if footer != _MAGIC + hashlib.sha256(content).digest():
                raise ValueError("damaged")
            # The time of the last change is the time of the last use: access times are often not kept.
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return content

    def _write(self, name: str, content: Any) -> None:
        with self._errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f"{name}.", suffix=".tmp", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    view = memoryview(content)
                    file.write(view)
                    file.write(_MAGIC + hashlib.sha256(view).digest())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.folder / name)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise

    def _evict(self, spare: str) -> None:
        entries = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                seen = path.stat()
                if path.suffix == ".tmp" and time.time() - seen.st_mtime > _STALE_SECONDS:
                    path.unlink()  # its writer was killed
                elif path.suffix == _ENGINE:
                    entries.append((seen.st_mtime, seen.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.cap_bytes:
                return
            if path.name != spare:
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.with_suffix(_LOCK).unlink(missing_ok=True)
                total -= size

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Failed(
                f"engines can't be kept in {self.folder} ({error.strerror or error})",
                "make room, or name another folder with MOSEAR_ENGINE_CACHE",
            ) from error


def cap_from(environment: Mapping[str, str] = os.environ) -> int:
    """The cap in bytes. Raises Failed when ``MOSEAR_ENGINE_CACHE_GB`` is no positive number."""
    text = environment.get("MOSEAR_ENGINE_CACHE_GB")
    if not text:
        return CAP_BYTES
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < 1e6:
        raise Failed(f"MOSEAR_ENGINE_CACHE_GB is {text!r}", "set it to a number of gigabytes, such as 20")
    return int(gigabytes * (1 << 30))


def _lock(handle: int) -> None:
    """Wait for the lock; it ends with the file. Without locks two builders both build, and the later rename stays."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(handle, fcntl.LOCK_EX)
