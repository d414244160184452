"""Errors that a user can cause: what is wrong, what to do about it, and the exit code that goes with it."""

import sys


class MosearError(Exception):
    """An error with a remedy; ``exit_code`` is the exit status of a command that ends on it.

    Args:
        what: what is wrong, in one line and in the user's terms.
        remedy: what to do about it, in one line.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Failed(MosearError):
    """Something that should have worked did not (exit code 1)."""

    exit_code = 1


class UsageError(MosearError):
    """The command was asked for something that it cannot mean (exit code 2)."""

    exit_code = 2


class BadInput(MosearError):
    """A file that was given is missing, damaged or of another kind (exit code 3)."""

    exit_code = 3


class CheckFailed(MosearError):
    """A check that must hold does not (exit code 4)."""

    exit_code = 4


def one_line(text: object, limit: int = 500) -> str:
    """``text`` on one printable line of at most ``limit`` characters, so that no message can forge a second one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def report(error: MosearError) -> None:
    """Print the two lines of ``error`` on standard error."""
    print(f"error: {one_line(error.what)}", file=sys.stderr)
    print(f"  fix: {one_line(error.remedy)}", file=sys.stderr, flush=True)
