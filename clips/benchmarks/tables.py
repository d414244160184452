"""Label files as rows: CSV with any of the usual separators, JSON, JSON Lines, and lines of words."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosear.clips.benchmarks.gather import LeftOutError
from mosear.runtime.errors import BadInput

ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
"""Endings of the files that ``read_table`` reads."""

_LIST = re.compile(r"[,;|]")
_QUOTES = "'\" \t"
# Not str.strip's own: it takes U+0085 for a space, which stands for an ellipsis in MELD's first release.
_SPACE = " \t\r\n\v\f\u00a0\u3000\ufeff"
_MOST_DIGITS = 12


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        line: where it stands, as ``line 3 of labels.csv``.
        cells: by column, whose name is in lower case.
        fault: why its cells can't be told apart; "" when they can.
    """

    line: str
    cells: Mapping[str, Any]
    fault: str = ""

    def text(self, column: str) -> str:
        """A cell as text without white space around it; "" where the row has none.

        Raises:
            LeftOutError: the cell holds a list or an object, or the row has a fault.
        """
        value = self._value(column)
        if value is None:
            return ""
        if isinstance(value, (list, dict)):
            raise LeftOutError(f"column {column} holds no plain text")
        return str(value).strip(_SPACE)

    def name(self, column: str) -> str:
        """A cell as the name of a clip.

        Raises:
            LeftOutError: it is empty, or no text.
        """
        name = self.text(column)
        if not name:
            raise LeftOutError("it has no name")
        return name

    def words(self, column: str, separator: str | None = None) -> tuple[str, ...]:
        """The texts in a cell, each once: a JSON list, or text such as ``happy, proud`` or ``['happy', 'proud']``.

        Raises:
            LeftOutError: the cell holds an object, or a list of something other than texts, or the row has a fault.
        """
        value = self._value(column)
        if isinstance(value, list):
            if not all(isinstance(each, str) for each in value):
                raise LeftOutError(f"column {column} holds a list of something other than texts")
            parts = value
        else:
            text = self.text(column)
            if text.startswith("[") and text.endswith("]"):
                text = text[1:-1]
            parts = text.split(separator) if separator else _LIST.split(text)
        stripped = (part.strip(_QUOTES) for part in parts)
        return tuple(dict.fromkeys(part for part in stripped if part))

    def whole(self, column: str) -> int:
        """A cell as a whole number from 0.

        Raises:
            LeftOutError: it is none.
        """
        return whole_number(self.text(column), column)

    def _value(self, column: str) -> Any:
        if self.fault:
            raise LeftOutError(self.fault)
        return self.cells.get(_key(column))


@dataclass(frozen=True)
class Table:
    """The rows of a label file, and its columns as its header spells them."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def has(self, column: str) -> bool:
        """Whether there is such a column, whatever its case."""
        return _key(column) in map(_key, self.columns)

    def need(self, *columns: str, remedy: str | None = None) -> None:
        """Check that each of these columns is there, once.

        Raises:
            BadInput: one is missing, or stands in the header twice.
        """
        keys = [_key(column) for column in self.columns]
        missing = [column for column in columns if _key(column) not in keys]
        if missing:
            header = ", ".join(self.columns) or "nothing"
            raise BadInput(
                f"{self.path} has no column {', '.join(missing)} (its header: {header}).",
                remedy or f"Give it a header with {', '.join(columns)}.",
            )
        twice = [column for column in columns if keys.count(_key(column)) > 1]
        if twice:
            raise BadInput(f"{self.path} has the column {', '.join(twice)} twice.", "Rename or remove one of them.")


def whole_number(text: str, what: str) -> int:
    """``text`` as a whole number from 0; ``7.0`` is one, as spreadsheets write it.

    Raises:
        LeftOutError: it is none; ``what`` names it.
    """
    if not re.fullmatch(rf"[0-9]{{1,{_MOST_DIGITS}}}(\.0+)?", text):
        raise LeftOutError(f"{what} {text!r} is no whole number" if text else f"it has no {what}")
    return int(text.split(".")[0])


def read_table(path: Path) -> Table:
    """Read a label file by its ending: JSON, JSON Lines, and anything else as CSV.

    CSV: UTF-8 with or without a byte order mark; separated by comma, semicolon or tab, whichever divides the header
    into more columns. JSON: a list of objects, or an object of objects by name (then the key is column ``name``).
    Rows without content are no rows.

    Raises:
        BadInput: no such file, not text in UTF-8, or not of its format.
    """
    text = read_text(path)
    ending = path.suffix.casefold()
    if ending == ".json":
        return _from_objects(path, _objects(path, text))
    if ending in (".jsonl", ".ndjson"):
        return _from_objects(path, _lines(path, text))
    return _from_csv(path, text)


def read_words(path: Path) -> list[tuple[str, list[str]]]:
    """(where it stands, its words) of every line of a text file that isn't empty; words are parted by white space.

    Raises:
        BadInput: no such file, or not text in UTF-8.
    """
    lines = enumerate(read_text(path).splitlines(), 1)
    file = f"{path.parent.name}/{path.name}"
    return [(f"line {number} of {file}", line.split()) for number, line in lines if line.strip()]


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark, its ends of line as they are.

    Raises:
        BadInput: it is missing, a folder, unreadable, or not text in UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except IsADirectoryError as error:
        raise BadInput(f"{path} is a folder, not a label file.", "Give the path of the file in it.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8: {error}.", "Save it in UTF-8.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path} can't be read: {reason}.", "Check the path and its permissions.") from error


def _key(column: str) -> str:
    return column.strip(_SPACE).casefold()


def _from_csv(path: Path, text: str) -> Table:
    header: list[str] = []
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    try:
        for values in reader:
            where, line = f"line {line} of {path.name}", reader.line_num + 1
            if not any(value.strip(_SPACE) for value in values):
                continue
            if not header:
                header = [value.strip(_SPACE) for value in values]
            else:
                rows.append(_row(where, header, values))
    except csv.Error as error:
        raise BadInput(
            f"{path} is not well-formed CSV at line {line}: {error}.",
            "Put cells that hold separators, quotes or ends of line in quotes, and double the quotes in them.",
        ) from error
    return Table(path, tuple(header), tuple(rows))


def _row(where: str, header: Sequence[str], values: Sequence[str]) -> Row:
    if any(value.strip(_SPACE) for value in values[len(header) :]):
        return Row(where, {}, f"it has {len(values)} cells and the header {len(header)}: is a cell not in quotes?")
    return Row(where, {_key(column): value for column, value in zip(header, values, strict=False)})


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=lambda delimiter: len(_first_row(first, delimiter)))


def _first_row(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _objects(path: Path, text: str) -> list[tuple[str, Any]]:
    content = _json(path, text, "")
    if isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        return [(f"entry {key!r} of {path.name}", {"name": key, **value}) for key, value in content.items()]
    if not isinstance(content, list):
        raise BadInput(
            f"{path} holds neither a list of objects nor objects by name.", "Write one JSON object for each clip."
        )
    return [(f"entry {number} of {path.name}", value) for number, value in enumerate(content, 1)]


def _lines(path: Path, text: str) -> list[tuple[str, Any]]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(f"line {number} of {path.name}", _json(path, line, f" at line {number}")) for number, line in lines]


def _json(path: Path, text: str, where: str) -> Any:
    try:
        content = json.loads(text, object_pairs_hook=_each_key_once)
        # Half of a surrogate pair is valid JSON, and text that nothing can be called or written by.
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON{where}: {error}.", "Mend it, or write it again as JSON.") from error
    return content


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return content


def _from_objects(path: Path, objects: list[tuple[str, Any]]) -> Table:
    columns: dict[str, None] = {}
    rows = []
    for where, content in objects:
        if not isinstance(content, dict):
            raise BadInput(f"{where} is no object, in {path.parent}.", "Write one JSON object for each clip.")
        columns.update(dict.fromkeys(content))
        rows.append(Row(where, {_key(key): value for key, value in content.items()}))
    return Table(path, tuple(columns), tuple(rows))
