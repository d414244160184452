"""`python -m mosear.clips.synthetic OUT`: writes a folder of synthetic clips and their labels."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mosear.clips.synthetic.specification import LABELS, SUBSETS, ClipSpec, draw_spec
from mosear.clips.synthetic.write import write_clip, write_labels
from mosear.runtime.errors import BadInput, Failed, MosearError, UsageError, report

LABELS_FILE = "labels.csv"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def plan(count: int, seed: int, subsets: tuple[str, ...] = SUBSETS) -> list[tuple[str, ClipSpec]]:
    """(file name, specification) of every clip, going through subsets first and labels second.

    Clip i depends on `seed`, i and `subsets` only, so a longer set begins with the shorter one.
    """
    clips = []
    for index in range(count):
        clip_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        subset = subsets[index % len(subsets)]
        label = LABELS[index // len(subsets) % len(LABELS)]
        clips.append((f"clip_{index:05d}.mp4", draw_spec(clip_seed, subset, label)))
    return clips


def _write_all(jobs: list[tuple[ClipSpec, Path]], workers: int) -> None:
    columns = (TextColumn("Rendering clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=len(jobs))
        if workers == 1:
            for spec, path in jobs:
                write_clip(spec, path)
                progress.advance(task)
            return
        # Fresh processes, not forks: OpenCV and PyAV hold threads and locks that a fork would copy half-way.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for written in as_completed([pool.submit(write_clip, spec, path) for spec, path in jobs]):
                written.result()
                progress.advance(task)


def write_set(out: Path, count: int, seed: int, subsets: tuple[str, ...], workers: int) -> Path:
    """Write the clips and their labels into `out`, a new or empty folder; the path of the labels file.

    Raises:
        UsageError: unknown subset.
        BadInput: `out` is not a folder, or holds something.
        Failed: the folder cannot be written, or a rendering process died.
    """
    unknown = sorted(set(subsets) - set(SUBSETS))
    if unknown:
        raise UsageError(f"there is no subset {', '.join(unknown)}", f"use {', '.join(SUBSETS)}")
    clips = plan(count, seed, tuple(name for name in SUBSETS if not subsets or name in subsets))
    try:
        if out.exists() and not out.is_dir():
            raise BadInput(f"{out} is not a folder", "give the path of a new or empty folder")
        if out.is_dir() and any(out.iterdir()):
            raise BadInput(f"{out} is not empty", "give a new folder, or empty this one")
        out.mkdir(parents=True, exist_ok=True)
        _write_all([(spec, out / name) for name, spec in clips], min(workers, count))
        write_labels(clips, out / LABELS_FILE)
    except OSError as error:
        raise Failed(f"{out} cannot be written: {error}", "check its permissions and the space on its disk") from error
    except BrokenProcessPool as error:
        raise Failed("a rendering process ended early", "use fewer --workers: memory may be short") from error
    return out / LABELS_FILE


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder for the clips and labels.csv; made if it is not there.")],
    count: Annotated[int, typer.Option(min=1, help="How many clips.")] = 18,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same clips.")] = 0,
    subset: Annotated[
        list[str] | None, typer.Option(help=f"Only this subset; repeatable: {', '.join(SUBSETS)}.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 1,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write COUNT synthetic clips (MP4, 3 s) of faces and voices that agree or disagree, balanced over subsets and
    labels, and labels.csv. Prints the path of labels.csv.
    """
    try:
        labels = write_set(out, count, seed, tuple(subset or ()), workers)
    except MosearError as error:
        if debug:
            raise
        report(error)
        raise typer.Exit(error.exit_code) from None
    print(labels)


if __name__ == "__main__":
    app(prog_name="python -m mosear.clips.synthetic")
