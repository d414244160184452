"""What may be chosen about the reading of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ReadOptions:
    """Choices that differ from a benchmark's own layout. Each dataset takes only some of them (``Reader.takes``).

    Attributes:
        split: the part to read, in the benchmark's own words.
        fold: the fold whose test set is read, from 1; None for all of them.
        labels: a label file elsewhere than in the benchmark's folder.
        columns: field of ours → name of the column in the label file; the fields are
            ``mosear.clips.benchmarks.columns.FIELDS``.
        media: a folder of clips elsewhere than in the benchmark's folder.
        separator: what stands between several labels in one cell; by default a comma, a semicolon or an upright bar.
    """

    split: str | None = None
    fold: int | None = None
    labels: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    media: Path | None = None
    separator: str | None = None

    def given(self) -> set[str]:
        """Names of the options that were set."""
        return {name for name, value in vars(self).items() if value is not None and (name != "columns" or value)}
