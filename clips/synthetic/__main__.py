"""`python -m mosear.clips.synthetic OUT`: writes a folder of synthetic clips and their labels."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mosear.clips.synthetic.specification import LABELS, SUBSETS, ClipSpec, draw_spec
from mosear.clips.synthetic.write import write_clip, write_labels

FAILED, USAGE, BAD_INPUT = 1, 2, 3
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


def _stop(code: int, problem: str, remedy: str) -> NoReturn:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"Error: {problem}\n{remedy}")
    raise typer.Exit(code)


def _write(job: tuple[ClipSpec, Path]) -> None:
    write_clip(*job)


def _write_all(jobs: list[tuple[ClipSpec, Path]], workers: int) -> None:
    columns = (TextColumn("Rendering clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=len(jobs))
        if workers == 1:
            for job in jobs:
                _write(job)
                progress.advance(task)
            return
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for _ in pool.imap_unordered(_write, jobs):
                progress.advance(task)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder for the clips and labels.csv; made if it is not there.")],
    count: Annotated[int, typer.Option(help="How many clips.")] = 18,
    seed: Annotated[int, typer.Option(help="Same seed, same clips.")] = 0,
    subset: Annotated[
        list[str] | None, typer.Option(help=f"Only this subset; repeatable: {', '.join(SUBSETS)}.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that render.")] = 1,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write COUNT synthetic clips (MP4, 3 s) of faces and voices that agree or disagree, balanced over subsets and
    labels, and labels.csv. Prints the path of labels.csv.
    """
    for name, value, lowest in (("--count", count, 1), ("--workers", workers, 1), ("--seed", seed, 0)):
        if value < lowest:
            _stop(USAGE, f"{name} is {value}.", f"Give a number of at least {lowest}.")
    unknown = sorted(set(subset or ()) - set(SUBSETS))
    if unknown:
        _stop(USAGE, f"There is no subset {', '.join(unknown)}.", f"Use one of {', '.join(SUBSETS)}.")
    chosen = tuple(name for name in SUBSETS if not subset or name in subset)
    if out.exists() and not out.is_dir():
        _stop(BAD_INPUT, f"{out} is not a folder.", "Give the path of a folder.")
    if out.is_dir() and any(out.iterdir()):
        _stop(BAD_INPUT, f"{out} is not empty.", "Give a new folder, or empty this one.")
    clips = plan(count, seed, chosen)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_all([(spec, out / name) for name, spec in clips], min(workers, count))
        write_labels(clips, out / LABELS_FILE)
    except OSError as error:
        if debug:
            raise
        _stop(FAILED, f"Cannot write to {out}: {error.strerror or error}.", "Check its permissions and free space.")
    print(out / LABELS_FILE)


if __name__ == "__main__":
    app(prog_name="python -m mosear.clips.synthetic")
