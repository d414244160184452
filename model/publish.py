"""Writing a folder as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mosear.runtime.errors import BadInput, Failed


def check_replaceable(output: Path, marker: str) -> None:
    """Refuse an output that would destroy something else.

    Args:
        output: the folder that is going to be written.
        marker: a file that a folder of this kind holds.

    Raises:
        BadInput: ``output`` is a file, or a folder that is neither empty nor of this kind, or its parent is no folder.
    """
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output} is a file", "give a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / marker).is_file():
        raise BadInput(f"{output} is not empty and holds no {marker}, so it is not replaced", "give a new folder")
    if not output.absolute().parent.is_dir():
        raise BadInput(f"{output.absolute().parent} is not a folder", "make it first")


@contextmanager
def published(output: Path, marker: str) -> Iterator[Path]:
    """A temporary sibling of ``output`` to write into, renamed to ``output`` when the block ends well.

    An error, an interrupt or a termination signal turned into an exception removes the sibling; what a killed process
    left behind is removed by the next writer of the same ``output``.

    Raises:
        BadInput: see ``check_replaceable``.
        Failed: the disk is full, or the folder can't be written.
    """
    check_replaceable(output, marker)
    prefix = f".{output.name}.building-"
    parent = output.absolute().parent
    for stale in parent.glob(f"{prefix}*"):
        if not _is_alive(stale.name.removeprefix(prefix)):
            shutil.rmtree(stale, ignore_errors=True)
    building = parent / f"{prefix}{os.getpid()}"
    try:
        building.mkdir()
        yield building
        previous = parent / f"{prefix}{os.getpid()}-previous"
        if output.exists():
            output.rename(previous)
        try:
            building.rename(output)
        except OSError:
            if previous.exists():
                previous.rename(output)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Failed(
                f"no room to write {output}: {error.strerror}", "free space on that disk and run again"
            ) from error
        raise Failed(f"{output} can't be written: {error}", "check the folder's permissions and run again") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process.partition("-")[0]), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
