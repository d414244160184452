"""``python -m mosear.calibration CHECKPOINT --data ARRAYS``: thresholds, gates, temperature."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from mosear.calibration.gates import measure_gates
from mosear.calibration.record import Calibration, files_hash
from mosear.calibration.temperature import fit_temperature
from mosear.calibration.thresholds import Trial, choose_reallocation
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.model.data import FRAMES, LABELS_TABLE, SAMPLES, Windows
from mosear.model.pretraining import encode_all
from mosear.model.scoring import score
from mosear.runtime.errors import MosearError, report


def calibrate(folder: Path, data: Path, source: str, max_audio_loss: float) -> list[Trial]:
    """Calibrate a checkpoint in place: reallocation into its config.json, the rest into its calibration files.

    Args:
        folder: the checkpoint.
        data: validation windows that training never saw.
        source: one line that says what they are.
        max_audio_loss: bound on the loss of accuracy on audio-aligned clips, 0 to 1.

    Returns:
        The settings of reallocation that were tried.
    """
    model, windows = load_checkpoint(folder), Windows.open(data)
    encoded = encode_all(model, windows, lambda stage, fraction, note: None)
    transcripts: list[str | None] = [str(text) or None for text in windows.table["transcript"]]
    true = windows.label_ids("label", model.config.labels)
    chosen, trials = choose_reallocation(
        model, transcripts, encoded, true, windows.table["subset"], max_audio_loss=max_audio_loss
    )
    model.reallocation = chosen
    gates = measure_gates(model, transcripts, encoded)
    temperature = fit_temperature(score(model, transcripts, encoded)[0].numpy(), true)
    replace(model.config, reallocation=chosen).save(folder)
    Calibration(
        checkpoint_sha256=checkpoint_hash(folder),
        clips=len(windows),
        clips_sha256=files_hash([data / name for name in (FRAMES, SAMPLES, LABELS_TABLE)]),
        source=source,
        temperature=temperature,
        gates=gates,
        trials=[trial.row() for trial in trials],
    ).save(folder)
    return trials


app = typer.Typer(add_completion=False)


@app.command()
def main(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint's folder; changed in place")],
    data: Annotated[Path, typer.Option(help="labelled windows that training never saw")],
    source: Annotated[str, typer.Option(help="one line that says what they are")] = "synthetic conflict set",
    max_audio_loss: Annotated[float, typer.Option(min=0, max=1, help="bound on audio-aligned loss")] = 0.01,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 2,
) -> None:
    """Choose reallocation's rate and threshold, measure the gates, fit the temperature."""
    try:
        torch.set_num_threads(threads)
        trials = calibrate(resolve(checkpoint), data, source, max_audio_loss)
    except MosearError as error:
        report(error)
        sys.exit(error.exit_code)
    columns = list(trials[0].row())
    table = Table(*columns, title="reallocation on validation clips (rate 0: off)")
    for trial in trials:
        table.add_row(*(f"{trial.row()[name]:.3f}" for name in columns))
    Console().print(table)


if __name__ == "__main__":
    app()
