"""What every reader gives: clips with what is known of them, those that were left out and why, and the licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class BenchmarkClip:
    """One clip of a benchmark.

    Attributes:
        name: as the benchmark's label file has it; unique among its clips.
        media: a media file, or a folder of pictures (``*.jpg`` or ``*.png``, in the order of their names' numbers).
        label: in the benchmark's own words; None where it has only open-vocabulary labels.
        labels: open-vocabulary labels; empty where it has none.
        subset: ``video_aligned``, ``audio_aligned`` or ``consistent`` (CA-MER), else the benchmark's own part; None
            without parts.
        fold: from 1; the fold in whose test set the clip is. None without folds.
        speaker: who speaks, as the benchmark numbers them, or None.
        transcript: what is said, or None.
        reference: a written description with reasons (EMER), or None.
        valence: from the label file (MER2023), or None.
    """

    name: str
    media: Path
    label: str | None = None
    labels: tuple[str, ...] = ()
    subset: str | None = None
    fold: int | None = None
    speaker: str | None = None
    transcript: str | None = None
    reference: str | None = None
    valence: float | None = None


@dataclass(frozen=True)
class Skipped:
    """A clip that can't be evaluated, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, read.

    Attributes:
        name: as on the command line: ``ca-mer``, ``mer2023``, …
        title: as its authors write it.
        labels: the closed set, in its own words and order; empty when it has only open-vocabulary labels.
        clips: in the order of the label file.
        skipped: clips of the label file that are not among them.
        licence: what its users must keep to, in one line.
        headline: names of the figures that its users report, the first one first, as ``weighted_f1``.
        to_model: by label of the benchmark, the word of MER2023's set (``mosear.runtime.modality.LABELS``) that is
            closest to it; labels without one are missing. A choice of this project where the words differ.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    clips: tuple[BenchmarkClip, ...]
    skipped: tuple[Skipped, ...]
    licence: str
    headline: tuple[str, ...]
    to_model: Mapping[str, str] = field(default_factory=dict)
