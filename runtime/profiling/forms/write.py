"""A profile or a comparison in a form, as text or as a file."""

from __future__ import annotations

import contextlib
import os
import sys
from enum import Enum
from pathlib import Path

from rich.console import Console, RenderableType

from mosear.runtime.errors import Failed, UsageError, one_line
from mosear.runtime.profiling.compare import Comparison
from mosear.runtime.profiling.forms import comparison as compared
from mosear.runtime.profiling.forms.csv_form import to_csv
from mosear.runtime.profiling.forms.human import human
from mosear.runtime.profiling.forms.json_form import to_json
from mosear.runtime.profiling.forms.markdown import to_markdown
from mosear.runtime.profiling.forms.trace import to_trace
from mosear.runtime.profiling.page.comparison import comparison_page
from mosear.runtime.profiling.page.page import page
from mosear.runtime.profiling.record import Profile


class Form(str, Enum):
    """The forms of a profile. ``human`` is for a terminal, ``html`` and ``trace`` for files."""

    human = "human"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    html = "html"
    trace = "trace"


_ENDINGS = {".trace.json": Form.trace, ".json": Form.json, ".csv": Form.csv, ".md": Form.markdown, ".html": Form.html}
"""The longer ending first: a trace is JSON too."""

_RENDERERS = {
    Form.json: to_json,
    Form.csv: to_csv,
    Form.markdown: to_markdown,
    Form.html: page,
    Form.trace: to_trace,
}


_COMPARISON_RENDERERS = {
    Form.json: compared.to_json,
    Form.csv: compared.to_csv,
    Form.markdown: compared.to_markdown,
    Form.html: comparison_page,
}


def form_of(path: Path, comparison: bool = False) -> Form:
    """The form that a file's ending asks for.

    Args:
        path: the file, which need not be there.
        comparison: whether it is for a comparison, which has no trace.

    Raises:
        UsageError: it ends otherwise; the endings are listed.
    """
    form = next((form for ending, form in _ENDINGS.items() if path.name.lower().endswith(ending)), None)
    if form is None or (comparison and form not in _COMPARISON_RENDERERS):
        what = "a comparison has no trace" if form else f"the ending of {path} does not say which form it is to have"
        endings = [ending for ending, each in _ENDINGS.items() if not comparison or each in _COMPARISON_RENDERERS]
        raise UsageError(what, f"give a name that ends in {', '.join(endings[:-1])} or {endings[-1]}")
    return form


def render(profile: Profile, form: Form, console: Console | None = None) -> str:
    """The profile's text in a form.

    Args:
        profile: what was measured.
        form: any.
        console: for ``human``: whose width and colours to keep to; standard output's without one, which has no
            colours where it is no terminal or NO_COLOR is set.
    """
    if form is not Form.human:
        return _RENDERERS[form](profile)
    console = console or Console(file=sys.stdout, highlight=False)
    return printed(human(profile, console.width), console)


def write(profile: Profile, path: Path) -> None:
    """Write the profile in the form that ``path``'s ending asks for; what stood there is replaced in one step.

    Raises:
        UsageError: the ending is none of those listed.
        Failed: the file can't be written; then what stood there before still does.
    """
    replace(path, render(profile, form_of(path)))


def render_comparison(comparison: Comparison, form: Form, console: Console | None = None) -> str:
    """The comparison's text in a form; ``console`` as for ``render``.

    Raises:
        UsageError: ``form`` is ``trace``: two profiles have no common time.
    """
    if form is Form.human:
        console = console or Console(file=sys.stdout, highlight=False)
        return printed(compared.human(comparison, console.width), console)
    if form not in _COMPARISON_RENDERERS:
        raise UsageError("a comparison has no trace", "ask for the trace of one profile")
    return _COMPARISON_RENDERERS[form](comparison)


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the comparison in the form that ``path``'s ending asks for, as ``write`` does.

    Raises:
        UsageError: the ending is none of those listed.
        Failed: the file can't be written; then what stood there before still does.
    """
    replace(path, render_comparison(comparison, form_of(path, comparison=True)))


def printed(content: RenderableType, console: Console) -> str:
    """What ``console`` would print, as text."""
    with console.capture() as capture:
        console.print(content)
    return capture.get()


def replace(path: Path, text: str) -> None:
    """Put ``text`` into a file by way of a temporary one beside it.

    Raises:
        Failed: it can't be written.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name[-60:]}.part")
    try:
        # Names of files need not be valid text; what can't be encoded becomes an escape that JSON knows too.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        what = f"{path} can't be written ({error.strerror or one_line(error)})"
        raise Failed(what, "free space, permit it, or name a file in another folder") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
