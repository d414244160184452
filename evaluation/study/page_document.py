"""The page of a study as one HTML file: its policy forbids every connection, and it needs none."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from mosear.evaluation.study.clip_media import Media
from mosear.evaluation.study.key import ANSWERS_SCHEMA, PAGE_SCHEMA
from mosear.runtime.report.markup import Markup, tag
from mosear.runtime.report.style import STYLE

# In this order: each uses only what stands before it.
_SCRIPTS = ("order.js", "keeping.js", "session.js", "view.js", "main.js")
_CHOICES = {"left": ("Reason 1", " fits better"), "right": ("Reason 2", " fits better"), "tie": ("About equal", "")}


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: what it is called in the page and in answers.
        left, right: the two texts.
        transcript: what is said in the clip, or None.
        clip: its name, for raters to play it beside the page; None where the page holds it, or there is none.
        media: what the page holds, or None.
    """

    id: str
    left: str
    right: str
    transcript: str | None
    clip: str | None
    media: Media | None


@dataclass(frozen=True)
class Page:
    """What a page asks. Nothing in it tells which run wrote what.

    Attributes:
        id: in raters' answers, so that they are not counted for another page.
        title: its heading.
        organiser: whom raters can ask, perhaps empty.
        tie: "about equal" may be chosen.
        items: the questions; the page puts them into another order for each rater.
    """

    id: str
    title: str
    organiser: str
    tie: bool
    items: tuple[Item, ...]


def write_page(page: Page, path: Path) -> None:
    """Write the page, whole or not at all. Raises OSError when it can't be written."""
    part = path.with_name(f".{path.name}.partial")
    try:
        with part.open("w", encoding="utf-8") as file:
            _write(page, file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write(page: Page, file: TextIO) -> None:
    style = STYLE + _part("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_part(name) for name in _SCRIPTS) + "})();\n"
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", page.title),
        tag("style", Markup(style)),
    )
    file.write('<!DOCTYPE html>\n<html lang="en">')
    file.write(tag("head", *head))
    file.write(f"\n<body>\n{_part('body.html')}")
    # Base64 holds nothing that could end the element.
    for item in page.items:
        if item.media is not None:
            packed = Markup(base64.b64encode(item.media.data).decode("ascii"))
            file.write(tag("script", packed, type="text/plain", id=f"media-{item.id}"))
            file.write("\n")
    file.write(tag("script", _as_data(page), type="application/json", id="study"))
    file.write(tag("script", Markup(script)))
    file.write("\n</body></html>\n")


def _part(name: str) -> str:
    return (files("mosear.evaluation.study") / "page" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing is loaded from anywhere but this page's own style, script and unpacked clips (CSP, level 3)."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; media-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _as_data(page: Page) -> Markup:
    """The questions as JSON in ASCII in which no text can end the element that holds it."""
    content = {
        "schema": PAGE_SCHEMA,
        "answers": ANSWERS_SCHEMA,
        "page": page.id,
        "title": page.title,
        "organiser": page.organiser,
        "choices": [
            {"name": name, "short": short, "rest": rest}
            for name, (short, rest) in _CHOICES.items()
            if page.tie or name != "tie"
        ],
        "items": [
            {
                "id": item.id,
                "left": item.left,
                "right": item.right,
                "transcript": item.transcript,
                "clip": item.clip,
                "media": item.media.kind if item.media else None,
            }
            for item in page.items
        ],
    }
    text = json.dumps(content, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
