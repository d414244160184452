"""YAML that says what it seems to say: safe, by the core schema of YAML 1.2, every key once, with line numbers.

PyYAML reads YAML 1.1, where ``off`` is false, ``1e-3`` is a text and ``1:30`` is 90; and it keeps the last of two equal
keys. Here ``off`` is a text, ``1e-3`` a number, and a key that stands twice is an error. Anchors and aliases are
refused: they make a short file expand into a huge one.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mosear.runtime.errors import BadInput

MAXIMUM_BYTES = 1 << 16
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the rules of this module."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent) or getattr(self.peek_event(), "anchor", None):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not read", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not a text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})$"), _first)
# Python's own int and float: YAML 1.1's constructors would read 010 as octal.
_Loader.add_constructor(f"{_TAG}int", lambda loader, node: int(node.value))
_Loader.add_constructor(f"{_TAG}float", lambda loader, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower())))


@dataclass(frozen=True)
class Document:
    """A YAML file.

    Attributes:
        source: what to call it in messages.
        content: its mapping, as plain dictionaries, lists, texts and numbers.
    """

    source: str
    content: dict[str, Any]
    _root: yaml.MappingNode

    def where(self, path: Sequence[str | int]) -> str:
        """``FILE:LINE`` of the deepest part of ``path`` that the file holds; parts that it doesn't have are skipped."""
        node: Any = self._root
        line = node.start_mark.line
        for part in path:
            found = _child(node, part)
            if found is not None:
                line, node = found
        return f"{self.source}:{line + 1}"


def read_yaml(path: Path) -> Document:
    """Read a file that holds one YAML mapping.

    Raises:
        BadInput: it is missing, not UTF-8, over 64 KiB, not YAML, or not a mapping; with the line where there is one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}", "give the path of a YAML file") from error
    if len(data) > MAXIMUM_BYTES:
        raise BadInput(f"{path} is over {MAXIMUM_BYTES >> 10} KiB", "give the path of a YAML file")
    try:
        return parse_yaml(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8", "save it as UTF-8") from error


def parse_yaml(text: str, source: str) -> Document:
    """Read a text that holds one YAML mapping; an empty one is an empty mapping.

    Raises:
        BadInput: as `read_yaml`.
    """
    remedy = "correct it; docs/recipes.md shows whole files"
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                root = yaml.MappingNode(f"{_TAG}map", [], _start(source))
            content = loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = source if mark is None else f"{source}:{mark.line + 1}"
        raise BadInput(f"{place}: {error.problem or error.context}", remedy) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{source} is not YAML: {error}", remedy) from error
    if not isinstance(content, dict):
        raise BadInput(f"{source}:1: a mapping is needed, this is a {type(content).__name__}", remedy)
    assert isinstance(root, yaml.MappingNode)
    return Document(source, content, root)


def _start(source: str) -> yaml.Mark:
    return yaml.Mark(source, 0, 0, 0, "", 0)


def _child(node: Any, part: str | int) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None
