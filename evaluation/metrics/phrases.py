"""Words and phrases in a text: whole words only, in any case, the longest phrase first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

# What stands within a word holds it together: happy-go-lucky is not happy, isn't is one word. Around a word, as in
# _happy_, the same signs are punctuation.
_WORD = re.compile(r"[^\W_]+(?:['\-_][^\W_]+)*")
_MARK = re.compile(r"[.,;:!?()\n—–]")
_SAME = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "‐": "-", "‑": "-"})

Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """A word of a text.

    Attributes:
        word: without case.
        ends_clause: whether a mark of punctuation comes between it and the next word.
    """

    word: str
    ends_clause: bool


def plain(text: str) -> str:
    """A text without case, with one kind of hyphen and apostrophe."""
    return unicodedata.normalize("NFKC", text).translate(_SAME).casefold()


def tokens(text: str) -> list[Token]:
    """The words of a text."""
    text = plain(text)
    matches = list(_WORD.finditer(text))
    gaps = [text[one.end() : other.start()] for one, other in pairwise(matches)]
    return [
        Token(match.group(), bool(_MARK.search(gap)))
        for match, gap in zip(matches, [*gaps, ""][: len(matches)], strict=True)
    ]


def phrase(text: str) -> Phrase:
    """The words of a label or of an entry of a table."""
    return tuple(_WORD.findall(plain(text)))


class PhraseBook:
    """Finds phrases in texts.

    Args:
        phrases: what to find; those without a word in them are never found.
    """

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self._by_first: dict[str, list[Phrase]] = {}
        for each in sorted({each for each in phrases if each}, key=lambda each: (-len(each), each)):
            self._by_first.setdefault(each[0], []).append(each)

    def find(self, words: list[Token]) -> Iterator[tuple[int, Phrase]]:
        """(place of its first word, phrase), none within another and none across a mark of punctuation."""
        place = 0
        while place < len(words):
            found = next(
                (each for each in self._by_first.get(words[place].word, ()) if _is_at(each, words, place)), None
            )
            if found is not None:
                yield place, found
            place += len(found) if found is not None else 1


def _is_at(wanted: Phrase, words: list[Token], place: int) -> bool:
    part = words[place : place + len(wanted)]
    return tuple(token.word for token in part) == wanted and not any(token.ends_clause for token in part[:-1])
