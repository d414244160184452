"""Finds a clip's media by the name that its label file gives it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from mosear.clips.benchmarks.gather import LeftOutError
from mosear.runtime.errors import BadInput

VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv")
"""Endings of videos, the ones that are preferred first."""

SOUND = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")
"""Endings of sound without a picture."""

PICTURES = (".jpg", ".jpeg", ".png")
"""Endings of the pictures of a folder that is a clip."""


class MediaFolders:
    """Folders of clips, searched in their order; each is listed once.

    A folder or file that is a link is followed: who made it meant it. Names are not trusted: see `find`.

    Args:
        places: the folders; at least one.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = [os.path.abspath(place) for place in places]
        self._listings: dict[str, _Listing] = {}

    def __str__(self) -> str:
        shown = ", ".join(self._places[:3])
        return shown + (f" and {len(self._places) - 3} more" if len(self._places) > 3 else "")

    def find(self, line: str, *names: str) -> Path:
        """The media of a clip: the first of `names` that is there.

        A name is a path relative to a place: of a file, whatever its ending; without the ending of a video; or of a
        folder of pictures. A video goes before a folder of the same name.

        Args:
            line: where the name stands, for errors.
            names: spellings of one clip's name, as with and without zeros.

        Raises:
            LeftOutError: nothing there, an empty file, something that is neither a file nor a folder of pictures.
            BadInput: a name leads out of the places.
        """
        for name in names:
            paths = [path for path in (_within(place, name) for place in self._places) if path]
            if not paths:
                raise BadInput(
                    f"{line}: {name!r} leads out of {self}.",
                    "Use names relative to the folder of the clips, or give that folder with --media.",
                )
            for path in paths:
                parent, base = os.path.split(path)
                if path not in self._places and (found := self._listing(parent).find(base)):
                    return _usable(Path(parent, found))
        raise LeftOutError(f"it is not in {self}")

    def _listing(self, folder: str) -> _Listing:
        if folder not in self._listings:
            self._listings[folder] = _Listing(folder)
        return self._listings[folder]


class _Listing:
    """What one folder holds: folders, files, and videos by their name without ending."""

    def __init__(self, folder: str) -> None:
        self._folders: set[str] = set()
        self._files: set[str] = set()
        self._videos: dict[str, str] = {}
        videos: list[tuple[int, str, str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        self._folders.add(entry.name)
                        continue
                    self._files.add(entry.name)
                    stem, ending = os.path.splitext(entry.name)
                    if ending.casefold() in VIDEO:
                        videos.append((VIDEO.index(ending.casefold()), stem, entry.name))
        except (OSError, ValueError):
            # No such folder, or none that may be listed: it has no clips to offer.
            return
        self._videos = {stem: name for _, stem, name in sorted(videos, reverse=True)}

    def find(self, name: str) -> str | None:
        if name in self._files:
            return name
        return self._videos.get(name) or (name if name in self._folders else None)


def _within(place: str, name: str) -> str | None:
    """The path of `name` in `place`, or None when it leads out of it."""
    if "\0" in name:
        return None
    path = os.path.normpath(os.path.join(place, name))
    return path if path == place or path.startswith(place.rstrip(os.sep) + os.sep) else None


def _usable(path: Path) -> Path:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            if not any(each.suffix.casefold() in PICTURES and each.stat().st_size for each in path.iterdir()):
                raise LeftOutError(f"{path} is a folder without pictures")
        elif not stat.S_ISREG(status.st_mode):
            raise LeftOutError(f"{path} is no file")
        elif not status.st_size:
            raise LeftOutError(f"{path} is an empty file")
    except OSError as error:
        raise LeftOutError(f"{path} can't be read: {error.strerror}") from error
    return path
