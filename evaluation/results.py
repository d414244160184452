"""The folder of a run: ``run.json``, a line a clip in ``clips.jsonl`` and ``attention.jsonl``, ``skipped.jsonl``.

Lines are written as clips are answered, so a run that was stopped goes on where it was. When all are answered the files
are put into the order of the benchmark: the same results, whoever answered first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosear.clips.benchmarks.record import Skipped
from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.runtime.errors import BadInput, Failed

RUN_SCHEMA = "mosear.evaluation-run/1"
RUN, CLIPS, ATTENTION, SKIPPED, METRICS, REPORT = (
    "run.json",
    "clips.jsonl",
    "attention.jsonl",
    "skipped.jsonl",
    "metrics.json",
    "report.html",
)
_PARTIAL = ".partial"
_SETUP = {"subject", "benchmark", "words", "variant"}
_ANOTHER = "choose another folder with -o, or remove this one"


@dataclass(frozen=True)
class Run:
    """A run that was read back.

    Attributes:
        path: its folder.
        about: ``run.json``: ``setup`` (what was asked of what, on which clips) and what else is known of it.
        records: in the order of the file.
        skipped: clips without an answer, with the reason.
        metrics: ``metrics.json``, or None before it is written.
    """

    path: Path
    about: dict[str, Any]
    records: list[ClipRecord]
    skipped: list[Skipped]
    metrics: dict[str, Any] | None

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        setup = self.about["setup"]
        subject = setup["subject"]
        parts = [subject["name"], subject.get("target"), subject.get("precision"), setup["variant"]]
        return ", ".join(str(part) for part in parts if part)

    def attention(self) -> Iterator[AttentionRecord]:
        """One record a clip that reported its attention."""
        path = self.path / ATTENTION
        for number, content in _lines(path) if path.is_file() else ():
            yield _parsed(path, number, AttentionRecord, content)


def read_run(path: Path) -> Run:
    """Read the folder of a run.

    Raises:
        BadInput: it is none, or a file is damaged.
    """
    about = _about(path)
    records = [_parsed(path / CLIPS, number, ClipRecord, content) for number, content in _lines(path / CLIPS)]
    skipped = []
    if (path / SKIPPED).is_file():
        skipped = [Skipped(content["name"], content["reason"]) for _, content in _lines(path / SKIPPED)]
    metrics = json.loads((path / METRICS).read_text(encoding="utf-8")) if (path / METRICS).is_file() else None
    return Run(path, about, records, skipped, metrics)


class RunWriter:
    """Writes the folder of a run, and goes on with one that was begun. To be closed, or used in a ``with``.

    Args:
        path: the folder; made if it is not there.
        setup: what was asked of what, on which clips: plain JSON. A folder that holds something else is refused.
        more: what else ``run.json`` is to say.

    Attributes:
        done: names of the clips that are answered already.

    Raises:
        BadInput: the folder holds another run or something else, or another process writes it.
        Failed: it can't be written.
    """

    def __init__(self, path: Path, setup: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        self.path = path
        self._lock: int | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path, os.O_RDONLY)
            self._claim(self._lock)
            self.done = self._begin(setup, more)
            self._clips = (path / CLIPS).open("a", encoding="utf-8")
            self._attention = (path / ATTENTION).open("a", encoding="utf-8")
        except OSError as error:
            self._release()
            raise Failed(f"{path} can't be written ({error.strerror or error})", "free space or permit it") from error
        except BaseException:
            self._release()
            raise

    def _claim(self, folder: int) -> None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(
                f"another process is writing {self.path}", "wait for it, or choose another folder"
            ) from error

    def _begin(self, setup: Mapping[str, Any], more: Mapping[str, Any]) -> set[str]:
        others = [each.name for each in self.path.iterdir() if not each.name.endswith(_PARTIAL)]
        if not (self.path / RUN).is_file():
            if others:
                raise BadInput(f"{self.path} holds something else than a run ({sorted(others)[0]})", _ANOTHER)
            content = {"schema": RUN_SCHEMA, "setup": dict(setup), **more}
            _write_whole(self.path / RUN, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        else:
            held = _about(self.path)["setup"]
            # What JSON makes of it, since that is what was written.
            wanted = json.loads(json.dumps(setup))
            if differing := sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key)):
                raise BadInput(f"{self.path} holds a run with another {' and '.join(differing)}", _ANOTHER)
        for name in (CLIPS, ATTENTION):
            _drop_broken_end(self.path / name)
        if not (self.path / CLIPS).is_file():
            return set()
        return {content["name"] for _, content in _lines(self.path / CLIPS)}

    def add(self, record: ClipRecord, attention: AttentionRecord | None) -> None:
        """Keep an answer. Raises Failed when it can't be written."""
        try:
            # The clip's own line comes last: where it stands, the other stands too.
            if attention is not None:
                self._attention.write(_line(attention.to_dict()))
                self._attention.flush()
            self._clips.write(_line(record.to_dict()))
            self._clips.flush()
        except OSError as error:
            raise Failed(
                f"{self.path} can't be written ({error.strerror or error})",
                "free space; the same command then goes on where it was",
            ) from error
        self.done.add(record.name)

    def finish(self, order: Sequence[str], skipped: Sequence[Skipped]) -> None:
        """Put the lines into the order of the clips' names, each once, and write what was skipped."""
        self._clips.flush()
        self._attention.flush()
        place = {name: index for index, name in enumerate(order)}
        for name in (CLIPS, ATTENTION):
            lines = {content["name"]: content for _, content in _lines(self.path / name) if content["name"] in place}
            ordered = sorted(lines.values(), key=lambda content: place[content["name"]])
            _write_lines(self.path / name, ordered)
        _write_lines(self.path / SKIPPED, [{"name": each.name, "reason": each.reason} for each in skipped])

    def close(self) -> None:
        """Let go of the folder."""
        for file in (self._clips, self._attention):
            # Each line was flushed when it was written; what a full disk did not take is no answer yet.
            with contextlib.suppress(OSError):
                file.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json``. Raises Failed when it can't be."""
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        _write_whole(path / METRICS, text)
    except OSError as error:
        raise Failed(f"{path} can't be written ({error.strerror or error})", "free space or permit it") from error


def _about(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path} holds no run", "give a folder that mosear-eval run wrote") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path / RUN} can't be read ({error})", "run it again into another folder") from error
    setup = content.get("setup") if isinstance(content, dict) else None
    if not isinstance(setup, dict) or content.get("schema") != RUN_SCHEMA or not setup.keys() >= _SETUP:
        raise BadInput(f"{path / RUN} is not of {RUN_SCHEMA}", "run it again with this version of mosear")
    return content


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                content = json.loads(line)
                if not isinstance(content, dict) or "name" not in content:
                    raise ValueError("no clip is named")
                yield number, content
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing", "run the evaluation again into the same folder") from error
    except ValueError as error:
        raise BadInput(f"line {number} of {path} is damaged ({error})", f"remove the line; {_AGAIN}") from error
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror or error})", "check its permissions") from error


_AGAIN = "running it again then answers that clip anew"


def _parsed(path: Path, number: int, kind: Any, content: dict[str, Any]) -> Any:
    try:
        return kind.from_dict(content)
    except ValueError as error:
        raise BadInput(f"line {number} of {path} is damaged ({error})", f"remove the line; {_AGAIN}") from error


def _drop_broken_end(path: Path) -> None:
    """Cut off a last line that was not written whole: its process was killed."""
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    _write_whole(path, "".join(map(_line, lines)))


def _line(content: Mapping[str, Any]) -> str:
    line = json.dumps(content, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as JSON may hold one, has no form in UTF-8
        line = json.dumps(content, allow_nan=False)
    return line + "\n"


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}{_PARTIAL}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
