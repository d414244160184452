"""Reasons judged: every prompt, answer and verdict in ``judge.jsonl``, and what they amount to."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mosear.evaluation.judging.judge import Judge, NoAnswerError
from mosear.evaluation.judging.prompt import VERSION, build_prompt
from mosear.evaluation.judging.verdict import Verdict, parse_verdict
from mosear.evaluation.metrics.bootstrap import LEVEL, RESAMPLES, SEED, Figures, intervals
from mosear.evaluation.record import ClipRecord
from mosear.runtime.errors import BadInput, Failed

SCHEMA = "mosear.judge/1"
JUDGE = "judge.jsonl"
CLUE, LABEL = "judged_clue_overlap", "judged_label_overlap"
_IN_A_ROW = 3
"""So many clips without an answer in a row, and the judge is taken to be out of order."""


@dataclass(frozen=True)
class Judged:
    """One line of ``judge.jsonl``.

    Attributes:
        name: of the clip.
        judge: its identity.
        prompt_version: of the text around both accounts.
        prompt: as it was asked.
        raw: as it was answered; None when it was not.
        verdict: what was read from it.
    """

    name: str
    judge: Mapping[str, str]
    prompt_version: int
    prompt: str
    raw: str | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        content = {key: value for key, value in vars(self).items() if key not in ("judge", "verdict")}
        return {"schema": SCHEMA, **content, "judge": dict(self.judge), **vars(self.verdict)}


def judge_reasons(
    records: Sequence[ClipRecord],
    judge: Judge,
    path: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Have the reasons of a run judged.

    Answers that ``path`` holds to the same prompts by the same judge and model are used again; prompts that were not
    answered are asked again.

    Args:
        records: the run; clips without a reference are left out, those without a reason are counted and not judged.
        judge: who judges.
        path: of ``judge.jsonl``; lines are added.
        progress: called with clips judged and clips to be judged.
        resamples, seed: of the bootstrap over clips.

    Returns:
        Plain JSON: the judge, the mean clue and label overlap with intervals, over the clips that have a verdict, and
        how many have none and why.

    Raises:
        BadInput: ``path`` holds something else.
        Failed: ``path`` can't be written, or the judge does not work; verdicts until then are kept.
    """
    told = [record for record in records if record.reference is not None]
    asked = {record.name: build_prompt(record.reason, record.reference or "") for record in told if record.reason}
    known = _read(path, judge.identity)
    found: list[Verdict] = []
    silent = 0
    try:
        with path.open("a", encoding="utf-8") as file:
            for name, prompt in asked.items():
                if (name, prompt) not in known:
                    line = _ask(judge, name, prompt)
                    _append(file, line)
                    known[name, prompt] = line.verdict
                    silent = silent + 1 if line.raw is None else 0
                    if silent == _IN_A_ROW:
                        raise Failed(
                            f"the judge did not answer {silent} clips in a row ({line.verdict.failure})",
                            "check it; the same command then goes on where it was",
                        )
                found.append(known[name, prompt])
                progress(len(found), len(asked))
    except OSError as error:
        raise Failed(f"{path} can't be written ({error.strerror or error})", "free space or permit it") from error
    return _summary(judge, found, len(told) - len(asked), resamples, seed)


def _ask(judge: Judge, name: str, prompt: str) -> Judged:
    try:
        raw = judge.ask(prompt)
    except NoAnswerError as error:
        return Judged(name, judge.identity, VERSION, prompt, None, Verdict(failure=f"no answer: {error.why}"))
    return Judged(name, judge.identity, VERSION, prompt, raw, parse_verdict(raw))


def _append(file: TextIO, line: Judged) -> None:
    # A lone surrogate, which a judge may write as an escape, has no place in UTF-8.
    file.write(json.dumps(line.to_dict(), allow_nan=False) + "\n")
    file.flush()


def _read(path: Path, identity: Mapping[str, str]) -> dict[tuple[str, str], Verdict]:
    """By clip and prompt, what this judge has answered already."""
    if not path.is_file():
        return {}
    try:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            # The last line was not written to its end: its process was killed.
            os.truncate(path, whole)
        lines = data[:whole].decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} can't be read ({error})", "remove it, and all clips are judged anew") from error
    known = {}
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            if content["schema"] != SCHEMA:
                raise ValueError(f"not a line of {SCHEMA}")
            if content["judge"] == dict(identity) and content["raw"] is not None:
                known[content["name"], content["prompt"]] = parse_verdict(content["raw"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadInput(
                f"line {number} of {path} is damaged ({error})", "remove the line, and that clip is judged anew"
            ) from error
    return known


def _summary(judge: Judge, found: Sequence[Verdict], unasked: int, resamples: int, seed: int) -> dict[str, Any]:
    given = np.array([(each.clue, each.label, 1.0) for each in found if each.failure is None], np.float64)
    figures: dict[str, Any] = {}
    if len(given):
        means = Figures((CLUE, LABEL), given, lambda sums: sums[..., :2] / sums[..., 2:], np.arange(len(given)))
        figures = {name: each.to_dict() for name, each in intervals(means, resamples, seed).items()}
    return {
        "schema": SCHEMA,
        "judge": dict(judge.identity),
        "prompt_version": VERSION,
        "clips": len(found),
        "judged": len(given),
        "failures": dict(Counter(each.failure for each in found if each.failure is not None)),
        "without_reason": unasked,
        "intervals": {"level": LEVEL, "resamples": resamples, "seed": seed},
        "figures": figures,
    }
