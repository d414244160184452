"""``mosear run``: clips → emotions."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from mosear.runtime.bundle import Bundle
from mosear.runtime.commands import choices
from mosear.runtime.errors import BadInput, MosearError, one_line
from mosear.runtime.output import Format, writer
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.terminal import exits, tell
from mosear.runtime.transcript import sidecar_transcript
from mosear.runtime.windows import lengths, read_windows

CARDS = 3
"""Up to so many clips are shown as a card a window; more, as a line a window."""

_WIDEST_NAME = 40


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
    threads: choices.Threads = None,
    provider: choices.Where = None,
    debug: choices.Debug = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Answer clips; see the help above."""
    worst = 0
    with exits(debug):
        opened = Bundle.open(bundle)
        lengths(opened.manifest.preprocessing, window, hop)
        pipeline = Pipeline(opened, threads, provider.value if provider else None, debug)
        if reason:
            pipeline.check_can_reason()
        print(opened.manifest.notice, file=sys.stderr, flush=True)
        names = max(len(str(clip)) for clip in clips)
        write = writer(form, pipeline.labels, min(_WIDEST_NAME, names) if len(clips) > CARDS else None)
        for clip in clips:
            try:
                with _progress(clip, quiet):
                    said = transcript if transcript is not None else sidecar_transcript(clip)
                    for each in read_windows(clip, opened.manifest.preprocessing, window, hop, said):
                        write(pipeline.analyse(each, str(clip), reason))
            except MosearError as error:
                tell(error, debug)
                # A clip that can't be read is the milder news: it must not cover up that the program failed.
                worst = error.exit_code if worst in (0, BadInput.exit_code) else worst
    raise typer.Exit(worst)


@contextmanager
def _progress(clip: Path, quiet: bool) -> Iterator[None]:
    console = Console(stderr=True)
    shown = console.is_terminal and not quiet and not sys.stdout.isatty()
    spinner = Spinner("dots", Text(f"reading {one_line(clip.name)}"))
    # By default a live display takes over what is printed to standard output, and the results would go with it.
    with Live(spinner, console=console, transient=True, redirect_stdout=False) if shown else nullcontext():
        yield
