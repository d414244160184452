"""``python -m mosear.calibration CHECKPOINT --data CLIPS``: calibrate a checkpoint in place."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from mosear.calibration.encoding import Progress
from mosear.calibration.quantization import METHODS
from mosear.calibration.record import Calibration
from mosear.calibration.run import calibrate_clips, ranges_of
from mosear.calibration.windows import select_windows
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.model.configuration import MosearConfig
from mosear.runtime.errors import MosearError, report


def calibrate_in_place(
    folder: Path, data: Path, source: str, max_audio_loss: float, with_ranges: bool, progress: Progress
) -> Calibration:
    """Calibrate a checkpoint on all windows of ``data``: reallocation into its config.json, the rest beside it.

    A checkpoint on its way to being published carries its own setting; any other keeps its files, and its calibration
    in a folder of its own (``mosear-export calibrate``).
    """
    record = calibrate_clips(
        folder,
        data,
        count=None,
        max_audio_loss=max_audio_loss,
        methods=METHODS if with_ranges else None,
        source=source,
        progress=progress,
    )
    config = MosearConfig.load(folder)
    dataclasses.replace(config, reallocation=record.reallocation_for(config)).save(folder)
    record = dataclasses.replace(record, checkpoint_sha256=checkpoint_hash(folder))
    record.save(folder)
    return record


def add_ranges(folder: Path, data: Path, output: Path, progress: Progress) -> Calibration:
    """Measure ranges and leave all else of a checkpoint's calibration as it is; the result goes to ``output``."""
    record = Calibration.load(folder, checkpoint_hash(folder))
    model = load_checkpoint(folder)
    model.reallocation = record.reallocation_for(model.config)
    selection = select_windows(model.config, data, None, seed=0)
    ranges, ranges_from = ranges_of(model, record.gates, selection, METHODS, progress)
    record = dataclasses.replace(record, ranges=ranges, ranges_from=ranges_from)
    record.save(output)
    return record


app = typer.Typer(add_completion=False)


@app.command()
def main(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint's folder; changed in place")],
    data: Annotated[Path, typer.Option(help="labelled windows (arrays, or clips) that training never saw")],
    source: Annotated[str, typer.Option(help="one line that says what they are")] = "synthetic conflict set",
    max_audio_loss: Annotated[float, typer.Option(min=0, max=1, help="bound on audio-aligned loss")] = 0.01,
    ranges: Annotated[bool, typer.Option(help="measure activation ranges and weight scales too")] = True,
    only_ranges: Annotated[bool, typer.Option("--only-ranges", help="measure these, keep all else as it is")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="with --only-ranges: where to write, not in place")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 2,
) -> None:
    """Choose reallocation's rate and threshold, measure gates and ranges, fit the temperature."""
    torch.set_num_threads(threads)
    try:
        folder = resolve(checkpoint)
        with Bars(console=Console(stderr=True)) as bars:
            progress = _progress(bars)
            if only_ranges:
                record = add_ranges(folder, data, output or folder, progress)
            else:
                record = calibrate_in_place(folder, data, source, max_audio_loss, ranges, progress)
    except MosearError as error:
        report(error)
        sys.exit(error.exit_code)
    _print(record)


def _progress(bars: Bars) -> Progress:
    tasks: dict[str, int] = {}

    def progress(stage: str, fraction: float) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=1.0)
        bars.update(tasks[stage], completed=fraction)  # type: ignore[arg-type]

    return progress


def _print(record: Calibration) -> None:
    console = Console()
    if record.trials:
        columns = list(record.trials[0])
        table = Table(*columns, title="reallocation on validation clips (rate 0: off)")
        for trial in record.trials:
            table.add_row(*(f"{trial[name]:.3f}" for name in columns))
        console.print(table)
    console.print(
        f"{record.clips} clips, temperature {record.temperature:.3f}, ranges of {len(record.ranges or {})} modules"
    )
    for note in record.notes:
        console.print(f"note: {note}")


if __name__ == "__main__":
    app()
