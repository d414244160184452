"""``python -m mosear.clips.synthetic.arrays OUT``: many windows as arrays, for training; no video codec in between."""

from __future__ import annotations

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from mosear.clips.synthetic.description import describe
from mosear.clips.synthetic.face import activations
from mosear.clips.synthetic.prosody import FIELDS
from mosear.clips.synthetic.specification import DURATION_S, LABELS, SUBSETS, ClipSpec, draw_spec
from mosear.clips.synthetic.window import render_window
from mosear.model.data import AUDIO_CUES, COLUMNS, FRAMES, LABELS_TABLE, SAMPLES, VISUAL_CUES
from mosear.runtime.errors import BadInput, MosearError, report

_BLOCK = 32
Arrays = dict[str, NDArray[np.generic]]


def balanced_spec(seed: int, index: int) -> ClipSpec:
    """The ``index``-th clip of the set with seed ``seed``: subsets and labels take turns, everything else is drawn."""
    return draw_spec(
        seed * 1_000_003 + index, SUBSETS[index % len(SUBSETS)], LABELS[index // len(SUBSETS) % len(LABELS)]
    )


def row(spec: ClipSpec) -> dict[str, str]:
    """The table's row of a clip."""
    values = {name: str(getattr(spec, name)) for name in COLUMNS if name != "reason"}
    return values | {"reason": describe(spec)}


def cues(spec: ClipSpec, frames: int = 8) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the encoders learn beside the labels.

    Returns:
        Activations of the action units in each sampled frame, [frames, units]; and the prosody's parameters, [fields].
    """
    times = (np.arange(frames) + 0.5) * DURATION_S / frames
    seen = [list(activations(spec, float(time)).values()) for time in times]
    return np.array(seen, np.float32), np.array([getattr(spec.prosody, name) for name in FIELDS], np.float32)


def _render(seed: int, start: int, stop: int) -> tuple[int, Arrays, list[dict[str, str]]]:
    cv2.setNumThreads(1)
    specs = [balanced_spec(seed, index) for index in range(start, stop)]
    windows = [render_window(spec) for spec in specs]
    seen, spoken = zip(*(cues(spec) for spec in specs), strict=True)
    block: Arrays = {
        FRAMES: np.stack([pictures for pictures, _ in windows]),
        SAMPLES: np.stack([np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16) for _, sound in windows]),
        VISUAL_CUES: np.stack(seen),
        AUDIO_CUES: np.stack(spoken),
    }
    return start, block, [row(spec) for spec in specs]


def render_arrays(folder: Path, count: int, seed: int, workers: int) -> None:
    """Render ``count`` windows into ``folder`` in the layout of ``mosear.model.data.Windows``.

    Raises:
        BadInput: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers) as pool, Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("rendering", total=count)
            jobs = [pool.submit(_render, seed, s, min(s + _BLOCK, count)) for s in range(0, count, _BLOCK)]
            table: list[dict[str, str]] = []
            arrays: Arrays = {}
            for job in jobs:
                start, block, rows = job.result()
                for name, part in block.items():
                    if name not in arrays:
                        shape = (count, *part.shape[1:])
                        arrays[name] = np.lib.format.open_memmap(
                            folder / name, mode="w+", dtype=part.dtype, shape=shape
                        )
                    arrays[name][start : start + len(part)] = part
                table += rows
                progress.advance(task, len(rows))
        with (folder / LABELS_TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)
    except OSError as error:
        raise BadInput(f"{folder} can't be written: {error}", "choose a folder on a disk with room") from error


app = typer.Typer(add_completion=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the arrays")],
    count: Annotated[int, typer.Option(min=1, help="windows")],
    seed: Annotated[int, typer.Option(min=0, help="of the whole set")],
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
) -> None:
    """Render windows of the synthetic conflict set as arrays."""
    try:
        render_arrays(folder, count, seed, workers)
    except MosearError as error:
        report(error)
        sys.exit(error.exit_code)
    print(folder)


if __name__ == "__main__":
    app()
