"""The notice: what it says, that nothing in it can be forged, and that it prints on one page."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import runtime_fakes
from runtime_commands import mosear, two_lines

from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.privacy.notice import LONGEST, Statement, as_html, as_text, statement
from mosear.runtime.privacy.notice_texts import SHIPPED, load

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '<script>alert("1")</script> & $title {purpose} \'"'


class Reader(HTMLParser):
    """The visible text of a page, and its elements with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("style", "title"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            self._inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def flat(text: str) -> str:
    return " ".join(text.split())


def both(stated: Statement) -> list[str]:
    texts = load("en")
    return [flat(as_text(texts, stated)), Reader(as_html(texts, stated)).text]


def test_it_says_what_people_must_know() -> None:
    stated = statement("a museum's exhibit", "City Museum", "privacy@museum.example")
    for told in both(stated):
        for sentence in (
            "estimate of how an expression reads",
            "not what a person feels",
            "Nobody is identified",
            "No picture and no sound is kept",
            "a museum's exhibit",
            "City Museum",
            "privacy@museum.example",
            "Article 50(3)",
            "not legal advice",
        ):
            assert sentence in told
        assert "are kept for" not in told
        assert "___" not in told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (604_800, "7 days"),
        (86_400, "1 day"),
        (129_600, "36 hours"),
        (5400, "90 minutes"),
        (60, "1 minute"),
        (1.5, "1.5 s"),
    ],
)
def test_it_says_how_long_media_are_kept(seconds: float, told: str) -> None:
    for notice in both(Statement(keep_for=seconds)):
        assert f"Picture and sound are kept for {told}" in notice
        assert "No picture" not in notice


def test_what_is_inserted_is_text_and_nothing_else() -> None:
    texts = load("en")
    stated = statement(HOSTILE, HOSTILE, HOSTILE)
    plain = Reader(as_html(texts, Statement("a", "b", "c")))
    page = Reader(as_html(texts, stated))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.text.count(HOSTILE) == 3
    assert flat(as_text(texts, stated)).count(HOSTILE) == 3


def test_what_is_inserted_can_t_begin_a_line_of_its_own() -> None:
    stated = statement("a\n\nWhat is kept\n  all", "b\u2028c", "\x1b[31md\x00")
    assert (stated.purpose, stated.operator, stated.contact) == ("a What is kept all", "b c", "[31md")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = as_html(load("en"), Statement())
    assert not [attributes for _, attributes in Reader(page).elements if {"src", "href", "srcset"} & set(attributes)]
    assert not re.search(r"url\(|@import|https?:|<script", page)
    assert "default-src 'none'" in page


def test_a_statement_that_is_too_long_or_banned_is_refused() -> None:
    statement("x" * LONGEST, "x" * LONGEST, "x" * LONGEST)
    with pytest.raises(UsageError, match="operator has 161"):
        statement(None, "x" * (LONGEST + 1), None)
    with pytest.raises(UsageError, match="banned"):
        statement("mood in the workplace", None, None)
    assert statement("mood in the workplace (safety: crane drivers)", None, None).purpose
    assert statement("not stated", " ", None).blanks() == ["purpose", "operator", "contact"]


def test_a_language_is_one_file(tmp_path: Path) -> None:
    own = (SHIPPED / "en.toml").read_text(encoding="utf-8")
    (tmp_path / "ar.toml").write_text(own.replace('"ltr"', '"rtl"').replace("Nobody is identified", "لا أحد"), "utf-8")
    texts = load("ar", tmp_path)
    page = as_html(texts, Statement())
    assert ("html", {"lang": "ar", "dir": "rtl"}) in Reader(page).elements
    assert "لا أحد" in as_text(texts, Statement())
    (tmp_path / "en.toml").write_text(own.replace("Nobody is identified", "No one is known"), "utf-8")
    assert "No one is known" in as_text(load("en", tmp_path), Statement())
    assert "No one is known" not in as_text(load("en"), Statement())


@pytest.mark.parametrize("language", ["xx", "../en", "en.toml", ""])
def test_an_unknown_language_lists_what_there_is(tmp_path: Path, language: str) -> None:
    (tmp_path / "de.toml").touch()
    with pytest.raises(UsageError, match="there is: de, en"):
        load(language, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("{length}", "a while", "kept_for"),
        ("{contact}", "{operator}", "contact"),
        ('title = "', 'titel = "', "title"),
        ("Emotion estimates", "{purpose.__class__} estimates{x}", "title"),
        ('"{n} day"', "7", "days"),
        ('direction = "ltr"', 'direction = "up"', "direction"),
        ('direction = "ltr"', "direction = ", "not usable"),
    ],
)
def test_a_text_that_lacks_something_is_refused(tmp_path: Path, old: str, new: str, word: str) -> None:
    (tmp_path / "xx.toml").write_text((SHIPPED / "en.toml").read_text(encoding="utf-8").replace(old, new), "utf-8")
    with pytest.raises(BadInput, match=word):
        load("xx", tmp_path)


def test_texts_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "xx.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "yy.toml").write_bytes(b"#" * 70_000)
    (tmp_path / "zz.toml").mkdir()
    for language in ("xx", "yy", "zz"):
        with pytest.raises(BadInput):
            load(language, tmp_path)
    with pytest.raises(BadInput, match="nowhere"):
        load("en", tmp_path / "nowhere")


def test_the_command(tmp_path: Path, toy_bundle: Path) -> None:
    done = mosear("notice", toy_bundle, "--operator", "City Museum")
    assert done.returncode == 0
    assert "What it is for\n  tests\n" in done.stdout
    assert "contact is left blank" in done.stderr
    page = tmp_path / "notice.html"
    done = mosear(
        "notice", "--purpose", "an exhibit", "--keep-for", "15m", "-o", page, MOSEAR_NOTICE_CONTACT="the desk"
    )
    assert (done.returncode, done.stdout) == (0, "")
    told = Reader(page.read_text(encoding="utf-8")).text
    assert "an exhibit" in told
    assert "the desk" in told
    assert "kept for 15 minutes" in told


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--language", "xx"], 2, "there is: en"),
        (["--keep-for", "soon"], 2, "soon"),
        (["nowhere"], 3, "nowhere"),
        (["-o", "/nowhere/notice.html"], 3, "can't be written"),
        (["--templates", "/nowhere"], 3, "/nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(arguments: list[str], code: int, word: str) -> None:
    done = mosear("notice", *arguments)
    ((what, _),) = two_lines(done.stderr)
    assert (done.returncode, done.stdout) == (code, "")
    assert word in what


def test_a_bundle_for_a_banned_use_gets_no_notice(tmp_path: Path) -> None:
    bundle = runtime_fakes.make_bundle(tmp_path / "toy", intended_use="education")
    done = mosear("notice", bundle, "--purpose", "play")
    assert (done.returncode, done.stdout) == (2, "")
    assert "medical or safety" in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("sheet", ["A4", "letter"])
@pytest.mark.parametrize("case", ["blank", "longest", "longer language"])
def test_it_prints_on_one_page(tmp_path: Path, sheet: str, case: str) -> None:
    texts, stated = load("en"), Statement()
    if case != "blank":
        words = ("Wonderful Widgets, museum of modern machines; " * 9)[:LONGEST].strip()
        stated = statement(words, words, words, 129_600.0)
    if case == "longer language":
        own = (SHIPPED / "en.toml").read_text(encoding="utf-8")
        own = re.sub(r'^(title|lead|who|what_it_is|law|estimates) = "(.*)"$', _longer, own, flags=re.MULTILINE)
        (tmp_path / "xx.toml").write_text(own, encoding="utf-8")
        texts = load("xx", tmp_path)
    page, pdf = tmp_path / "notice.html", tmp_path / "notice.pdf"
    written = as_html(texts, stated)
    assert "size: auto" in written
    page.write_text(written.replace("size: auto", f"size: {sheet}"), encoding="utf-8")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}")
    printing = (f"--print-to-pdf={pdf}", "--no-pdf-header-footer", page.as_uri())
    subprocess.run([str(CHROMIUM), *quiet, *printing], check=True, capture_output=True, timeout=60)
    printed = pdf.read_bytes()
    width = re.search(rb"/MediaBox \[0 0 (\d+)", printed)
    assert width is not None
    assert width[1] == (b"594" if sheet == "A4" else b"612")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1


def _longer(match: re.Match[str]) -> str:
    """Some languages take a third more than English."""
    return f'{match[1]} = "{match[2]} {match[2][: len(match[2]) // 3]}"'
