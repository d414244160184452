"""Picture and sound kept for a stated time, and only when somebody asked for it."""

import logging
import os
import queue
import threading
import time
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mosear.runtime.capture.stream import Item, Picture
from mosear.runtime.errors import BadInput, one_line

_LONGEST_S = 60.0
_WAITING = 200
_BASE = Fraction(1, 1000)
_PREFIX, _SUFFIX = "mosear-", ".mkv"
_PURGE_EVERY_S = 1.0
_EARLY_S = 1.0

_log = logging.getLogger("mosear")


class Recorder:
    """Keeps what the sources give as Matroska files (H.264, PCM) of a minute at most, and deletes them by their age.

    A file is deleted ``keep_for`` seconds after its first moment, so nothing in it is kept for longer, whether or not
    the program that wrote it still runs: the next one purges first. Files of other names are never touched. Encoding
    has a thread of its own; when it can't keep up, or the disk is full, media are left out and counted.

    Args:
        folder: made when it is missing, for its owner alone; files are readable by their owner alone.
        keep_for: seconds.
        rate: samples a second of the sound.

    Attributes:
        dropped: pictures and sounds that were not kept.

    Raises:
        BadInput: the folder can't be made or written to.
    """

    def __init__(self, folder: Path, keep_for: float, rate: int) -> None:
        self._folder = folder
        self._keep_for = keep_for
        self._rate = rate
        self._segment_s = min(_LONGEST_S, keep_for / 2)
        self._queue: queue.Queue[Item | None] = queue.Queue(_WAITING)
        self.dropped = 0
        self._file: _File | None = None
        self._full = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = folder / f"{_PREFIX}{os.getpid()}.probe"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise BadInput(
                f"media can't be kept in {folder} ({error.strerror or error})", "name a folder that can be written to"
            ) from error
        self.purge()
        self._thread = threading.Thread(target=self._work, name="mosear-recorder", daemon=True)
        self._thread.start()

    def take(self, item: Item) -> None:
        """Keep a picture or a sound; never waits."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Finish the file under way."""
        self._queue.put(None)
        self._thread.join()

    def purge(self) -> None:
        """Delete every file whose first moment lies further back than ``keep_for`` seconds."""
        for path in self._folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            began = _began(path)
            if began is not None and time.time() - began > self._keep_for:
                path.unlink(missing_ok=True)

    def _work(self) -> None:
        purged = time.monotonic()
        while True:
            try:
                item = self._queue.get(timeout=_PURGE_EVERY_S)
            except queue.Empty:
                item = ()
            if item is None:
                self._finish()
                return
            if item != ():
                self._keep(item)
            if self._file is not None and time.time() - self._file.began > self._segment_s:
                self._finish()
            if time.monotonic() - purged > _PURGE_EVERY_S:
                purged = time.monotonic()
                self._purge_or_say()

    def _purge_or_say(self) -> None:
        try:
            self.purge()
        except OSError as error:
            _log.error("media that are too old can't be deleted in %s: %s", self._folder, one_line(error))

    def _keep(self, item: Item) -> None:
        try:
            if self._file is None:
                self._file = _File(self._folder, self._rate)
            self._file.add(item)
            self._full = False
        except _OtherTracks:
            self._finish()
            self._file = _File(self._folder, self._rate)
            self._file.add(item)
        except (OSError, av.FFmpegError) as error:
            self.dropped += 1
            if not self._full:
                _log.error("media can't be kept in %s: %s", self._folder, one_line(error))
            self._full = True
            self._finish()

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except (OSError, av.FFmpegError) as error:
            _log.error("media can't be kept in %s: %s", self._folder, one_line(error))


class _OtherTracks(Exception):
    """What comes does not fit the file under way: another kind, or pictures of another size."""


class _File:
    """One Matroska file under way.

    A file's tracks must be known before its first byte, so what comes in the first second waits.
    """

    def __init__(self, folder: Path, rate: int) -> None:
        self.began = time.time()
        stamp = datetime.fromtimestamp(self.began, timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        path = folder / f"{_PREFIX}{stamp}{_SUFFIX}"
        self._raw = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._container = av.open(self._raw, "w", format="matroska")
        self._rate = rate
        self._early: list[Item] = []
        self._video: Any = None
        self._audio: Any = None
        self._origin = 0.0
        self._last = {"video": -1, "audio": -1}

    def add(self, item: Item) -> None:
        """Write a picture or a sound. Raises _OtherTracks when it needs another file."""
        if self._video is None and self._audio is None:
            self._early.append(item)
            if item.time - self._early[0].time >= _EARLY_S:
                self._begin()
            return
        self._write(item)

    def close(self) -> None:
        """Write what waits and the end of the file."""
        try:
            if self._early:
                self._begin()
            for stream in (self._video, self._audio):
                if stream is not None:
                    self._container.mux(stream.encode(None))
            self._container.close()
        finally:
            self._raw.close()

    def _begin(self) -> None:
        early, self._early = self._early, []
        self._origin = min(item.time for item in early)
        first = next((item.frame for item in early if isinstance(item, Picture)), None)
        if first is not None:
            self._video = self._container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "28"})
            self._video.width, self._video.height = first.width // 2 * 2, first.height // 2 * 2
            self._video.pix_fmt = "yuv420p"
            self._video.codec_context.time_base = self._video.time_base = _BASE
        if not all(isinstance(item, Picture) for item in early):
            self._audio = self._container.add_stream("pcm_s16le", rate=self._rate, layout="mono")
        for item in early:
            self._write(item)

    def _write(self, item: Item) -> None:
        is_picture = isinstance(item, Picture)
        stream = self._video if is_picture else self._audio
        if stream is None:
            raise _OtherTracks
        if isinstance(item, Picture):
            if (item.frame.width // 2 * 2, item.frame.height // 2 * 2) != (stream.width, stream.height):
                raise _OtherTracks
            frame: Any = item.frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
        else:
            whole = (np.clip(item.samples, -1, 1) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
            frame.sample_rate = self._rate
        kind = "video" if is_picture else "audio"
        stamp = round((item.time - self._origin) / float(_BASE))
        if stamp > self._last[kind]:
            self._last[kind] = stamp
            frame.pts, frame.time_base = stamp, _BASE
            self._container.mux(stream.encode(frame))


def _began(path: Path) -> float | None:
    stamp = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
