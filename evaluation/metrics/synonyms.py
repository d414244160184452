"""Which emotion words mean the same."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mosear.evaluation.metrics.emotion_lexicon import GROUPS
from mosear.evaluation.metrics.phrases import PhraseBook, phrase, plain
from mosear.runtime.errors import BadInput

_COLUMNS = ("word", "group")
_FORMS = 'write {"group": ["word", …]} as JSON, or word,group as CSV'


@dataclass(frozen=True)
class Synonyms:
    """A table of emotion words.

    Attributes:
        groups: by word (without case, words of a phrase parted by single spaces), the group that it is folded to.
    """

    groups: Mapping[str, str]

    @cached_property
    def book(self) -> PhraseBook:
        """Finds the table's words in texts."""
        return PhraseBook(phrase(word) for word in self.groups)

    @property
    def sha256(self) -> str:
        """Of the table's content, in whatever file it is."""
        return hashlib.sha256(json.dumps(sorted(self.groups.items())).encode()).hexdigest()

    def fold(self, word: str) -> str:
        """The group of a word; the word itself, without case, when the table does not have it."""
        key = " ".join(phrase(word))
        return self.groups.get(key, key or plain(word).strip())

    def knows(self, word: str) -> bool:
        """Whether the table has this word."""
        return " ".join(phrase(word)) in self.groups


@lru_cache(maxsize=1)
def default_synonyms() -> Synonyms:
    """This project's own table."""
    return Synonyms(_by_word({group: words.split(",") for group, words in GROUPS.items()}, "the table"))


def load_synonyms(path: Path) -> Synonyms:
    """A user's table, as JSON (``{"group": ["word", …], …}``) or CSV (a header ``word,group``), in UTF-8.

    It extends this project's table, and its words go where it says. JSON of the form ``{"replace": true, "groups":
    {"group": ["word", …], …}}`` takes the place of this project's table.

    Raises:
        BadInput: no such file, not of these forms, an empty word, or a word in two of its groups.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"there is no table of synonyms {path}", "give the path of a JSON or CSV file") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8", "save it in UTF-8") from error
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror or error})", "check the path") from error
    replace, groups = (False, _from_csv(path, text)) if path.suffix.lower() == ".csv" else _from_json(path, text)
    own = _by_word(groups, str(path))
    if not own:
        raise BadInput(f"{path} holds no words", _FORMS)
    return Synonyms(own if replace else {**default_synonyms().groups, **own})


def _by_word(groups: Mapping[str, list[str]], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, words in groups.items():
        group = " ".join(phrase(name))
        if not group:
            raise BadInput(f"{where} has a group without a name ({name!r})", "name it by one of its words")
        # A group's own name means the group, unless the table puts that word elsewhere.
        for word in words:
            key = " ".join(phrase(word))
            if not key:
                raise BadInput(f"{where} has an empty word in group {name}", "remove it")
            if found.setdefault(key, group) != group:
                raise BadInput(f"{where} has {key} in two groups, {found[key]} and {group}", "keep one of them")
    for name in groups:
        group = " ".join(phrase(name))
        found.setdefault(group, group)
    return found


def _from_json(path: Path, text: str) -> tuple[bool, dict[str, list[str]]]:
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise BadInput(f"{path} is not a table of synonyms ({error})", _FORMS) from error
    replace = False
    if isinstance(content, dict) and isinstance(content.get("groups"), dict):
        replace = content.get("replace", False)
        if strange := sorted(set(content) - {"replace", "groups"}):
            raise BadInput(f"{path} has {strange[0]} beside groups", "only replace may stand there")
        if not isinstance(replace, bool):
            raise BadInput(f"replace in {path} is neither true nor false", "write true or false")
        content = content["groups"]
    if not isinstance(content, dict) or not all(_are_words(words) for words in content.values()):
        raise BadInput(f"{path} is not a list of words by group", _FORMS)
    return replace, content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} stands there twice")
    return content


def _are_words(words: Any) -> bool:
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def _from_csv(path: Path, text: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    try:
        reader = csv.DictReader(text.splitlines(), strict=True)
        if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise BadInput(f"{path} has no column {' and '.join(missing)} (its header: {found})", _FORMS)
        for row in reader:
            word, group = ((row[column] or "").strip() for column in _COLUMNS)
            if not word or not group:
                missing_cell = "group" if word else "word"
                raise BadInput(f"line {reader.line_num} of {path} has no {missing_cell}", "fill it in, or remove it")
            groups.setdefault(group, []).append(word)
    except csv.Error as error:
        raise BadInput(f"{path} is not CSV ({error})", _FORMS) from error
    return groups
