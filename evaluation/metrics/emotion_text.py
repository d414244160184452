"""What a text that a model wrote says: one label, or its emotion words."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.evaluation.metrics.phrases import Phrase, PhraseBook, Token, phrase, plain, tokens
from mosear.evaluation.metrics.synonyms import Synonyms, default_synonyms

NOTHING, NO_LABEL, NEGATED, SEVERAL = (
    "parse: nothing was written",
    "parse: no label",
    "parse: only negated labels",
    "parse: several labels",
)

_REACH = 6  # words that a negation reaches, in its clause
_NEGATIONS = {
    *("not", "no", "never", "neither", "nor", "without", "cannot", "cant", "dont", "isnt", "hardly", "barely"),
    *("scarcely", "nothing", "nobody", "none", "lack", "lacks", "lacking", "devoid", "absence", "rarely", "seldom"),
}
_NEGATING_PAIRS = {("rather", "than"), ("instead", "of"), ("far", "from"), ("free", "of"), ("free", "from")}
_TURNS = {"but", "however", "though", "although", "yet", "because", "while", "whereas", "instead", "rather"}
"""A negation does not reach beyond these."""
_NEW_VERBS = {
    *("is", "are", "was", "were", "looks", "look", "seems", "seem", "sounds", "sound", "feels", "feel", "appears"),
    *("becomes", "shows", "expresses", "remains", "he", "she", "they", "it", "his", "her", "their", "the", "then"),
}
"""Nor beyond an ``and`` before one of these: not sad and calm, but: is not sad and is calm."""
_NO_NEGATION = {
    "not": {"only", "just", "merely", "simply", "solely"},
    "no": {"doubt", "wonder", "question"},
    "without": {"doubt", "question"},
}
"""What comes after a word that looks like a negation and is none: not only, no doubt."""


def parse_label(text: str, labels: Sequence[str]) -> tuple[str | None, str | None]:
    """The one label that a text names.

    A label must stand there as a whole word, in any case, and not be negated; a longer label hides one within it. What
    is no label is never taken for one: not an inflected form, not a synonym.

    Args:
        text: what the model wrote.
        labels: what it may be.

    Returns:
        The label as it stands in ``labels`` and None; or None and why there is none, beginning with ``parse:``.
    """
    whole = plain(text).strip()
    if not whole:
        return None, NOTHING
    for label in labels:
        if whole == plain(label).strip():
            return label, None
    by_phrase: dict[Phrase, str] = {}
    for label in labels:
        by_phrase.setdefault(phrase(label), label)
    words = tokens(text)
    found = list(PhraseBook(by_phrase).find(words))
    meant = {by_phrase[each] for place, each in found if not _is_negated(words, place)}
    if len(meant) == 1:
        return meant.pop(), None
    return None, SEVERAL if meant else NEGATED if found else NO_LABEL


def emotion_words(text: str, synonyms: Synonyms | None = None) -> list[str]:
    """The emotion words of a text, each once, in its order, as they stand there but without case.

    Only words of the table are found, as whole words; negated ones (not happy, without anger, rather than sad) are left
    out. A negation is taken to reach six words on in its clause.

    Args:
        text: an account of an emotion, in English.
        synonyms: the table; this project's own when None.
    """
    words = tokens(text)
    book = (synonyms or default_synonyms()).book
    return list(dict.fromkeys(" ".join(each) for place, each in book.find(words) if not _is_negated(words, place)))


def _is_negated(words: Sequence[Token], place: int) -> bool:
    for before in range(place - 1, max(place - 1 - _REACH, -1), -1):
        token = words[before]
        if token.ends_clause:
            return False
        following = words[before + 1].word
        if (token.word, following) in _NEGATING_PAIRS:
            return True
        if token.word in _TURNS or (token.word == "and" and following in _NEW_VERBS):
            return False
        if (token.word in _NEGATIONS or token.word.endswith("n't")) and not _is_none(words, before, place):
            return True
    return False


def _is_none(words: Sequence[Token], negation: int, place: int) -> bool:
    """Whether what looks like a negation is none for the word at ``place``."""
    token, after = words[negation].word, negation + 1
    if after < place and words[after].word == "a":
        after += 1
    if after >= place:
        return False
    # Cannot help being sad.
    helps = words[after].word == "help" and (token in ("not", "cannot", "cant") or token.endswith("n't"))
    return helps or words[after].word in _NO_NEGATION.get(token, ())
