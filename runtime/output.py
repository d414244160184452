"""Results on standard output, in the form that was asked for, each put there at once."""

import sys
from collections.abc import Callable
from enum import Enum

from rich.console import Console, RenderableType

from mosear.runtime.errors import Failed
from mosear.runtime.human import card, heading, line
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
    if sys.stdout is None:
        raise Failed("standard output is closed", "send the results to a file or to another program")
    # File names need not be valid text; what can't be encoded is written as an escape that JSON knows too.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    if form is Format.jsonl:
        return lambda emotion: _write(emotion.to_json() + "\n")
    if form is Format.csv:
        _write(csv_header(labels) + "\n")
        return lambda emotion: _write(csv_row(emotion, labels) + "\n")
    console = Console(file=sys.stdout, highlight=False)

    def show(piece: RenderableType) -> None:
        # Left to itself the console ends the program in its own way when its reader goes away.
        with writing(), console.capture() as capture:
            console.print(piece, soft_wrap=line_width is not None)
        _write(capture.get())

    if line_width is None:
        return lambda emotion: show(card(emotion))
    show(heading(line_width))
    return lambda emotion: show(line(emotion, line_width))


def _write(text: str) -> None:
    with writing():
        print(text, end="", flush=True)
