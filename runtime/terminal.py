"""How a command ends: its exit code, and two lines on standard error at most."""

import io
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mosear.runtime.errors import Failed, MosearError, report

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

PIPE_CLOSED = 141
"""Exit code when whoever read the results went away."""

ESTIMATE = "A predicted emotion is an estimate of how an expression reads, not of what a person feels."


_ENDING_S = 0.5
"""What threads may take that were told to end."""


class Unwritable(Exception):
    """Standard output takes nothing more. No MosearError, since it ends the command and not a clip."""


def ensure_standard_error() -> None:
    """Put something in the place of a standard error that was closed for the command (2>&-).

    What is printed to None lands among the results.
    """
    if sys.stderr is None:
        sys.stderr = io.StringIO()


def log_to_standard_error(*others: str) -> None:
    """Let what the program logs, and the loggers of ``others``, go to standard error, a line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("mosear", *others):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
    logging.getLogger("mosear").setLevel(logging.INFO)


@contextmanager
def writing() -> Iterator[None]:
    """Tell an output that takes no more (a full disk) from other errors; a reader that went away stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritable(error.strerror or str(error)) from error


@contextmanager
def exits(debug: bool) -> Iterator[None]:
    """Turn whatever ends the command into its exit code, with two lines on standard error at most."""
    try:
        yield
    except MosearError as error:
        tell(error, debug)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as error:
        raise SystemExit(INTERRUPTED) from error
    except BrokenPipeError as error:
        drop_output()
        raise SystemExit(PIPE_CLOSED) from error
    except Unwritable as error:
        drop_output()
        what = f"standard output can't be written ({error})"
        tell(Failed(what, "make room there, or send the results elsewhere"), debug)
        raise SystemExit(Failed.exit_code) from error
    except Exception as error:
        what = f"something went wrong inside mosear ({type(error).__name__}: {error})"
        tell(Failed(what, "run again with --debug, and report what it prints"), debug)
        raise SystemExit(Failed.exit_code) from error


def leave(code: int) -> None:
    """End the process at once when a thread is still held by a library that can't be interrupted, with ``code``.

    A camera that is being opened, or a driver that hangs, would crash or hold up the interpreter's own way out. What
    is written was flushed when it was written.
    """
    until = time.monotonic() + _ENDING_S
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(max(0.0, until - time.monotonic()))
    if any(thread.daemon for thread in threading.enumerate()):
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)


def drop_output() -> None:
    """Forget what is buffered and has nowhere to go; else the interpreter complains of it when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(error: MosearError, debug: bool) -> None:
    """Print the two lines of ``error`` on standard error, below its trace when ``debug`` is set."""
    if debug:
        traceback.print_exc()
    report(error)
