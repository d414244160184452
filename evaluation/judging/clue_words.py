"""The words of an account that may be clues: content words without their endings."""

from __future__ import annotations

from mosear.evaluation.metrics.phrases import tokens
from mosear.evaluation.metrics.synonyms import Synonyms

_GRAMMAR = """
    a about above after again against all almost along also although always am among an and another any anyone anything
    are around as at away be because been before being below between both but by can cannot could did do does doing done
    during each either else even ever every few for from further had has have having he her here hers herself him
    himself his how however i if in indeed instead into is it its itself just least less let like likely made make makes
    making many may maybe me might more most much must my myself near neither never no nor not nothing now of off often
    on once one only onto or other others our ours ourselves out over own per perhaps quite rather really same seem
    seemed seems several shall she should since so some someone something sometimes somewhat still such than that the
    their theirs them themselves then there therefore these they thing things this those though through throughout thus
    to together too toward towards under until upon us very was we well were what whatever when where whether which
    while who whole whom whose why will with within without would yet you your yours yourself yourselves
"""
_ACCOUNTS = """
    account add addition appear appearing appears based beginning character characters clip clue clues combined
    combining convey conveying conveys depict depicts describe described display displaying displays emotion emotional
    emotionally emotions evident express expressed expresses expressing expression expressions feel feeling feelings
    feels first frame frames imply implying implies indicate indicated indicates indicating infer inferred inner level
    man moment mood overall people person possible possibly reason second sentence show showing shown shows sign signs
    speaker state states subtitle subtitles suggest suggesting suggests text third video woman
"""
_STOP_WORDS = frozenset((_GRAMMAR + _ACCOUNTS).split())
"""Words of grammar, and words that stand in every account of a clip whatever it shows."""

_VOWELS = frozenset("aeiouy")


def clue_words(text: str, synonyms: Synonyms) -> set[str]:
    """The stems of a text's content words, without those of the table of emotions: they are labels, not clues.

    Args:
        text: an account in English.
        synonyms: the table of emotion words.
    """
    words = tokens(text)
    labels = {place + step for place, each in synonyms.book.find(words) for step in range(len(each))}
    plain = {token.word.removesuffix("'s") for place, token in enumerate(words) if place not in labels}
    return {stem(word) for word in plain - _STOP_WORDS if _may_be_clue(word)}


def stem(word: str) -> str:
    """A word without the common English endings -s, -ed, -ing and -ly, so that frowned, frowning and frowns are one.

    Light on purpose: words that differ in more than these endings (eye and eyed, speak and spoken) stay apart.
    """
    word = _without_plural(word)
    for ending in ("ing", "ed", "ly"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and _VOWELS & set(rest):
            word = rest
            if ending != "ly" and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    word = word[:-1] + "i" if word.endswith("y") and len(word) > 2 else word
    return word.removesuffix("e") if len(word) > 3 else word


def _without_plural(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def _may_be_clue(word: str) -> bool:
    """Figures are time stamps and counts of frames; a word with an apostrophe is one like don't."""
    return len(word) > 1 and "'" not in word and not word.isdecimal()
