"""The command ``mosear``."""

import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput, Failed, MosearError, one_line, report
from mosear.runtime.human import card, heading, line
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.results import Emotion, csv_header, csv_row
from mosear.runtime.transcript import sidecar_transcript
from mosear.runtime.windows import lengths, read_windows

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

PIPE_CLOSED = 141
CARDS = 3
"""Up to so many clips are shown as a card a window; more, as a line a window."""
"""Exit code when whoever read the results went away."""

ESTIMATE = "A predicted emotion is an estimate of how an expression reads, not of what a person feels."

app = typer.Typer(
    name="mosear",
    help=f"From a clip to an emotion, on this device.\n\n{ESTIMATE}",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 bad input, 4 a check failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Format(str, Enum):
    """The form of the results."""

    human = "human"
    jsonl = "jsonl"
    csv = "csv"


class Provider(str, Enum):
    """Where ONNX Runtime computes."""

    cpu = "cpu"
    cuda = "cuda"


class _Unwritable(Exception):
    """Standard output takes nothing more. No MosearError, since it ends the command and not a clip."""


def main() -> None:
    """Entry point of the command."""
    if sys.stderr is None:
        # It was closed for the command (2>&-); what is printed to None lands among the results.
        sys.stderr = io.StringIO()
    with _exits(debug=False), _writing():
        app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mosear {version('mosear')}", flush=True)
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the command as a whole."""


@app.command(
    help="Read clips as windows and answer each one. Results go to standard output, everything else to standard "
    f"error. A clip that can't be read does not stop the others.\n\n{ESTIMATE}"
)
def run(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by mosear-export build.")],
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP", help="Video, sound or picture files.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            envvar="MOSEAR_FORMAT",
            help="How results are written; human: a card a window for up to three clips, else a line a window.",
        ),
    ] = Format.human,
    window: Annotated[
        float | None,
        typer.Option(
            envvar="MOSEAR_WINDOW", metavar="S", help="Seconds a window, from 0.5; the model's own by default."
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            envvar="MOSEAR_HOP", metavar="S", help="Seconds between starts of windows; the window by default."
        ),
    ] = None,
    transcript: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What is said in the clips. By default the file beside a clip with its name and the ending .txt is "
            "used, where there is one.",
        ),
    ] = None,
    reason: Annotated[bool, typer.Option("--reason", help="Also generate the model's reasons; slower.")] = False,
    threads: Annotated[
        int | None, typer.Option(envvar="MOSEAR_THREADS", min=1, help="CPU threads; the library's choice by default.")
    ] = None,
    provider: Annotated[
        Provider | None,
        typer.Option(envvar="MOSEAR_PROVIDER", help="Where to compute; what the bundle was built for by default."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MOSEAR_DEBUG", help="Show traces and the library's warnings.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Answer clips; see the help above."""
    worst = 0
    with _exits(debug):
        opened = Bundle.open(bundle)
        lengths(opened.manifest.preprocessing, window, hop)
        pipeline = Pipeline(opened, threads, provider.value if provider else None, debug)
        if reason:
            pipeline.check_can_reason()
        print(opened.manifest.notice, file=sys.stderr, flush=True)
        write = _writer(form, pipeline.labels, clips)
        for clip in clips:
            try:
                with _progress(clip, quiet):
                    said = transcript if transcript is not None else sidecar_transcript(clip)
                    for each in read_windows(clip, opened.manifest.preprocessing, window, hop, said):
                        write(pipeline.analyse(each, str(clip), reason))
            except MosearError as error:
                _tell(error, debug)
                # A clip that can't be read is the milder news: it must not cover up that the program failed.
                worst = error.exit_code if worst in (0, BadInput.exit_code) else worst
    raise typer.Exit(worst)


def _writer(form: Format, labels: list[str], clips: list[Path]) -> Callable[[Emotion], None]:
    """What puts an answer on standard output, and puts it there at once."""
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
        with _writing(), console.capture() as capture:
            console.print(piece, soft_wrap=len(clips) > CARDS)
        _write(capture.get())

    if len(clips) <= CARDS:
        return lambda emotion: show(card(emotion))
    width = min(40, max(len(str(clip)) for clip in clips))
    show(heading(width))
    return lambda emotion: show(line(emotion, width))


def _write(text: str) -> None:
    with _writing():
        print(text, end="", flush=True)


@contextmanager
def _writing() -> Iterator[None]:
    """Tell an output that takes no more (a full disk) from other errors; a reader that went away stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _Unwritable(error.strerror or str(error)) from error


@contextmanager
def _progress(clip: Path, quiet: bool) -> Iterator[None]:
    console = Console(stderr=True)
    shown = console.is_terminal and not quiet and not sys.stdout.isatty()
    spinner = Spinner("dots", Text(f"reading {one_line(clip.name)}"))
    # By default a live display takes over what is printed to standard output, and the results would go with it.
    with Live(spinner, console=console, transient=True, redirect_stdout=False) if shown else nullcontext():
        yield


@contextmanager
def _exits(debug: bool) -> Iterator[None]:
    """Turn whatever ends the command into its exit code, with two lines on standard error at most."""
    try:
        yield
    except MosearError as error:
        _tell(error, debug)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as error:
        raise SystemExit(INTERRUPTED) from error
    except BrokenPipeError as error:
        _drop_output()
        raise SystemExit(PIPE_CLOSED) from error
    except _Unwritable as error:
        _drop_output()
        what = f"standard output can't be written ({error})"
        _tell(Failed(what, "make room there, or send the results elsewhere"), debug)
        raise SystemExit(Failed.exit_code) from error
    except Exception as error:
        what = f"something went wrong inside mosear ({type(error).__name__}: {error})"
        _tell(Failed(what, "run again with --debug, and report what it prints"), debug)
        raise SystemExit(Failed.exit_code) from error


def _drop_output() -> None:
    """Forget what is buffered and has nowhere to go; else the interpreter complains of it when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: MosearError, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    report(error)


if __name__ == "__main__":
    main()
