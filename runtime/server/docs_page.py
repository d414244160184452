"""The OpenAPI document as a page. Without a script, so that it needs no assets and can be read in any browser.

The usual pages load theirs from a CDN, which a device without internet can't; the packages that ship them bring
megabytes of script, which only runs when the page's policy is loosened.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid; padding-top: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
.verb { font-weight: 700; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

DOCS_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'"
"""The Content-Security-Policy of this page."""


def docs_page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document, as HTML."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(info['title'])}: endpoints</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_text(info.get('description', ''))}</p>",
        "<p>The same for programs: <a href='openapi.json'>openapi.json</a></p>",
    ]
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            parts += _operation(path, verb, operation)
    parts.append("<h2>Bodies</h2>")
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        parts.append(f"<h3 id='{escape(name)}'>{escape(name)}</h3><pre tabindex='0'>{text}</pre>")
    parts.append("</main></body></html>")
    return "\n".join(parts)


def _operation(path: str, verb: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><span class='verb'>{verb.upper()}</span> <code>{escape(path)}</code></h2>"
    yield f"<p><strong>{_text(operation.get('summary', ''))}.</strong> {_text(operation.get('description', ''))}</p>"
    rows = [
        (each["name"], each["in"], _schema(each.get("schema", {})), each.get("description", ""))
        for each in operation.get("parameters", [])
    ]
    if "requestBody" in operation:
        body = operation["requestBody"]
        rows.append(("body", ", ".join(body["content"]), "bytes", body.get("description", "")))
    if rows:
        yield from _table(("Parameter", "In", "Form", "Meaning"), rows)
    answers = [
        (status, _forms(answer), _text(answer.get("description", "")))
        for status, answer in operation["responses"].items()
    ]
    yield from _table(("Status", "Body", "Meaning"), answers, raw=True)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], raw: bool = False) -> Iterator[str]:
    yield "<table><thead><tr>" + "".join(f"<th scope='col'>{name}</th>" for name in head) + "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell if raw else _text(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table>"


def _forms(answer: dict[str, Any]) -> str:
    shown = []
    for kind, content in answer.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        link = f" <a href='#{escape(name)}'>{escape(name)}</a>" if name else ""
        shown.append(f"<code>{escape(kind)}</code>{link}")
    return "<br>".join(shown)


def _schema(schema: dict[str, Any]) -> str:
    plain = next((each for each in schema.get("anyOf", []) if each.get("type") != "null"), schema)
    limits = [f"{word} {plain[key]}" for key, word in _LIMITS.items() if key in plain]
    return ", ".join([plain.get("type", ""), *limits])


_LIMITS = {"minimum": "from", "maximum": "to", "maxLength": "characters up to"}


def _text(text: str) -> str:
    """Escaped, with `code` in backquotes as such."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
