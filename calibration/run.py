"""Calibration from clips, top to bottom: windows, reallocation, gates, temperature, ranges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mosear.calibration.encoding import Progress, encode
from mosear.calibration.gates import GateStatistics, measure_gates
from mosear.calibration.prompts import calibration_loop
from mosear.calibration.quantization import (
    METHODS,
    SMOOTHING,
    LinearRanges,
    block_of,
    measure_ranges,
    modelopt_version,
    passes,
)
from mosear.calibration.record import Calibration, Choice
from mosear.calibration.temperature import fit_temperature
from mosear.calibration.thresholds import Trial, choose_reallocation
from mosear.calibration.windows import Selection, select_windows
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint
from mosear.model.modeling import Mosear
from mosear.model.scoring import score
from mosear.runtime.errors import BadInput

COUNT = 512
"""Windows to calibrate on, where there are as many."""

RANGE_WINDOWS = 128
"""Windows to measure ranges on: the first of those chosen, which are balanced too."""

LEAST_LABELLED = 50
"""Labelled windows below which the temperature is not fitted."""

_OPPOSED = ("video_aligned", "audio_aligned")
_SUBSETS = (*_OPPOSED, "consistent")


def calibrate_clips(
    checkpoint: Path,
    clips: Path,
    *,
    count: int | None = COUNT,
    seed: int = 0,
    max_audio_loss: float = 0.01,
    methods: Collection[str] | None = METHODS,
    source: str | None = None,
    progress: Progress = lambda stage, fraction: None,
) -> Calibration:
    """Calibrate a checkpoint on a folder of clips; the checkpoint itself is not changed.

    Args:
        checkpoint: its folder.
        clips: media files with labels.csv, bare media files, or arrays; see `windows.select_windows`.
        count: windows to choose at most, None for all.
        seed: of the choice.
        max_audio_loss: bound on what reallocation may cost on audio-aligned clips, 0 to 1.
        methods: scales to measure, of ``quantization.METHODS``; empty for input ranges alone, None for no ranges.
        source: one line that says what the clips are; the folder's name when left out.
        progress: called with a stage's name and the fraction of it that is done.

    Returns:
        The record, to be saved where the caller wants it.

    Raises:
        UsageError: ``count`` is too small.
        BadInput: the checkpoint or the clips can't be used; see `windows.select_windows` for what is refused.
        Failed: ranges are wanted and modelopt is not installed.
    """
    if methods is not None:
        modelopt_version()  # better now than after an hour
    progress("windows", 0.0)
    model = load_checkpoint(checkpoint)
    selection = select_windows(model.config, clips, count, seed)
    progress("windows", 1.0)
    own = own_calibration(checkpoint)
    record = learn(model, selection, max_audio_loss, own, progress)
    ranges, ranges_from = (
        (None, {}) if methods is None else ranges_of(model, record.gates, selection, methods, progress)
    )
    return dataclasses.replace(
        record,
        checkpoint_sha256=checkpoint_hash(checkpoint),
        source=source or clips.resolve().name,
        ranges=ranges,
        ranges_from=ranges_from,
    )


def own_calibration(checkpoint: Path) -> Calibration | None:
    """What a checkpoint's own folder holds, or None where it holds none that fits."""
    try:
        return Calibration.load(checkpoint, checkpoint_hash(checkpoint))
    except BadInput:
        return None


def learn(
    model: Mosear, selection: Selection, max_audio_loss: float, own: Calibration | None, progress: Progress
) -> Calibration:
    """Everything but ranges; the checkpoint's hash and the source's name are left to the caller.

    What the clips can't tell, for want of labels, subsets or number, is kept as the checkpoint has it, with a note.

    Args:
        model: its reallocation becomes the one that is chosen.
        selection: the windows.
        max_audio_loss: see `calibrate_clips`.
        own: the calibration that the checkpoint had before, for what is kept.
        progress: as in `calibrate_clips`.
    """
    encoded = encode(model, selection, progress)
    rows = [i for i, label in enumerate(selection.labels) if label in model.config.labels]
    true = np.array([model.config.labels.index(str(selection.labels[i])) for i in rows], dtype=np.int64)
    notes = (
        [] if len(rows) == len(selection) else [f"{len(selection) - len(rows)} clips have none of the model's labels"]
    )
    choice, trials, note = _choose(model, selection, encoded, rows, true, max_audio_loss, progress)
    notes += note
    if choice is not None:
        model.reallocation = choice.setting
    progress("gates", 0.0)
    gates = measure_gates(model, selection.transcripts, encoded) if model.experts else GateStatistics({}, {})
    progress("gates", 1.0)
    if len(rows) >= LEAST_LABELLED and len(set(true.tolist())) > 1:
        transcripts = [selection.transcripts[i] for i in rows]
        scores = score(model, transcripts, (encoded[0][rows], encoded[1][rows]))[0].numpy()
        temperature = fit_temperature(scores, true)
    else:
        temperature = own.temperature if own else 1.0
        kept = "the checkpoint's own is kept" if own else "it stays at 1, which means not calibrated"
        notes.append(f"temperature: {len(rows)} labelled clips, {LEAST_LABELLED} are needed; {kept}")
    return Calibration(
        checkpoint_sha256="",
        clips=len(selection),
        clips_sha256=selection.sha256,
        source="",
        temperature=temperature,
        gates=gates,
        trials=[trial.row() for trial in trials],
        reallocation=choice,
        coverage=selection.coverage(),
        notes=tuple(notes),
    )


def _choose(
    model: Mosear,
    selection: Selection,
    encoded: tuple[Tensor, Tensor],
    labelled: list[int],
    true: NDArray[np.int64],
    max_audio_loss: float,
    progress: Progress,
) -> tuple[Choice | None, list[Trial], list[str]]:
    """The setting of reallocation, the trials, and why there is none; ``labelled`` are the rows that ``true`` is of."""
    kept = [place for place, row in enumerate(labelled) if selection.subsets[row] in _SUBSETS]
    subsets = np.array([selection.subsets[labelled[place]] for place in kept], dtype=np.str_)
    have = {name: int((subsets == name).sum()) for name in _SUBSETS}
    needed = clips_for_bound(max_audio_loss)
    if any(have[name] < needed for name in _OPPOSED) or not have["consistent"]:
        counts = ", ".join(f"{number} {name}" for name, number in have.items())
        why = f"{needed} labelled clips each of {' and '.join(_OPPOSED)} show a loss of {max_audio_loss:g}"
        return None, [], [f"reallocation: {why}, these are {counts}; the checkpoint's own setting is kept"]
    rows = [labelled[place] for place in kept]
    progress("reallocation", 0.0)
    chosen, trials = choose_reallocation(
        model,
        [selection.transcripts[row] for row in rows],
        (encoded[0][rows], encoded[1][rows]),
        true[kept],
        subsets,
        max_audio_loss,
    )
    progress("reallocation", 1.0)
    return Choice(chosen), trials, []


def clips_for_bound(max_audio_loss: float) -> int:
    """Clips of a subset that are needed to see a loss of accuracy of that size, so that one clip weighs no more.

    Never fewer than 30, and never more than 100, lest a strict bound be out of reach.
    """
    return min(100, max(30, math.ceil(1 / max_audio_loss))) if max_audio_loss > 0 else 100


def ranges_of(
    model: Mosear, gates: GateStatistics, selection: Selection, methods: Collection[str], progress: Progress
) -> tuple[dict[str, LinearRanges], dict[str, Any]]:
    """Ranges on the first ``RANGE_WINDOWS`` windows, and what they were measured on and with."""
    windows = list(selection.read(0, RANGE_WINDOWS))
    loop = calibration_loop(windows, progress, passes(methods))
    ranges = measure_ranges(model, gates, loop, methods)
    measured_from: dict[str, Any] = {
        "windows": len(windows),
        "clips_sha256": selection.sha256,
        "seed": selection.seed,
        "tool": modelopt_version(),
        "methods": ["max", *sorted(methods)],
    }
    if "smoothquant" in methods:
        measured_from["smoothing"] = SMOOTHING
    if "awq" in methods:
        sizes = sorted({len(r.awq) for r in ranges.values() if r.awq is not None})
        measured_from["int4_blocks"] = {str(size): block_of(size) for size in sizes}
    return ranges, measured_from
