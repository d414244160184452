"""The datasets that can be read, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mosear.clips.benchmarks import ca_mer, columns, dfew, emer, mafw, meld, mer2023, ravdess
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark
from mosear.runtime.errors import BadInput, UsageError

__all__ = ["DATASETS", "ReadOptions", "Reader", "read_benchmark"]

_FLAGS = {name: f"--{name}" for name in ("split", "fold", "labels", "media", "separator")} | {"columns": "--column"}


@dataclass(frozen=True)
class Reader:
    """What a dataset is, and how it is read.

    Attributes:
        title: as its authors write it.
        description: in one line.
        layout: the files that it is read from, in one line.
        measured_by: names of the figures that its users report, the first one first.
        takes: names of the ``ReadOptions`` that mean something for it.
        read: reads it.
    """

    title: str
    description: str
    layout: str
    measured_by: tuple[str, ...]
    takes: frozenset[str]
    read: Callable[[Path, ReadOptions], Benchmark]


DATASETS: Mapping[str, Reader] = {
    "ca-mer": Reader(
        ca_mer.TITLE,
        "clips whose face and voice agree or disagree, in three subsets; the synthetic set of this project too",
        "ROOT/labels.csv with name, subset, label; ROOT/NAME",
        ca_mer.HEADLINE,
        frozenset({"labels", "columns", "media", "separator"}),
        ca_mer.read_ca_mer,
    ),
    "mer2023": Reader(
        mer2023.TITLE,
        "Chinese film and television clips, six emotions; test1 (MULTI), test2 (NOISE), test3 (SEMI)",
        "ROOT/test3-label.csv with name, discrete, valence; ROOT/test3/NAME.mp4 or .avi",
        mer2023.HEADLINE,
        frozenset({"split", "labels", "media"}),
        mer2023.read_mer2023,
    ),
    "dfew": Reader(
        dfew.TITLE,
        "film clips, seven emotions, five folds",
        "ROOT/EmoLabel_DataSplit/test(single-labeled)/set_1.csv with video_name, label; ROOT/Clip/original/1.mp4 or "
        "ROOT/Clip/clip_224x224/00001/",
        dfew.HEADLINE,
        frozenset({"fold", "labels", "media"}),
        dfew.read_dfew,
    ),
    "emer": Reader(
        emer.TITLE,
        "clips of MER2023 with a written account of the emotion and its clues; v1 and v2",
        "ROOT/gt-eng.csv with names, emotions, subtitles, reasons (v1) or ROOT/final-EMER-reason.csv with name, "
        "chinese, english (v2); ROOT/video/NAME.mp4 or .avi",
        emer.HEADLINE,
        frozenset({"split", "labels", "media"}),
        emer.read_emer,
    ),
    "mafw": Reader(
        mafw.TITLE,
        "clips of films, television and short videos, eleven emotions, five folds",
        "ROOT/Train & Test Set/single/no_caption/set_1/test.txt with clip and label; ROOT/data/clips/00001.mp4 or "
        "ROOT/data/frames/00001/",
        mafw.HEADLINE,
        frozenset({"fold", "labels", "media"}),
        mafw.read_mafw,
    ),
    "ravdess": Reader(
        ravdess.TITLE,
        "two sentences, spoken and sung by 24 actors with eight emotions",
        "ROOT/Actor_12/01-01-06-01-02-01-12.mp4, in any folders",
        ravdess.HEADLINE,
        frozenset({"split"}),
        ravdess.read_ravdess,
    ),
    "meld": Reader(
        meld.TITLE,
        "utterances of a television series with their speakers, seven emotions",
        "ROOT/test_sent_emo.csv; ROOT/test/output_repeated_splits_test/dia0_utt0.mp4",
        meld.HEADLINE,
        frozenset({"split", "labels", "media"}),
        meld.read_meld,
    ),
    "csv": Reader(
        columns.TITLE,
        "any table of clips, CSV or JSON, through a mapping of its columns",
        "ROOT/labels.csv with name and label; ROOT/NAME",
        columns.HEADLINE,
        frozenset({"split", "fold", "labels", "columns", "media", "separator"}),
        columns.read_columns,
    ),
}


def read_benchmark(dataset: str, root: Path, options: ReadOptions) -> Benchmark:
    """Read a dataset: its clips, those that can't be evaluated and why, and its licence.

    That a clip is there and isn't empty is checked; whether it can be decoded shows when it is.

    Args:
        dataset: a name in ``DATASETS``.
        root: its folder; for ca-mer and csv also the table itself.
        options: what differs from its own layout.

    Raises:
        UsageError: no such dataset, or an option that it does not take.
        BadInput: a part of the layout is missing or broken, a name leads out of the folder, no clip can be used.
    """
    reader = DATASETS.get(dataset)
    if reader is None:
        near = difflib.get_close_matches(dataset.casefold(), DATASETS, 1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(f"there is no dataset {dataset!r}.", f"{hint}Use one of {', '.join(DATASETS)}.")
    foreign = [flag for name, flag in _FLAGS.items() if name in options.given() - reader.takes]
    if foreign:
        takes = ", ".join(flag for name, flag in _FLAGS.items() if name in reader.takes)
        raise UsageError(f"{dataset} takes no {', '.join(foreign)}.", f"Leave it out; {dataset} takes {takes}.")
    if options.separator == "":
        raise UsageError("the separator is empty.", "Give the characters that stand between two labels.")
    try:
        if not root.is_dir() and not (root.is_file() and "columns" in reader.takes):
            what = "is a file, not a folder" if root.exists() else "is not there"
            raise BadInput(f"{root} {what}.", f"Give its folder: {reader.layout}.")
        return reader.read(root, options)
    except OSError as error:
        where = error.filename or root
        raise BadInput(f"{where} can't be read: {error.strerror}.", "Check the path and its permissions.") from error
