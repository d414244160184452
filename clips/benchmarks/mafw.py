"""MAFW (Liu et al., MM 2022): clips of films, television and short videos, eleven emotions, five folds.

    ROOT/Train & Test Set/single/no_caption/set_1/test.txt    00025.mp4 anger      to set_5
    ROOT/data/clips/00025.mp4
    ROOT/data/frames/00025/*.png                              or frames, where there are no clips

Anxiety is taken for ``worried`` as fear is (see ``words.py``); contempt, helplessness, disappointment and disgust have
no counterpart.
"""

from __future__ import annotations

import os
from pathlib import Path

from mosear.clips.benchmarks.folds import fold_sets
from mosear.clips.benchmarks.gather import Gathering, LeftOutError
from mosear.clips.benchmarks.layout import media_folders
from mosear.clips.benchmarks.media import MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.tables import read_words
from mosear.clips.benchmarks.words import label_of, to_model

TITLE = "MAFW"
LICENCE = (
    "MAFW: non-commercial research only, on application to its authors; no part of it may be passed on, and neither "
    "clips nor what is derived from them used commercially."
)
HEADLINE = ("uar", "war")
LABELS = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)
CLIPS = ("data/clips", "clips", "data/frames", "frames")
# Some users rename the folder, whose spaces and ampersand trouble shells.
_SETS = tuple(f"{name}/single/no_caption" for name in ("Train & Test Set", "Train_Test_Set", "split", "anno"))
_REMEDY = "Give the folder that holds 'Train & Test Set', one --fold that is there, or a set with --labels."


def read_mafw(root: Path, options: ReadOptions) -> Benchmark:
    """Read the test set of the fold that is asked for, else of all five. A clip's name is its file's without ending.

    With a label file of one's own, that file is read as the test set of ``options.fold`` (None: without folds).

    Raises:
        BadInput: no such fold, a set that is missing, no folder of clips, no clip that can be used.
    """
    gathering = Gathering(f"MAFW in {root}")
    sets = fold_sets(root, options, TITLE, lambda fold: [f"{place}/set_{fold}/test.txt" for place in _SETS], _REMEDY)
    media = media_folders(root, CLIPS, options.media)
    for fold, path in sets:
        for line, words in read_words(path):
            _add(gathering, line, words, fold, media)
    return Benchmark(
        name="mafw",
        title=TITLE,
        labels=LABELS,
        clips=gathering.clips("Check that the clips lie in the folder, or give theirs with --media."),
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=HEADLINE,
        to_model=to_model(LABELS),
    )


def _add(gathering: Gathering, line: str, words: list[str], fold: int | None, media: MediaFolders) -> None:
    def clip(name: str) -> BenchmarkClip:
        if len(words) < 2:
            raise LeftOutError("it has no label")
        label = label_of(words[1], LABELS)
        return BenchmarkClip(name=name, media=media.find(line, words[0], name), label=label, fold=fold)

    gathering.add(line, lambda: os.path.splitext(words[0])[0], clip)
