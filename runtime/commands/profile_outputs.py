"""Where a profile goes: files that are looked at before anything is measured, and standard output."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mosear.runtime.errors import Failed, MosearError, UsageError
from mosear.runtime.profiling.forms.write import form_of
from mosear.runtime.terminal import tell, writing


def check_outputs(paths: Sequence[Path], comparison: bool) -> None:
    """Look whether every file can be written, while nothing is lost yet if not.

    Raises:
        UsageError: an ending says no form, a file is named twice, or it is a folder or in none.
        Failed: its folder can't be written into, or standard output is closed.
    """
    if sys.stdout is None:
        raise Failed("standard output is closed", "send the report to a file or to another program")
    seen: set[Path] = set()
    for path in paths:
        form_of(path, comparison)
        place = path.absolute()
        if place in seen:
            raise UsageError(f"{path} is named twice", "name each file once")
        seen.add(place)
        if path.is_dir():
            raise UsageError(f"{path} is a folder", "name a file")
        if not place.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}", "make it, or name a file in another folder")
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise Failed(f"{path.parent} can't be written into", "permit it, or name a file in another folder")


def put(paths: Sequence[Path], write: Callable[[Path], None], render: Callable[[], str], debug: bool) -> int:
    """Write every file, then standard output; what can't be written does not keep the rest from it.

    Args:
        paths: the files.
        write: writes one; raises MosearError.
        render: makes the text for standard output.
        debug: show traces of what fails.

    Returns:
        The exit code.
    """
    worst = 0
    for path in paths:
        try:
            write(path)
            print(f"wrote {path}", file=sys.stderr, flush=True)
        except MosearError as error:
            tell(error, debug)
            worst = error.exit_code
    # Names of files need not be valid text.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    with writing():
        print(render(), end="", flush=True)
    return worst
