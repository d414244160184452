"""CA-MER (Han et al., MM 2025): clips whose face and voice agree or disagree, in three subsets.

    ROOT/labels.csv      name,subset,label,…      or ca-mer.csv; .tsv, .json and .jsonl likewise
    ROOT/NAME            or NAME.mp4, also in ROOT/video, ROOT/videos or ROOT/clips

The subset is video_aligned, audio_aligned or consistent, in any case and with hyphens or spaces as well. Where a table
has labels of the picture alone, of the sound alone and of both together instead (columns q_v, q_a and q_av, or mapped
ones), the subset is derived from them. This project's own synthetic set (``python -m mosear.clips.synthetic``) has this
layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mosear.clips.benchmarks.columns import (
    FIELDS,
    clip_folders,
    closed_set,
    gather_rows,
    headline_of,
    open_table,
    resolve_columns,
)
from mosear.clips.benchmarks.gather import LeftOutError
from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark
from mosear.clips.benchmarks.tables import Row, Table
from mosear.clips.benchmarks.words import to_model
from mosear.runtime.errors import BadInput, UsageError

TITLE = "CA-MER"
LICENCE = (
    "CA-MER: research only, under its authors' agreement, which binds what is derived from it too; clips of this "
    "project's synthetic set are not bound by it."
)
HEADLINE = ("modality_gap", "accuracy")
SUBSETS = ("video_aligned", "audio_aligned", "consistent")
UNIMODAL: Mapping[str, tuple[str, ...]] = {
    "video_label": ("video_label", "q_v"),
    "audio_label": ("audio_label", "q_a"),
    "joint_label": ("joint_label", "q_av"),
}
"""More fields, from which a subset is derived, and their usual columns."""

_REMEDY = "Give the folder that holds labels.csv, or a table with --labels."
_CHECK = "Check the table, or give the folder of the clips with --media."


def read_ca_mer(root: Path, options: ReadOptions) -> Benchmark:
    """Read the three subsets.

    Where the subset is derived and no column of labels is there, the joint label is the truth.

    Raises:
        BadInput: no table, a column that is missing, a name that leads out of the folder, no clip that can be used.
        UsageError: a field that there isn't, a subset to be read and derived at once, two label files.
    """
    table, folder = open_table(root, options, ["labels", "ca-mer", "ca_mer"], _REMEDY)
    columns = resolve_columns(table, options.columns, {**FIELDS, **UNIMODAL})
    derived = _is_derived(table, columns, options.columns)

    def part_of(row: Row) -> tuple[str, str | None]:
        if derived:
            video, audio, joint = (row.text(columns[field]).casefold() for field in UNIMODAL)
            return derive_subset(video, audio, joint), joint
        return subset_of(row.text(columns["subset"])), None

    media = clip_folders(folder, options)
    gathering = gather_rows(table, table.rows, columns, options.separator, media, part_of)
    clips = gathering.clips(_CHECK)
    labels = closed_set(clips)
    return Benchmark(
        name="ca-mer",
        title=TITLE,
        labels=labels,
        clips=clips,
        skipped=gathering.skipped(),
        licence=LICENCE,
        headline=headline_of(clips, HEADLINE),
        to_model=to_model(labels),
    )


def subset_of(word: str) -> str:
    """A subset as CA-MER's, however it is spelled.

    Raises:
        LeftOutError: it is none of the three.
    """
    plain = "".join(letter for letter in word.casefold() if letter not in " -_")
    for subset in SUBSETS:
        if plain == subset.replace("_", ""):
            return subset
    raise LeftOutError(f"subset {word!r} is none of {', '.join(SUBSETS)}" if word else "it has no subset")


def derive_subset(video: str, audio: str, joint: str) -> str:
    """The subset by the labels that people gave to the picture alone, the sound alone and both together: the modality
    whose label is the joint one carries the true emotion, and both do where all three agree.

    This is CA-MER's rule as other papers tell it.

    Raises:
        LeftOutError: one is missing, or neither modality has the joint label.
    """
    if not (video and audio and joint):
        raise LeftOutError("one of its labels of picture, sound and both is missing")
    if video == joint:
        return "consistent" if audio == joint else "video_aligned"
    if audio == joint:
        return "audio_aligned"
    if video == audio:
        raise LeftOutError(
            f"picture and sound are both {video}, together they are {joint}: no modality is the true one"
        )
    raise LeftOutError(f"picture ({video}), sound ({audio}) and both ({joint}) all differ")


def _is_derived(table: Table, columns: Mapping[str, str], mapped: Mapping[str, str]) -> bool:
    asked = [field for field in UNIMODAL if field in mapped]
    if asked and "subset" in mapped:
        raise UsageError(
            f"the subset can be read or derived, not both: subset and {', '.join(asked)} are mapped.",
            "Map either subset, or video_label, audio_label and joint_label.",
        )
    if "subset" in columns and not asked:
        return False
    missing = [field for field in UNIMODAL if field not in columns]
    if not missing:
        return True
    header = ", ".join(table.columns) or "nothing"
    raise BadInput(
        f"{table.path} has no column of {', '.join(missing)} to derive a subset from (its header: {header})."
        if asked
        else f"{table.path} has no column subset (its header: {header}).",
        "Name its columns with --column subset=COLUMN, or with video_label=, audio_label= and joint_label=.",
    )
