"""The table base / +MoSE / +AR / both on the three subsets of the conflict set, over several checkpoints.

    python benchmarks/conflict_table.py CHECKPOINT... --validation ARRAYS --test ARRAYS [-o FILE]

Each checkpoint is one training seed. Reallocation's rate and threshold are chosen on the validation windows only, once
for the bare backbone and once for the backbone with experts. Prints Markdown; ``-o`` saves every figure as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from mosear.calibration.thresholds import Accuracy, accuracy_by_subset, choose_reallocation
from mosear.model.checkpoint import load_checkpoint
from mosear.model.data import Windows
from mosear.model.modeling import Mosear
from mosear.model.pretraining import encode_all
from mosear.model.reallocation import Reallocation
from mosear.model.scoring import score

SUBSETS = ("video_aligned", "audio_aligned", "consistent")


class Set:
    """Windows with what the frozen encoders of one checkpoint make of them."""

    def __init__(self, model: Mosear, folder: Path) -> None:
        windows = Windows.open(folder)
        self.encoded = encode_all(model, windows, lambda stage, fraction, note: None)
        self.transcripts: list[str | None] = [str(text) or None for text in windows.table["transcript"]]
        self.true = windows.label_ids("label", model.config.labels)
        self.subsets = windows.table["subset"]

    def accuracy(self, model: Mosear, reallocation: Reallocation | None) -> Accuracy:
        """Accuracy of ``model`` by subset with this reallocation."""
        model.reallocation = reallocation
        predicted = score(model, self.transcripts, self.encoded)[0].argmax(-1).numpy()
        return accuracy_by_subset(predicted, self.true, self.subsets)


def rows_of(checkpoint: str, validation: Path, test: Path) -> dict[str, dict[str, object]]:
    """The four rows of one checkpoint: accuracies on the test windows, and the reallocation that was chosen."""
    rows: dict[str, dict[str, object]] = {}
    model = load_checkpoint(checkpoint, with_experts=False)
    held_out, unseen = Set(model, validation), Set(model, test)  # the encoders are frozen: experts don't change them
    for experts, plain, reallocated in ((False, "base", "+AR"), (True, "+MoSE", "+MoSE +AR")):
        model = load_checkpoint(checkpoint, with_experts=experts)
        chosen, _ = choose_reallocation(model, held_out.transcripts, held_out.encoded, held_out.true, held_out.subsets)
        for name, setting in ((plain, None), (reallocated, chosen)):
            accuracy = unseen.accuracy(model, setting)
            rows[name] = {subset: getattr(accuracy, subset) for subset in SUBSETS} | {
                "gap": accuracy.gap,
                "rate": setting.rate if setting else 0.0,
                "threshold": setting.threshold if setting else None,
            }
    return {name: rows[name] for name in ("base", "+MoSE", "+AR", "+MoSE +AR")}


def main(
    checkpoints: Annotated[list[str], typer.Argument(help="one a seed, or a .json of figures that -o saved")],
    validation: Annotated[Path, typer.Option(help="windows to choose reallocation on")],
    test: Annotated[Path, typer.Option(help="unseen windows")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="save every figure as JSON")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Measure and print the table."""
    torch.set_num_threads(threads)
    figures: dict[str, dict[str, dict[str, object]]] = {}
    for checkpoint in checkpoints:
        if checkpoint.endswith(".json"):
            figures |= json.loads(Path(checkpoint).read_text(encoding="utf-8"))
        else:
            figures[checkpoint] = rows_of(checkpoint, validation, test)
    seeds = list(figures.values())
    print("| | video-aligned | audio-aligned | consistent | modality gap |\n|---|---|---|---|---|")
    for name in seeds[0]:
        cells = []
        for column in (*SUBSETS, "gap"):
            values = 100 * np.array([float(seed[name][column]) for seed in seeds])  # type: ignore[arg-type]
            cells.append(f"{values.mean():.1f} ± {values.std(ddof=1) if len(values) > 1 else 0:.1f}")
        print(f"| {name} | {' | '.join(cells)} |")
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
