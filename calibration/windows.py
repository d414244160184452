"""Joint audio-visual-text windows to calibrate on: which clips can be used, and a balanced choice among them.

Calibration on text alone, or on noise, gives figures that look right and are wrong for every real clip. So a window
counts only when it has a picture and a sound that both hold something; what has not is left out and counted, and when
too few remain that is an error.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mosear.calibration.media_check import fault
from mosear.calibration.record import files_hash
from mosear.clips.labelled import read_labels
from mosear.model.configuration import MosearConfig, preprocessing_of
from mosear.model.data import FRAMES, LABELS_TABLE, SAMPLES, Windows
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.windows import read_windows

FEWEST = 16
"""Windows below which nothing is calibrated: ranges and mean gates of fewer are portraits of single clips."""

LABELS_FILE = "labels.csv"
_MEDIA = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
_REMEDY = "give clips that show a face and let a voice be heard, with their transcripts; see docs/calibration.md"
Media = tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]


@dataclass(frozen=True, eq=False)
class JointWindow:
    """A window with all that a model reads.

    Attributes:
        frames: uint8 [F, size, size, 3] RGB.
        samples: float32 [window_samples] mono, full scale 1.
        transcript: what is said, or None where it is not known.
        label: the true label, or None where it is not known.
        subset: the subset of the conflict set, or None where it is not known.
    """

    frames: NDArray[np.uint8]
    samples: NDArray[np.float32]
    transcript: str | None
    label: str | None
    subset: str | None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A clip that may be chosen, and what is known of it.

    Attributes:
        name: by which messages call it.
        transcript, label, subset: as in `JointWindow`.
        read: decodes its first window: frames and samples, None for a modality that it lacks.
        path: its file, None where many clips share one.
    """

    name: str
    transcript: str | None
    label: str | None
    subset: str | None
    read: Callable[[], Media]
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class Selection:
    """The windows that were chosen. They are decoded each time that they are read, so that any number fits in memory.

    Attributes:
        chosen: in the order in which they were drawn, so that the first of them are balanced too.
        left_out: how many were looked at and could not be used, by reason.
        sha256: of the clips and of what is known of them.
        seed: of the draw.
    """

    chosen: tuple[Candidate, ...]
    left_out: dict[str, int]
    sha256: str
    seed: int

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[JointWindow]:
        """Decode the windows from ``start`` up to ``stop``."""
        for candidate in self.chosen[start:stop]:
            frames, samples = candidate.read()
            assert frames is not None
            assert samples is not None
            yield JointWindow(frames, samples, candidate.transcript, candidate.label, candidate.subset)

    @property
    def transcripts(self) -> list[str | None]:
        """Of every window."""
        return [candidate.transcript for candidate in self.chosen]

    @property
    def labels(self) -> list[str | None]:
        """Of every window."""
        return [candidate.label for candidate in self.chosen]

    @property
    def subsets(self) -> list[str | None]:
        """Of every window."""
        return [candidate.subset for candidate in self.chosen]

    def coverage(self) -> dict[str, dict[str, int]]:
        """How many windows there are by known label and subset and with a transcript, and how many were left out."""
        return {
            "labels": dict(sorted(Counter(label for label in self.labels if label).items())),
            "subsets": dict(sorted(Counter(subset for subset in self.subsets if subset).items())),
            "transcripts": {"known": sum(bool(text) for text in self.transcripts)},
            "left_out": self.left_out,
        }


def select_windows(config: MosearConfig, source: Path, count: int | None, seed: int) -> Selection:
    """Choose windows to calibrate on, balanced over labels and subsets where these are known.

    Args:
        config: of the checkpoint; its preprocessing says what a window is.
        source: a folder of clips (with labels.csv, or bare media files of which nothing is known), or of arrays in the
            layout of ``mosear.model.data.Windows``. Each clip gives its first window.
        count: how many to choose at most; None for all that can be used.
        seed: of the draw. The same folder, count and seed give the same windows in the same order.

    Raises:
        UsageError: ``count`` is below ``FEWEST``.
        BadInput: the source can't be read, or doesn't hold enough different windows with both a picture and a sound, or
            all of them have the same label.
    """
    if count is not None and count < FEWEST:
        raise UsageError(f"{count} windows are too few to calibrate on", f"ask for {FEWEST} or more")
    from_arrays = (source / FRAMES).is_file()
    candidates = _from_arrays(config, source) if from_arrays else _from_folder(config, source)
    chosen, left_out = _draw(candidates, len(candidates) if count is None else count, seed)
    _check(source, chosen, left_out)
    if from_arrays:
        sha256 = files_hash([source / name for name in (FRAMES, SAMPLES, LABELS_TABLE)])
    else:
        sha256 = _clips_hash(chosen)
    return Selection(tuple(chosen), dict(sorted(left_out.items())), sha256, seed)


def _from_folder(config: MosearConfig, folder: Path) -> list[Candidate]:
    preprocessing = preprocessing_of(config)

    def reader(path: Path) -> Callable[[], Media]:
        def read() -> Media:
            window = next(iter(read_windows(path, preprocessing)))
            return window.frames, window.samples

        return read

    if (folder / LABELS_FILE).is_file():
        clips = read_labels(folder / LABELS_FILE)
        return [Candidate(c.path.name, c.transcript, c.label, c.subset or None, reader(c.path), c.path) for c in clips]
    if not folder.is_dir():
        raise BadInput(f"there is no folder of clips {folder}", "check the spelling of the path")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _MEDIA)
    if not paths:
        raise BadInput(f"{folder} holds neither {LABELS_FILE} nor video files", _REMEDY)
    return [Candidate(path.name, None, None, None, reader(path), path) for path in paths]


def _from_arrays(config: MosearConfig, folder: Path) -> list[Candidate]:
    windows, pre = Windows.open(folder), config.preprocessing
    wanted = (pre.frames, pre.frame_size, pre.frame_size, 3), (pre.window_samples,)
    found = windows.frames.shape[1:], windows.samples.shape[1:]
    if found != wanted:
        raise BadInput(
            f"the windows of {folder} have frames {found[0]} and samples {found[1]}, the model reads {wanted[0]} and "
            f"{wanted[1]}",
            "render or convert them for this checkpoint's preprocessing",
        )

    def reader(row: int) -> Callable[[], Media]:
        return lambda: (np.array(windows.frames[row]), windows.sound(np.array([row]))[0])

    columns = (windows.table[name].tolist() for name in ("transcript", "label", "subset"))
    return [
        Candidate(f"row {row}", transcript or None, label or None, subset or None, reader(row))
        for row, (transcript, label, subset) in enumerate(zip(*columns, strict=True))
    ]


def _draw(candidates: list[Candidate], count: int, seed: int) -> tuple[list[Candidate], Counter[str]]:
    """Draw from the stratum that has had the fewest, and of those from the label and subset that have."""
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        strata.setdefault((candidate.label or "", candidate.subset or ""), []).append(candidate)
    queues = {key: [strata[key][i] for i in rng.permutation(len(strata[key]))] for key in sorted(strata)}
    rank = dict(zip(queues, rng.permutation(len(queues)).tolist(), strict=True))
    taken: Counter[tuple[str, str]] = Counter()
    by_label: Counter[str] = Counter()
    by_subset: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    seen: set[bytes] = set()
    chosen: list[Candidate] = []
    while len(chosen) < count and queues:
        key = min(queues, key=lambda k: (taken[k], by_label[k[0]] + by_subset[k[1]], rank[k]))
        candidate = queues[key].pop()
        if not queues[key]:
            del queues[key]
        reason = _reason_against(candidate, seen)
        if reason is not None:
            left_out[reason] += 1
            continue
        chosen.append(candidate)
        taken[key] += 1
        by_label[key[0]] += 1
        by_subset[key[1]] += 1
    return chosen, left_out


def _reason_against(candidate: Candidate, seen: set[bytes]) -> str | None:
    frames, samples = candidate.read()
    reason = fault(frames, samples)
    if reason is not None or frames is None or samples is None:
        return reason
    content = hashlib.sha256(frames.tobytes() + samples.tobytes()).digest()
    if content in seen:
        return "repeated"
    seen.add(content)
    return None


def _check(source: Path, chosen: list[Candidate], left_out: Counter[str]) -> None:
    if len(chosen) < FEWEST:
        reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.most_common())
        found = f"{len(chosen)} different windows with a picture and a sound" if chosen else "no joint window"
        raise BadInput(
            f"{source} can't be calibrated on: {found}, of {FEWEST} needed"
            + (f" (left out: {reasons})" * bool(reasons)),
            _REMEDY,
        )
    labels = {candidate.label for candidate in chosen}
    if len(labels) == 1 and None not in labels:
        raise BadInput(
            f"all {len(chosen)} windows of {source} have the label {labels.pop()}: that calibrates for one emotion",
            "give clips of several labels",
        )


def _clips_hash(chosen: list[Candidate]) -> str:
    digest = hashlib.sha256()
    for candidate in sorted(chosen, key=lambda c: c.name):
        for part in (candidate.name, candidate.label, candidate.subset, candidate.transcript):
            digest.update((part or "").encode() + b"\0")
        if candidate.path is not None:
            digest.update(bytes.fromhex(files_hash([candidate.path])))
    return digest.hexdigest()
