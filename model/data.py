"""Training data: windows as memory-mapped arrays with a table of labels beside them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mosear.runtime.errors import BadInput

FRAMES, SAMPLES, LABELS_TABLE = "frames.npy", "samples.npy", "labels.csv"
VISUAL_CUES, AUDIO_CUES = "visual_cues.npy", "audio_cues.npy"
COLUMNS = (
    "subset",
    "label",
    "visual_label",
    "audio_label",
    "visual_intensity",
    "audio_intensity",
    "transcript",
    "reason",
)


@dataclass(frozen=True)
class Windows:
    """Labelled windows.

    Attributes:
        frames: uint8 [N, F, H, W, 3], RGB.
        samples: int16 [N, window_samples], 16 kHz mono, full scale 32767.
        visual_cues: float32 [N, F, U], what each frame shows in detail: activations of facial action units.
        audio_cues: float32 [N, P], how each window is spoken: parameters of its prosody.
        table: one string array [N] a column of ``COLUMNS``; an empty transcript means that it is not known.
    """

    frames: NDArray[np.uint8]
    samples: NDArray[np.int16]
    visual_cues: NDArray[np.float32]
    audio_cues: NDArray[np.float32]
    table: dict[str, NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.frames)

    def sound(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Samples of ``rows`` as float32 in [-1, 1], shape [len(rows), window_samples]."""
        return self.samples[rows].astype(np.float32) / 32767.0

    def label_ids(self, column: str, labels: tuple[str, ...]) -> NDArray[np.int64]:
        """Index into ``labels`` of each row's value in ``column``, shape [N]."""
        return np.array([labels.index(value) for value in self.table[column]], dtype=np.int64)

    @classmethod
    def open(cls, folder: Path) -> Windows:
        """Map the arrays of ``folder`` into memory.

        Raises:
            BadInput: a file or a column is missing, or the lengths differ.
        """
        remedy = "make it with `python -m mosear.clips.synthetic.arrays OUT --count N --seed S`"
        try:
            names = (FRAMES, SAMPLES, VISUAL_CUES, AUDIO_CUES)
            arrays = [np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in names]
            with (folder / LABELS_TABLE).open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError) as error:
            raise BadInput(f"{folder} does not hold training windows: {error}", remedy) from error
        if not rows or any(len(array) != len(rows) for array in arrays):
            lengths = ", ".join(f"{len(array)} in {name}" for name, array in zip(names, arrays, strict=True))
            raise BadInput(f"{folder} is incomplete: {len(rows)} labels, {lengths}", remedy)
        if missing := [name for name in COLUMNS if name not in rows[0]]:
            raise BadInput(f"{folder / LABELS_TABLE} has no column {', '.join(missing)}", remedy)
        frames, samples, visual_cues, audio_cues = arrays
        return cls(
            frames, samples, visual_cues, audio_cues, {name: np.array([row[name] for row in rows]) for name in COLUMNS}
        )
