"""Reads a labels file: which clips there are, what each shows, and which modality tells the truth."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from mosear.runtime.errors import BadInput

COLUMNS: tuple[str, ...] = ("name", "subset", "label", "transcript")


@dataclass(frozen=True)
class LabelledClip:
    """One clip of a data set. transcript is None where the labels file leaves it empty."""

    path: Path
    label: str
    subset: str
    transcript: str | None


def read_labels(labels: Path, folder: Path | None = None) -> list[LabelledClip]:
    """The clips listed in the CSV file `labels`, in its order.

    Args:
        labels: CSV with a header, UTF-8 with or without a byte order mark. Columns name, subset, label and
            transcript are needed, in any order; others are ignored. A name is a path relative to `folder`.
        folder: where the clips are; by default the folder of the labels file.

    Raises:
        BadInput: no such file, not CSV text, a missing column, an empty or repeated name, an empty label, no
            rows, a name that leads out of the folder, or clips that are not there.
    """
    folder = labels.parent if folder is None else folder
    if not labels.is_file():
        raise BadInput(f"there is no labels file {labels}.", "Give the path of a CSV file of labels.")
    rows = _read_rows(labels)
    clips: dict[str, LabelledClip] = {}
    absent: list[str] = []
    for number, row in rows:
        name, subset, label, transcript = ((row[column] or "").strip() for column in COLUMNS)
        where = f"Line {number} of {labels}"
        if not name or not label:
            raise BadInput(f"{where} has no {'label' if name else 'name'}.", "Fill it in or remove the line.")
        if name in clips:
            raise BadInput(f"{where} lists {name} a second time.", "Keep one line for each clip.")
        path = folder / name
        if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
            raise BadInput(f"{where}: {name!r} leads out of {folder}.", "Use names relative to the clips' folder.")
        if not path.is_file():
            absent.append(name)
        clips[name] = LabelledClip(path, label, subset, transcript or None)
    if absent:
        listed = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise BadInput(
            f"{len(absent)} of the {len(clips)} clips in {labels} are not in {folder}: {listed}",
            "Check the folder, or remove their lines.",
        )
    return list(clips.values())


def _read_rows(labels: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of every row, after checking the header."""
    try:
        with labels.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise BadInput(
                    f"{labels} has no column {', '.join(missing)} (its header: {found}).",
                    f"Give it a header with {', '.join(COLUMNS)}.",
                )
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{labels} is not CSV text in UTF-8: {error}", "Save it as CSV in UTF-8.") from error
    if not rows:
        raise BadInput(f"{labels} lists no clips.", "Add a line for each clip.")
    return rows
