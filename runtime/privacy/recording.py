"""Picture and sound kept for a stated time, and only when somebody asked for it."""

import contextlib
import logging
import threading
from pathlib import Path

from mosear.runtime.capture.stream import Item
from mosear.runtime.errors import one_line
from mosear.runtime.privacy.inbox import Arrival, Inbox
from mosear.runtime.privacy.media_file import MediaFile, OtherTracks
from mosear.runtime.privacy.shelf import Shelf, steady

PURGE_EVERY_S = 1.0
"""Purging is never further away than this, whatever comes in."""

RETRY_S = 5.0
"""So long nothing is tried after media could not be written: a full disk must not be filled with beginnings."""

_log = logging.getLogger("mosear")


class Recorder:
    """Keeps what the sources give as Matroska files (H.264, PCM), and deletes each by its age.

    A file is deleted ``keep_for`` seconds after its first moment came from its source, so nothing in it is kept for
    longer. That happens also when nothing comes in, and when the system clock is set; what an earlier program left,
    however it ended, is deleted by the same rule (see ``Shelf``). A file holds a minute, or a thousandth of
    ``keep_for`` where that is more (an hour at most), or half of ``keep_for`` where that is less. Encoding has a thread
    of its own; when it can't keep up, or the disk is full, media are left out and counted, and purging goes on.

    Args:
        folder: made when it is missing, for its owner alone; files are readable by their owner alone.
        keep_for: seconds.
        rate: samples a second of the sound.

    Raises:
        BadInput: the folder can't be made or written to, anyone may write to it, or another program keeps media there.
    """

    def __init__(self, folder: Path, keep_for: float, rate: int) -> None:
        self._rate = rate
        self._segment_s = segment_seconds(keep_for)
        self._lost = 0
        self._inbox = Inbox()
        self._file: MediaFile | None = None
        self._path = folder
        self._began = 0.0
        self._mute_until: float | None = None
        self._shelf = Shelf(folder, keep_for)
        self._shelf.purge()
        self._thread = threading.Thread(target=self._work, name="mosear-recorder", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Pictures and sounds that were not kept; those of a file that is still open are not in it yet."""
        return self._lost + self._inbox.refused

    def take(self, item: Item) -> None:
        """Keep a picture or a sound; never waits, and may be called from several threads."""
        self._inbox.put(item)

    def close(self, timeout: float = 10.0) -> None:
        """Finish the file under way, and wait for that up to ``timeout`` seconds. May be called twice."""
        self._inbox.close()
        self._thread.join(timeout)
        if self._thread.is_alive():
            _log.warning("the last media in %s were not finished within %.0f s", self._shelf.folder, timeout)

    def _work(self) -> None:
        purge_at = steady()
        try:
            while not self._inbox.is_done:
                arrival = self._inbox.get(max(0.0, purge_at - steady()))
                if arrival is not None:
                    self._keep(arrival)
                del arrival  # a picture must not outlive its turn while the next one is awaited
                if self._file is not None and steady() - self._began >= self._segment_s:
                    self._finish()
                if steady() >= purge_at:
                    purge_at = steady() + min(PURGE_EVERY_S, self._shelf.purge())
        finally:
            self._finish()
            self._shelf.close()

    def _keep(self, arrival: Arrival) -> None:
        if self._mute_until is not None and steady() < self._mute_until:
            self._lost += 1
            return
        try:
            try:
                self._add(arrival)
            except OtherTracks:
                self._finish()
                self._add(arrival)
        except Exception as error:  # whatever an encoder or a disk comes up with, purging must go on
            self._lost += 1
            self._fail(error)

    def _add(self, arrival: Arrival) -> None:
        if self._file is None:
            number, self._path = self._shelf.new(arrival.taken)
            self._file, self._began = MediaFile(number, self._rate), arrival.taken
        self._file.add(arrival.item)
        if self._mute_until is not None and self._file.is_begun:
            _log.info("media are kept in %s again", self._shelf.folder)
            self._mute_until = None

    def _fail(self, error: Exception) -> None:
        if self._mute_until is None:
            _log.error("media can't be kept in %s: %s; trying again", self._shelf.folder, one_line(error))
        self._mute_until = steady() + RETRY_S
        self._finish()

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except Exception as error:
            if self._mute_until is None:
                self._mute_until = steady() + RETRY_S
                _log.error("media can't be kept in %s: %s; trying again", self._shelf.folder, one_line(error))
        self._lost += file.skipped
        with contextlib.suppress(OSError):
            if self._path.stat().st_size == 0:
                self._path.unlink()


def segment_seconds(keep_for: float) -> float:
    """Seconds that a file holds when media are kept for ``keep_for`` seconds."""
    return min(keep_for / 2, max(60.0, min(3600.0, keep_for / 1000)))
