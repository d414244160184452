"""The notice for the people in view: what is done here, for what, and by whom.

Article 50(3) of Regulation (EU) 2024/1689 has whoever uses a system that reads emotions tell the people exposed to it.
"""

import html
import math
import textwrap
from dataclasses import dataclass
from string import Template

from mosear.runtime.errors import UsageError
from mosear.runtime.privacy.intended_use import NOT_STATED, check_use
from mosear.runtime.privacy.notice_texts import Texts, page

LONGEST = 160
"""Characters of what an operator states; with more, the notice would not fit on one page."""

_BLANK = "_" * 40
_LARGEST, _SMALLEST = 15.5, 10.0
_FULL_PAGE = 860
"""Characters that fill a page of the largest type, with room to spare for fonts that run wider."""
_WIDTH = 78


@dataclass(frozen=True)
class Statement:
    """What the operator states; what is None is left blank, to be filled in by hand.

    Attributes:
        purpose: what the estimates are for.
        operator: who is responsible.
        contact: how to reach them.
        keep_for: seconds for which picture and sound are kept; None: they are not kept.
    """

    purpose: str | None = None
    operator: str | None = None
    contact: str | None = None
    keep_for: float | None = None

    def blanks(self) -> list[str]:
        """Names of what is left blank."""
        return [name for name in ("purpose", "operator", "contact") if getattr(self, name) is None]


def statement(
    purpose: str | None, operator: str | None, contact: str | None, keep_for: float | None = None
) -> Statement:
    """What the operator states, on one line each; blank text, and a purpose that is not stated, become None.

    Raises:
        UsageError: one is longer than ``LONGEST``, or the purpose is a use that is banned without a reason.
    """
    texts = {
        name: _plain(name, text) for name, text in (("purpose", purpose), ("operator", operator), ("contact", contact))
    }
    if texts["purpose"] == NOT_STATED:
        texts["purpose"] = None
    if texts["purpose"] is not None:
        check_use(texts["purpose"], "the stated purpose")
    return Statement(keep_for=keep_for, **texts)


def as_text(texts: Texts, stated: Statement) -> str:
    """The notice as plain text, at most 78 columns wide."""
    rule = "=" * _WIDTH
    parts = [rule, _wrapped(texts.say("title").upper()), rule, "", _wrapped(texts.say("lead"))]
    for heading, told in _sections(texts, stated):
        parts += ["", heading, textwrap.indent(_wrapped(told or _BLANK, _WIDTH - 2), "  ")]
    return "\n".join([*parts, "", _wrapped(texts.say("law"))]) + "\n"


def in_brief(texts: Texts, keep_for: float | None = None) -> str:
    """The notice in a few sentences, for a screen: what is done here, what it is, what is kept."""
    kept = texts.say("kept_nothing") if keep_for is None else texts.say("kept_for", length=texts.length(keep_for))
    return " ".join([texts.say("lead"), texts.say("what_it_is"), kept])


def as_html(texts: Texts, stated: Statement) -> str:
    """The notice as a page of its own that prints on one sheet (A4 or Letter) and needs no other file."""
    sections = _sections(texts, stated)
    named = {name: texts.say(name) for name in ("title", "lead", "law")}
    blank = '<span class="blank"></span>'
    return Template(page()).substitute(
        language=html.escape(texts.language),
        direction=texts.direction,
        size=f"{_size([*named.values(), *(part or _BLANK for section in sections for part in section)]):.1f}",
        sections="\n".join(
            f"<h2>{html.escape(heading)}</h2>\n<p>{html.escape(told) if told else blank}</p>"
            for heading, told in sections
        ),
        **{name: html.escape(text) for name, text in named.items()},
    )


def _size(texts: list[str]) -> float:
    """Points of the type: as large as fits on one page. What a text takes grows with the square of its type."""
    return max(_SMALLEST, min(_LARGEST, _LARGEST * math.sqrt(_FULL_PAGE / sum(map(len, texts)))))


def _sections(texts: Texts, stated: Statement) -> list[tuple[str, str | None]]:
    """Headings and what stands below each; None: a line to fill in."""
    if stated.keep_for is None:
        kept = texts.say("kept_nothing")
    else:
        kept = texts.say("kept_for", length=texts.length(stated.keep_for))
    sections: list[tuple[str, str | None]] = [
        (texts.say("what_it_is_heading"), texts.say("what_it_is")),
        (texts.say("who_heading"), texts.say("who")),
        (texts.say("kept_heading"), f"{kept} {texts.say('estimates')}"),
    ]
    for name in ("purpose", "operator", "contact"):
        text = getattr(stated, name)
        sections.append((texts.say(f"{name}_heading"), None if text is None else texts.say(name, **{name: text})))
    return sections


def _plain(name: str, text: str | None) -> str | None:
    """The text on one line without what can't be printed, so that nothing in it can pass for a part of the notice."""
    if text is None:
        return None
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > LONGEST:
        raise UsageError(
            f"the {name} has {len(line)} characters, and the notice would not fit on a page",
            f"say it in {LONGEST}",
        )
    return line or None


def _wrapped(text: str, width: int = _WIDTH) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False)
