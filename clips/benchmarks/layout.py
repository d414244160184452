"""Looks for the files and folders that a benchmark's layout names, and tells what is there instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mosear.clips.benchmarks.media import MediaFolders
from mosear.runtime.errors import BadInput

_SHOWN = 8


def label_file(root: Path, candidates: Sequence[str], remedy: str, looked: str | None = None) -> Path:
    """The first of these paths below `root` that is there.

    Args:
        looked: the candidates in words, where they are too many to be listed.

    Raises:
        BadInput: none is; the error says what was looked for and what was found.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    looked = looked or _either(candidates)
    raise BadInput(f"there is no label file in {root}: looked for {looked}; found {_found(root)}.", remedy)


def media_folders(
    root: Path, candidates: Sequence[str], given: Path | None = None, parts: str | None = None
) -> MediaFolders:
    """The folder `given`, else the first of these folders below `root` that is there: clips of different kinds
    (original videos, frames) are never mixed.

    Args:
        parts: pattern of folders in it that hold a part of the clips each.

    Raises:
        BadInput: there is none.
    """
    places = [given] if given is not None else [root / candidate for candidate in candidates]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        looked = str(given) if given is not None else f"{_either(candidates)} in {root}; found {_found(root)}"
        raise BadInput(f"there is no folder of clips: looked for {looked}.", "Give the folder with --media.")
    inner = sorted(each for each in folder.glob(parts) if each.is_dir()) if parts else []
    return MediaFolders([folder, *inner])


def folders_below(base: Path, names: Sequence[str]) -> MediaFolders:
    """``base`` and all of these folders in it: for clips of one kind that their users spread in different ways.

    Raises:
        BadInput: there is no such base.
    """
    if not base.is_dir():
        raise BadInput(f"there is no folder of clips {base}.", "Check the path, or leave --media out.")
    return MediaFolders([base, *(base / name for name in names)])


def _either(candidates: Sequence[str]) -> str:
    return " or ".join(candidates)


def _found(root: Path) -> str:
    try:
        names = sorted(each.name + "/" * each.is_dir() for each in root.iterdir() if not each.name.startswith("."))
    except OSError:
        return "no folder that can be listed"
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "") or "nothing"
