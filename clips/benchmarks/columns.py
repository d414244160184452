"""Any table of clips, CSV or JSON, through a mapping of its columns.

    ROOT/labels.csv      name,label,…      (or .tsv, .json, .jsonl); ROOT may also be the table itself
    ROOT/NAME            or NAME.mp4, also in ROOT/video, ROOT/videos or ROOT/clips

Columns with the names of ``FIELDS`` are found by themselves, others are mapped. A clip needs a name, and a label or
open-vocabulary labels. Labels are taken in lower case.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mosear.clips.benchmarks.gather import Gathering, LeftOutError
from mosear.clips.benchmarks.layout import folders_below, label_file
from mosear.clips.benchmarks.media import MediaFolders
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.tables import ENDINGS, Row, Table, read_table, whole_number
from mosear.clips.benchmarks.words import to_model
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.modality import LABELS

TITLE = "CSV or JSON"
LICENCE = "The licence of these clips is yours to know."
HEADLINE = ("weighted_f1", "accuracy")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "label": ("label",),
    "labels": ("labels",),
    "subset": ("subset",),
    "transcript": ("transcript",),
    "reference": ("reference", "reason"),
    "speaker": ("speaker",),
    "fold": ("fold",),
    "media": ("media",),
}
"""Field → the columns that hold it unless another is mapped, the first that is there.

name: of the clip. label: one of a closed set. labels: open-vocabulary ones. subset: the part that a clip belongs to.
reference: a written account of the emotion. media: where the clip lies, when its name doesn't tell.
"""

_REMEDY = "Give the folder that holds labels.csv, or a table with --labels."
_CHECK = "Check the table, or give the folder of the clips with --media."


def read_columns(root: Path, options: ReadOptions) -> Benchmark:
    """Read a table of clips; a split keeps the clips of that subset, a fold those of that fold.

    Raises:
        BadInput: no table, a column that is missing, a name that leads out of the folder, no clip that can be used.
        UsageError: a field that there isn't, or two label files.
    """
    table, folder = open_table(root, options, ["labels"], _REMEDY)
    columns = resolve_columns(table, options.columns, FIELDS)
    rows = _selected(table, columns, options)
    media = clip_folders(folder, options)
    gathering = gather_rows(table, rows, columns, options.separator, media)
    clips = gathering.clips(_CHECK)
    labels = closed_set(clips)
    return Benchmark(
        name="csv",
        title=TITLE,
        labels=labels,
        clips=clips,
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=headline_of(clips, HEADLINE),
        to_model=to_model(labels),
    )


def open_table(root: Path, options: ReadOptions, stems: Sequence[str], remedy: str) -> tuple[Table, Path]:
    """(the table, the folder that its names are relative to): ``root`` itself where it is a file, the label file that
    is given, or one of ``stems`` with an ending of a table.

    Raises:
        BadInput: there is no table, or it can't be read.
        UsageError: root is a table, and another is given.
    """
    if root.is_file():
        if options.labels is not None:
            raise UsageError(f"{root} is a label file, and {options.labels} is another.", "Give only one of them.")
        return read_table(root), root.parent
    candidates = [stem + ending for stem in stems for ending in ENDINGS]
    looked = f"{' or '.join(stems)} with the ending {', '.join(ENDINGS)}"
    return read_table(options.labels or label_file(root, candidates, remedy, looked)), root


def clip_folders(folder: Path, options: ReadOptions) -> MediaFolders:
    """Where a table's clips may lie."""
    return folders_below(options.media or folder, ("video", "videos", "clips"))


def resolve_columns(table: Table, mapping: Mapping[str, str], fields: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """By field, its column: the mapped one, else the first usual one that is there. A field without one is missing.

    Raises:
        BadInput: a mapped column is missing, there is no column of names, or none of labels.
        UsageError: a field that there isn't.
    """
    columns = {}
    for field, column in mapping.items():
        if field not in fields:
            near = difflib.get_close_matches(field, fields, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(f"there is no field {field!r} to map a column to.", f"{hint}Use {', '.join(fields)}.")
        table.need(column, remedy=f"Map {field} to one of its columns.")
        columns[field] = column
    for field, usual in fields.items():
        there = next((column for column in usual if table.has(column)), None)
        if there and field not in columns:
            table.need(there)
            columns[field] = there
    header = ", ".join(table.columns) or "nothing"
    for wanted in (("name",), ("label", "labels", "joint_label")):
        known = [field for field in wanted if field in fields]
        if not any(field in columns for field in known):
            raise BadInput(
                f"{table.path} has no column {' or '.join(known)} (its header: {header}).",
                f"Name its column with --column {known[0]}=COLUMN.",
            )
    return columns


def gather_rows(
    table: Table,
    rows: Sequence[Row],
    columns: Mapping[str, str],
    separator: str | None,
    media: MediaFolders,
    part_of: Callable[[Row], tuple[str | None, str | None]] | None = None,
) -> Gathering:
    """The clips of these rows.

    Args:
        part_of: gives (subset, label where no column of labels says it) of a row; by default the column's own subset.

    Raises:
        BadInput: a name leads out of the folder.
        UsageError: a separator for a column that there isn't.
    """
    if separator is not None and "labels" not in columns:
        raise UsageError(
            f"{table.path} has no column of several labels to part with a separator.",
            "Name it with --column labels=COLUMN, or leave --separator out.",
        )
    gathering = Gathering(str(table.path))

    def add(row: Row) -> None:
        def cell(field: str) -> str | None:
            return (row.text(columns[field]) or None) if field in columns else None

        def clip(name: str) -> BenchmarkClip:
            subset, label = part_of(row) if part_of else (cell("subset"), None)
            label = (cell("label") or label or "").casefold() or None
            labels = row.words(columns["labels"], separator) if "labels" in columns else ()
            if not label and not labels:
                raise LeftOutError("it has no label")
            fold = cell("fold")
            return BenchmarkClip(
                name=name,
                media=media.find(row.line, cell("media") or name),
                label=label,
                labels=tuple(dict.fromkeys(each.casefold() for each in labels)),
                subset=subset,
                fold=None if fold is None else whole_number(fold, "fold"),
                speaker=cell("speaker"),
                transcript=cell("transcript"),
                reference=cell("reference"),
            )

        gathering.add(row.line, lambda: row.name(columns["name"]), clip)

    for row in rows:
        add(row)
    return gathering


def closed_set(clips: Sequence[BenchmarkClip]) -> tuple[str, ...]:
    """The labels of clips as a closed set: MER2023's six words in their order where no other is used, else the labels
    by name; none where no clip has one."""
    used = {clip.label for clip in clips if clip.label is not None}
    return LABELS if used and used <= set(LABELS) else tuple(sorted(used))


def headline_of(clips: Sequence[BenchmarkClip], closed: tuple[str, ...]) -> tuple[str, ...]:
    """The figures ``closed`` where clips have a label, and the open-vocabulary one where they have open ones."""
    told = closed if any(clip.label is not None for clip in clips) else ()
    return (*told, "open_vocabulary") if any(clip.labels for clip in clips) else told


def _selected(table: Table, columns: Mapping[str, str], options: ReadOptions) -> list[Row]:
    rows = list(table.rows)
    for field, wanted in (("subset", options.split), ("fold", options.fold)):
        if wanted is None:
            continue
        option = "split" if field == "subset" else field
        if field not in columns:
            raise BadInput(
                f"{table.path} has no column {field} to tell the {option}s (its header: {', '.join(table.columns)}).",
                f"Name its column with --column {field}=COLUMN, or leave --{option} out.",
            )
        kept = [row for row in rows if _is(row, columns[field], wanted)]
        if rows and not kept:
            there = sorted({_said(row, columns[field]) for row in rows} - {""})
            raise BadInput(
                f"{table.path} has no clip of {option} {wanted}.", f"Its {option}s are {', '.join(there) or 'none'}."
            )
        rows = kept
    return rows


def _is(row: Row, column: str, wanted: str | int) -> bool:
    try:
        said = row.text(column)
        if isinstance(wanted, str):
            return said.casefold() == wanted.casefold()
        return bool(said) and whole_number(said, column) == wanted
    except LeftOutError:
        # Kept, to be told among those that are left out.
        return True


def _said(row: Row, column: str) -> str:
    try:
        return row.text(column)
    except LeftOutError:
        return ""
