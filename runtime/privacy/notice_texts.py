"""The texts of the notice, by language: each is one file of sentences."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mosear.runtime.errors import BadInput, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = Path(__file__).parent / "texts"

_CODE = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
_PLACE = re.compile(r"\{(\w*)\}")
_MAX_BYTES = 64 * 1024
_UNITS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}

# The sentences of a language, and what may be inserted in each.
_SENTENCES: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        ("title", "lead", "what_it_is_heading", "what_it_is", "who_heading", "who", "kept_heading", "kept_nothing"),
        frozenset[str](),
    ),
    **dict.fromkeys(
        ("estimates", "purpose_heading", "operator_heading", "contact_heading", "law"),
        frozenset[str](),
    ),
    "kept_for": frozenset({"length"}),
    "purpose": frozenset({"purpose"}),
    "operator": frozenset({"operator"}),
    "contact": frozenset({"contact"}),
}


@dataclass(frozen=True)
class Texts:
    """The sentences of one language.

    Attributes:
        language: its code.
        direction: ``ltr`` or ``rtl``.
        sentences: by name.
        lengths: the forms of each unit of time, for one and for any other number.
    """

    language: str
    direction: str
    sentences: Mapping[str, str]
    lengths: Mapping[str, tuple[str, ...]]

    def say(self, name: str, **inserted: str) -> str:
        """A sentence with what is inserted in it, taken as it is."""
        return _PLACE.sub(lambda place: inserted[place[1]], self.sentences[name])

    def length(self, seconds: float) -> str:
        """A length of time in the largest unit of which it is a whole number, as people say it."""
        whole = [unit for unit, size in _UNITS.items() if (seconds / size).is_integer()]
        unit = whole[0] if whole else "seconds"
        number = f"{seconds / _UNITS[unit]:g}"
        forms = self.lengths[unit]
        return _PLACE.sub(number, forms[0 if number == "1" else -1])


def languages(own: Path | None) -> dict[str, Path]:
    """The languages there are, by code. A text in ``own`` stands before the one that is shipped.

    Raises:
        BadInput: ``own`` is no folder that can be read.
    """
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    if own is not None:
        try:
            found |= {path.name.removesuffix(".toml"): path for path in sorted(own.iterdir()) if path.suffix == ".toml"}
        except OSError as error:
            raise BadInput(
                f"{own} can't be read ({error.strerror or error})", "name a folder that holds texts like en.toml"
            ) from error
    return {code: path for code, path in found.items() if _CODE.fullmatch(code)}


def load(language: str, own: Path | None = None) -> Texts:
    """The texts of a language.

    Args:
        language: its code.
        own: folder of texts beside the shipped ones.

    Raises:
        UsageError: there is no such language.
        BadInput: its file can't be read, or lacks something.
    """
    there = languages(own)
    if language not in there:
        raise UsageError(
            f"there is no notice in {language!r}; there is: {', '.join(sorted(there))}",
            f"choose one, or write {language if _CODE.fullmatch(language) else 'CODE'}.toml after "
            f"{SHIPPED / 'en.toml'} and name its folder with --templates",
        )
    return _read(language, there[language])


def _read(language: str, path: Path) -> Texts:
    remedy = f"compare it with {SHIPPED / 'en.toml'}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror or error})", "check its permissions") from error
    if len(data) > _MAX_BYTES:
        raise BadInput(f"{path} is too long for the texts of a notice", remedy)
    try:
        found = tomllib.loads(data.decode("utf-8-sig"))
        return _checked(language, found)
    except (ValueError, RecursionError) as error:  # TOML's own errors are ValueErrors, those of UTF-8 too
        raise BadInput(f"{path} is not usable: {error}", remedy) from error


def _checked(language: str, found: dict[str, Any]) -> Texts:
    direction, lengths = found.pop("direction", "ltr"), found.pop("lengths", None)
    if direction not in ("ltr", "rtl"):
        raise ValueError("direction is neither ltr nor rtl")
    unknown, missing = set(found) - set(_SENTENCES), set(_SENTENCES) - set(found)
    if unknown or missing:
        raise ValueError(f"missing: {', '.join(sorted(missing)) or '-'}; unknown: {', '.join(sorted(unknown)) or '-'}")
    for name, wanted in _SENTENCES.items():
        _check_places(name, found[name], wanted)
    if not isinstance(lengths, dict) or set(lengths) != set(_UNITS):
        raise ValueError(f"lengths must hold {', '.join(_UNITS)}")
    for unit, forms in lengths.items():
        if not isinstance(forms, list) or not 1 <= len(forms) <= 2:
            raise ValueError(f"lengths.{unit} is not a list of one or two forms")
        for form in forms:
            _check_places(f"lengths.{unit}", form, frozenset({"n"}))
    return Texts(language, direction, found, {unit: tuple(forms) for unit, forms in lengths.items()})


def _check_places(name: str, sentence: Any, wanted: frozenset[str]) -> None:
    """Each place must be there: a notice that leaves out how long media are kept tells nobody."""
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"{name} is no text")
    places = set(_PLACE.findall(sentence))
    if places != wanted:
        told = ", ".join(f"{{{place}}}" for place in sorted(wanted)) or "nothing"
        raise ValueError(f"{name} must hold {told} in braces, and no more")


@cache
def page() -> str:
    """The page that a notice is printed as; its places begin with a dollar sign."""
    return (SHIPPED / "notice.html").read_text(encoding="utf-8")
