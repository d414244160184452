"""MER2023 (Lian et al., MM 2023): Chinese film and television clips, six emotions and a valence.

    ROOT/test3-label.csv     name,discrete,valence      (also train, test1, test2)
    ROOT/test3/NAME.mp4      or .avi

test1 is MER-MULTI, test2 MER-NOISE and test3 MER-SEMI, which has no valence. All clips may lie in ROOT/video instead,
as MERTools and Emotion-LLaMA put them. Transcripts are taken from the files that these two keep beside the clips.
"""

from __future__ import annotations

from pathlib import Path

from mosear.clips.benchmarks.gather import Gathering, LeftOutError
from mosear.clips.benchmarks.layout import folders_below, label_file, media_folders
from mosear.clips.benchmarks.media import MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.tables import Row, read_table
from mosear.clips.benchmarks.transcripts import read_transcripts
from mosear.clips.benchmarks.words import label_of, to_model
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.modality import LABELS

TITLE = "MER2023"
LICENCE = (
    "MER2023: academic research only, under its End User License Agreement, which binds what is derived from it too; "
    "samples must not be edited or uploaded."
)
HEADLINE = ("weighted_f1", "accuracy")
TESTS = ("test1", "test2", "test3")
SPLITS = ("train", *TESTS)
_TRACKS = {"multi": "test1", "noise": "test2", "semi": "test3"}
_REMEDY = "Give the folder that holds test3-label.csv, or a label file with --labels."


def read_mer2023(root: Path, options: ReadOptions) -> Benchmark:
    """Read the split that is asked for (also as its track: multi, noise, semi), else every test split that is there.

    A clip's subset is its split. With a label file of one's own, that file is read as the split.

    Raises:
        BadInput: no label file, a column that is missing, no folder of clips, no clip that can be used.
        UsageError: no such split.
    """
    parts = [_split(options.split)] if options.split is not None else _there(root) if options.labels is None else [None]
    gathering = Gathering(f"MER2023 in {root}")
    said = read_transcripts(root)
    for part in parts:
        path = options.labels or label_file(root, [f"{part}-label.csv"], _REMEDY)
        table = read_table(path)
        table.need("name", "discrete")
        own = [part] if part else []
        if options.media is None:
            media = media_folders(root, [*own, "video", "videos"])
        else:
            media = folders_below(options.media, own)
        for row in table.rows:
            _add(gathering, row, part, media, said)
    return Benchmark(
        name="mer2023",
        title=TITLE,
        labels=LABELS,
        clips=gathering.clips("Check that the clips lie in the folder, or give theirs with --media."),
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=HEADLINE,
        to_model=to_model(LABELS),
    )


def _split(word: str) -> str:
    split = _TRACKS.get(word.casefold(), word.casefold())
    if split not in SPLITS:
        raise UsageError(
            f"MER2023 has no split {word!r}.", f"Use one of {', '.join(SPLITS)}, or a track: {', '.join(_TRACKS)}."
        )
    return split


def _there(root: Path) -> list[str]:
    there = [split for split in TESTS if (root / f"{split}-label.csv").exists()]
    if not there and (root / "train-label.csv").exists():
        raise BadInput(
            f"{root} holds no test split: looked for {', '.join(f'{test}-label.csv' for test in TESTS)}.",
            "Read the training split with --split train, or add a test split.",
        )
    return there or [TESTS[-1]]


def _add(gathering: Gathering, row: Row, split: str | None, media: MediaFolders, said: dict[str, str]) -> None:
    def clip(name: str) -> BenchmarkClip:
        return BenchmarkClip(
            name=name,
            label=label_of(row.text("discrete"), LABELS),
            valence=_valence(row.text("valence")),
            media=media.find(row.line, name),
            subset=split,
            transcript=said.get(name),
        )

    gathering.add(row.line, lambda: row.name("name"), clip)


def _valence(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if value - value != 0:
        raise LeftOutError(f"valence {text!r} is no number")
    return value
