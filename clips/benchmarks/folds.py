"""The test sets of a benchmark in folds, one label file each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mosear.clips.benchmarks.layout import label_file
from mosear.clips.benchmarks.options import ReadOptions
from mosear.runtime.errors import BadInput

FOLDS = 5
"""As many folds DFEW and MAFW have."""


def fold_sets(
    root: Path, options: ReadOptions, title: str, candidates: Callable[[int], Sequence[str]], remedy: str
) -> list[tuple[int | None, Path]]:
    """(fold, label file) of the fold that is asked for, else of every fold; or the label file that is given, as the
    fold that is asked for, None without.

    Args:
        candidates: by fold, the paths below `root` where its label file may be.

    Raises:
        BadInput: there is no such fold, or a label file is missing.
    """
    if options.fold is not None and not 1 <= options.fold <= FOLDS:
        raise BadInput(f"{title} has no fold {options.fold}.", f"Its folds are 1 to {FOLDS}.")
    if options.labels is not None:
        return [(options.fold, options.labels)]
    folds = range(1, FOLDS + 1) if options.fold is None else [options.fold]
    return [(fold, label_file(root, candidates(fold), remedy)) for fold in folds]
