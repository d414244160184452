"""DFEW (Jiang et al., MM 2020): film clips, seven emotions, five folds.

    ROOT/EmoLabel_DataSplit/test(single-labeled)/set_1.csv    video_name,label     to set_5.csv
    ROOT/Clip/original/1.mp4 or 00001.mp4                      also in folders part_1 to part_11
    ROOT/Clip/clip_224x224_avi/00001.avi
    ROOT/Clip/clip_224x224/00001/00001_00001.jpg               also in folders clip_224x224_part_1 to _11
    ROOT/Clip/clip_224x224_16f/00001/00001_00001.jpg

Labels are numbers: 1 happy, 2 sad, 3 neutral, 4 angry, 5 surprise, 6 disgust, 7 fear; 0 is a clip without a single
label. Of the folders of clips the first that is there is used, for only the original videos have sound.
"""

from __future__ import annotations

from pathlib import Path

from mosear.clips.benchmarks.folds import fold_sets
from mosear.clips.benchmarks.gather import Gathering, LeftOutError
from mosear.clips.benchmarks.layout import media_folders
from mosear.clips.benchmarks.media import MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.tables import Row, read_table
from mosear.clips.benchmarks.words import to_model

TITLE = "DFEW"
LICENCE = "DFEW: non-commercial research and education only, on application to its authors, who don't own the clips."
HEADLINE = ("uar", "war")
LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
CLIPS = (
    "Clip/original",
    "Clip/clip_224x224_avi",
    "Clip/clip_224x224",
    "Clip/jpg_256",
    "Clip/clip_224x224_16f",
)
_SETS = tuple(f"EmoLabel_DataSplit/test({words})" for words in ("single-labeled", "single_labeled"))
_REMEDY = "Give the folder that holds EmoLabel_DataSplit, one --fold that is there, or a set with --labels."
_WIDTH = 5


def read_dfew(root: Path, options: ReadOptions) -> Benchmark:
    """Read the test set of the fold that is asked for, else of all five. A clip's name is its number in five digits.

    With a label file of one's own, that file is read as the test set of ``options.fold`` (None: without folds).

    Raises:
        BadInput: no such fold, a set or column that is missing, no folder of clips, no clip that can be used.
    """
    gathering = Gathering(f"DFEW in {root}")
    sets = fold_sets(root, options, TITLE, lambda fold: [f"{place}/set_{fold}.csv" for place in _SETS], _REMEDY)
    media = media_folders(root, CLIPS, options.media, "*[Pp]art*")
    for fold, path in sets:
        table = read_table(path)
        table.need("video_name", "label")
        for row in table.rows:
            _add(gathering, row, fold, media)
    return Benchmark(
        name="dfew",
        title=TITLE,
        labels=LABELS,
        clips=gathering.clips("Check that the clips lie in the folder, or give theirs with --media."),
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=HEADLINE,
        to_model=to_model(LABELS),
    )


def _add(gathering: Gathering, row: Row, fold: int | None, media: MediaFolders) -> None:
    def clip(name: str) -> BenchmarkClip:
        number = row.whole("label")
        if not 1 <= number <= len(LABELS):
            raise LeftOutError(f"label {number} is none of 1 to {len(LABELS)}")
        found = media.find(row.line, name, str(int(name)))
        return BenchmarkClip(name=name, media=found, label=LABELS[number - 1], fold=fold)

    gathering.add(row.line, lambda: f"{row.whole('video_name'):0{_WIDTH}}", clip)
