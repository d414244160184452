"""A report on disk: the page for people, the JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

from mosear.export.checks.record import Report
from mosear.export.report.page import page
from mosear.runtime.errors import Failed


def write_report(path_html: Path, path_json: Path, report: Report) -> None:
    """Write both files; what stood there before is replaced.

    Raises:
        Failed: a file can't be written.
    """
    content = json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for path, text in ((path_html, page(report)), (path_json, content)):
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Failed(f"{path} can't be written ({error.strerror or error})", "free space or permit it") from error
