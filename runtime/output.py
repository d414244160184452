"""Results on standard output, in the form that was asked for, each put there at once."""

import sys
from collections.abc import Callable
from enum import Enum

from rich.console import Console, RenderableType

from mosear.runtime.errors import Failed
from mosear.runtime.human import card, heading, line, live_heading, live_line
from mosear.runtime.results import Emotion, csv_header, csv_row
from mosear.runtime.terminal import writing


class Format(str, Enum):
    """The form of the results."""

    human = "human"
    jsonl = "jsonl"
    csv = "csv"


def writer(form: Format, labels: list[str], line_width: int | None) -> Callable[[Emotion], None]:
    """What puts an answer on standard output, and puts it there at once.

    Args:
        form: human, JSON lines or CSV.
        labels: the model's labels, for the columns of CSV.
        line_width: for people: columns of the clip's name where each answer takes a line; a card each when None.

    Raises:
        Failed: standard output is closed.
    """
    if form is not Format.human:
        return _plain(form, labels, live=False)
    _check_open()
    console = Console(file=sys.stdout, highlight=False)
    if line_width is None:
        return lambda emotion: _show(console, card(emotion))
    _show(console, heading(line_width), soft_wrap=True)
    return lambda emotion: _show(console, line(emotion, line_width), soft_wrap=True)


def live_writer(form: Format, labels: list[str]) -> Callable[[Emotion], None]:
    """The same for live answers: for people a line each."""
    if form is not Format.human:
        return _plain(form, labels, live=True)
    _check_open()
    console = Console(file=sys.stdout, highlight=False)
    _show(console, live_heading(), soft_wrap=True)
    return lambda emotion: _show(console, live_line(emotion), soft_wrap=True)


def _plain(form: Format, labels: list[str], live: bool) -> Callable[[Emotion], None]:
    _check_open()
    if form is Format.jsonl:
        return lambda emotion: _write(emotion.to_json() + "\n")
    _write(csv_header(labels, live) + "\n")
    return lambda emotion: _write(csv_row(emotion, labels, live) + "\n")


def _check_open() -> None:
    if sys.stdout is None:
        raise Failed("standard output is closed", "send the results to a file or to another program")
    # File names need not be valid text; what can't be encoded is written as an escape that JSON knows too.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _show(console: Console, piece: RenderableType, soft_wrap: bool = False) -> None:
    # Left to itself the console ends the program in its own way when its reader goes away.
    with writing(), console.capture() as capture:
        console.print(piece, soft_wrap=soft_wrap)
    _write(capture.get())


def _write(text: str) -> None:
    with writing():
        print(text, end="", flush=True)
