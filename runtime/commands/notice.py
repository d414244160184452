"""``mosear notice``: what the people in view are told."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.privacy.duration import parse_duration
from mosear.runtime.terminal import exits, writing

HELP = (
    "Print the notice for the people in view: that emotions are estimated here, what is kept, for what and by whom. "
    "What is not given is left as a line to fill in by hand. It is a template and not legal advice."
)

_PAGES = (".html", ".htm")


class NoticeFormat(str, Enum):
    """How the notice is written."""

    text = "text"
    html = "html"


def notice(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Folder made by mosear-export build; its intended use is the purpose."),
    ] = None,
    language: Annotated[
        str, typer.Option(envvar="MOSEAR_NOTICE_LANGUAGE", metavar="CODE", help="Language of the notice.")
    ] = "en",
    form: Annotated[
        NoticeFormat | None,
        typer.Option(
            "--format", help="How it is written: html prints on one page. By the name of --output, else text."
        ),
    ] = None,
    operator: Annotated[
        str | None, typer.Option(envvar="MOSEAR_NOTICE_OPERATOR", metavar="TEXT", help="Who operates the device.")
    ] = None,
    contact: Annotated[
        str | None, typer.Option(envvar="MOSEAR_NOTICE_CONTACT", metavar="TEXT", help="How to reach them.")
    ] = None,
    purpose: Annotated[
        str | None,
        typer.Option(
            envvar="MOSEAR_NOTICE_PURPOSE",
            metavar="TEXT",
            help="What it is for; the bundle's intended use by default.",
        ),
    ] = None,
    keep_for: Annotated[
        str | None,
        typer.Option(
            envvar="MOSEAR_KEEP_FOR",
            metavar="T",
            help="Say that picture and sound are kept for so long, as with watch --keep-for; by default none is.",
        ),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(envvar="MOSEAR_NOTICE_DIR", metavar="DIR", help="Folder of your own texts, CODE.toml each."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of standard output.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", envvar="MOSEAR_DEBUG", help="Show traces.")] = False,
) -> None:
    """Print the notice; see the help of the command."""
    from mosear.runtime.privacy.intended_use import check_live_use
    from mosear.runtime.privacy.notice import as_html, as_text, statement
    from mosear.runtime.privacy.notice_texts import load

    with exits(debug):
        texts = load(language, templates)
        if bundle is not None:
            manifest = Bundle.open(bundle, verify=False).manifest
            check_live_use(manifest)
            purpose = manifest.intended_use if purpose is None else purpose
        stated = statement(purpose, operator, contact, None if keep_for is None else parse_duration(keep_for))
        if form is None:
            is_page = output is not None and output.suffix.lower() in _PAGES
            form = NoticeFormat.html if is_page else NoticeFormat.text
        written = as_html(texts, stated) if form is NoticeFormat.html else as_text(texts, stated)
        _write(written, output)
        for name in stated.blanks():
            print(f"the {name} is left blank: give --{name}, or fill it in by hand", file=sys.stderr)


def _write(written: str, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_text(written, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{output} can't be written ({error.strerror or error})", "name another file") from error
        return
    if sys.stdout is None:
        raise Failed("standard output is closed", "name a file with -o")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    with writing():
        print(written, end="", flush=True)
