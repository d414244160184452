"""Runs, studies and raters' files for the tests of studies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mosear.evaluation.record import ClipRecord
from mosear.evaluation.results import RunWriter
from mosear.evaluation.study.key import StudyKey

SUBSETS = ("audio_aligned", "consistent", "video_aligned")  # of clip0, clip1, clip2, clip3 …
SHA = {"first": "1a" * 32, "second": "2b" * 32}


def write_run(
    path: Path,
    subject: str,
    reasons: Mapping[str, str | None],
    subset: Callable[[str], str | None] = lambda name: SUBSETS[ord(name[-1]) % 3],
    transcript: str | None = "I did not expect that.",
    root: Path | None = None,
    benchmark: str = "ca-mer",
) -> Path:
    """The folder of a run in which the subject gave these reasons by clip."""
    setup = {
        "subject": {"name": f"{subject}-model", "sha256": SHA[subject], "precision": "int8"},
        "benchmark": {"name": benchmark},
        "words": ["happy", "sad"],
        "variant": "",
    }
    with RunWriter(path, setup, {"root": str(root)} if root else {}) as writer:
        for name, reason in reasons.items():
            record = ClipRecord(
                name=name,
                label="sad",
                predicted="sad",
                subset=subset(name),
                transcript=transcript,
                media=f"{name}.mp4",
                reason=reason,
            )
            writer.add(record, None)
        writer.finish(list(reasons), [])
    return path


def two_runs(folder: Path, count: int = 9, **more: Any) -> tuple[Path, Path]:
    """Runs of two subjects on ``count`` clips, with reasons that tell who wrote them and about what."""
    names = [f"clip{number}" for number in range(count)]
    first = write_run(folder / "run-one", "first", {name: f"alpha says of {name}" for name in names}, **more)
    return first, write_run(folder / "run-two", "second", {name: f"omega says of {name}" for name in names}, **more)


def page_data(page: Path) -> dict[str, Any]:
    """The questions that a page asks."""
    source = page.read_text(encoding="utf-8")
    start = source.index('<script type="application/json" id="study">')
    return dict(json.loads(source[source.index(">", start) + 1 : source.index("</script>", start)]))


def answers_of(path: Path, key: StudyKey, rater: str, choices: Sequence[str | None], /, **changes: Any) -> Path:
    """The file of a rater who chose these, ``A``, ``B`` or ``tie``, for the clips in the order of the key."""
    items = [clip.item for clip in key.clips] + [check.item for check in key.checks]
    made = []
    for clip, chosen in zip(key.clips, choices, strict=True):
        side = chosen if chosen in (None, "tie") else "left" if clip.left == chosen else "right"
        taken = None if side is None else 4.0
        made.append({"item": clip.item, "choice": side, "seconds": taken, "changes": 0, "comment": ""})
    content = {
        "schema": "mosear.study-answers/1",
        "page": key.page,
        "rater": rater,
        "complete": None not in choices and not key.checks,
        "order": items[::-1],
        "choices": made,
        **changes,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
