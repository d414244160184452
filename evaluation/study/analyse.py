"""The answers to a study → preference rates, position bias and agreement, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mosear.evaluation.study.agreement import agreement
from mosear.evaluation.study.answers import Answers, read_answers
from mosear.evaluation.study.ballots import RUNS, Ballots, count_ballots
from mosear.evaluation.study.key import StudyKey, read_key
from mosear.evaluation.study.rates import shares, sign_test
from mosear.runtime.errors import BadInput, UsageError

RESULTS_SCHEMA = "mosear.study-results/1"
RESAMPLES = 2000


def analyse(
    key: Path,
    answers: Sequence[Path],
    *,
    strict: bool = True,
    max_failed_checks: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Count what raters chose.

    Args:
        key: the ``STUDY.key.json`` of the study.
        answers: the files that raters sent.
        strict: refuse all when one file can't be counted; else leave it out and say so under ``refused``.
        max_failed_checks: raters who fail more checks of attention are left out and named; None keeps all.
        resamples: of every bootstrap.
        seed: of their draws.

    Returns:
        ``rates`` of A, B and tie with intervals (see ``rates.shares``), ``sign_test``, the same ``by_subset``,
        ``with_identical``: rates when clips with the same reason in both runs count as ties, ``position``: shares of
        left and right among choices of a side, ``agreement``, ``raters``, ``comments``, ``refused``, ``left_out``.

    Raises:
        UsageError: no files, or a limit on checks for a study that has none.
        BadInput: the key or, with ``strict``, a file can't be used; nothing is left to count.
        Failed: a package of the extra ``eval`` is missing.
    """
    study = read_key(key)
    if max_failed_checks is not None and not study.checks:
        raise UsageError("the study has no questions that check attention", "leave the limit on failed checks out")
    if resamples < 1:
        raise UsageError(f"{resamples} resamples make no interval", "give 1 or more")
    sent, refused = read_answers(study, answers, strict)
    kept, inattentive = _attentive(study, sent, max_failed_checks)
    ballots = count_ballots(study, kept)
    if not ballots.runs.any():
        raise BadInput("none of the answers holds a choice for a clip", "collect answers, or raise the limit on checks")
    subsets = sorted({subset for subset in ballots.subsets if subset})
    figures = _figures(ballots, resamples, seed)
    return {
        "schema": RESULTS_SCHEMA,
        "page": study.page,
        "title": study.title,
        "runs": {name: run.model_dump() for name, run in sorted(study.runs.items())},
        "clips": {
            "asked": len(study.clips),
            "judged": int(ballots.runs.any(axis=(1, 2)).sum()),
            "comparable": study.comparable,
            "identical": len(study.identical),
            "left_out": len(study.left_out),
        },
        **figures,
        "with_identical": _with_identical(study, figures["rates"]),
        "by_subset": {name: _figures(ballots.of(name), resamples, seed) for name in subsets},
        "position": _position(ballots, resamples, seed),
        "agreement": agreement(ballots.runs, resamples, seed, _strata(ballots)),
        "raters": [_rater(study, each) for each in kept],
        "inattentive": [_rater(study, each) for each in inattentive],
        "comments": _comments(study, kept),
        "refused": [{"file": each.name, "reason": each.reason} for each in refused],
        "left_out": [each.model_dump() for each in study.left_out],
        "resamples": resamples,
        "seed": seed,
    }


def _attentive(study: StudyKey, sent: Sequence[Answers], max_failed: int | None) -> tuple[list[Answers], list[Answers]]:
    if max_failed is None:
        return list(sent), []
    failed = [_failed_checks(study, each) for each in sent]
    kept = [each for each, count in zip(sent, failed, strict=True) if count <= max_failed]
    return kept, [each for each, count in zip(sent, failed, strict=True) if count > max_failed]


def _failed_checks(study: StudyKey, answers: Answers) -> int:
    """Checks that were answered, and wrongly."""
    expected = {check.item: check.expected for check in study.checks}
    return sum(
        choice.choice is not None and choice.choice != expected[choice.item]
        for choice in answers.choices
        if choice.item in expected
    )


def _strata(ballots: Ballots) -> np.ndarray:
    return np.unique(np.array(ballots.subsets), return_inverse=True)[1]


def _figures(ballots: Ballots, resamples: int, seed: int) -> dict[str, Any]:
    found = shares(ballots.runs, resamples, seed, _strata(ballots))
    return {"rates": dict(zip(RUNS, found, strict=True)), "sign_test": sign_test(ballots.runs)}


def _position(ballots: Ballots, resamples: int, seed: int) -> dict[str, Any]:
    found = shares(ballots.sides[:, :, :2], resamples, seed, _strata(ballots))
    return dict(zip(("left", "right"), found, strict=True))


def _with_identical(study: StudyKey, rates: dict[str, Any]) -> dict[str, float | None]:
    """Rates over all clips that both runs gave a reason to, the share of identical ones taken as known."""
    differing = study.comparable / (study.comparable + len(study.identical))
    scaled = {name: None if rates[name]["share"] is None else rates[name]["share"] * differing for name in RUNS}
    if scaled["tie"] is not None:
        scaled["tie"] += 1 - differing
    return scaled


def _rater(study: StudyKey, answers: Answers) -> dict[str, Any]:
    clips = {clip.item for clip in study.clips}
    own = count_ballots(study, [answers])
    runs, sides = own.runs.sum(axis=(0, 1)), own.sides.sum(axis=(0, 1))
    times = [each.seconds for each in answers.choices if each.seconds is not None and each.item in clips]
    return {
        "rater": answers.rater,
        "complete": int(runs.sum()) == len(clips),
        "judged": int(runs.sum()),
        **{name: int(count) for name, count in zip(RUNS, runs, strict=True)},
        "left": int(sides[0]),
        "right": int(sides[1]),
        "median_seconds": float(median(times)) if times else None,
        "changes": sum(choice.changes for choice in answers.choices),
        "checks": len(study.checks),
        "failed_checks": _failed_checks(study, answers),
    }


def _comments(study: StudyKey, kept: Sequence[Answers]) -> list[dict[str, str]]:
    names = {clip.item: clip.name for clip in study.clips}
    return [
        {"rater": each.rater, "clip": names.get(choice.item, choice.item), "comment": choice.comment}
        for each in kept
        for choice in each.choices
        if choice.comment.strip()
    ]
