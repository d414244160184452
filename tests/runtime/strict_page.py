"""A page as a strict reader sees it, for the tests of everything that writes one."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "hr", "link"}
_LOADS = {"script", "link", "img", "iframe", "object", "embed", "base", "audio", "video", "source"}


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order; collects its text, tags and attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], "unclosed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def assert_alone(source: str) -> None:
    """The page needs nothing from elsewhere and runs nothing."""
    shown = Page(source)
    assert {tag for tag, _ in shown.tags} & _LOADS == set()
    for _, attributes in shown.tags:
        assert not {"src", "href", "xlink:href", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    for word in ("http", "url(", "@import"):
        assert word not in source


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.tables[-1][-1][-1] += data


def tables(source: str) -> list[list[list[str]]]:
    """The cells of all tables, row by row, the head first."""
    reader = _Tables()
    reader.feed(source)
    return reader.tables
