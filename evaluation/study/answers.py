"""Files that raters send back, each checked against the key of the study."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mosear.clips.benchmarks.record import Skipped
from mosear.evaluation.study.key import StudyKey, first_problem
from mosear.runtime.errors import BadInput, UsageError, one_line

_LARGEST = 32 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Choice(_Strict):
    """What a rater chose for one item.

    Attributes:
        item: as in the key.
        choice: the side whose reason fits better, ``tie`` for about equal, or None when it was skipped.
        seconds: that the question was in sight until the choice; None when it was skipped.
        changes: how often the choice was changed.
        comment: of the rater, perhaps empty.
    """

    item: str
    choice: Literal["left", "right", "tie"] | None
    seconds: float | None = Field(ge=0, allow_inf_nan=False)
    changes: int = Field(ge=0)
    comment: str = Field(max_length=4000)


class Answers(_Strict):
    """The file of one rater.

    Attributes:
        page: the id of the page.
        rater: as the rater typed it.
        complete: every item has a choice.
        order: the items as the page showed them.
        choices: in that order.
    """

    schema_: Literal["mosear.study-answers/1"] = Field(alias="schema")
    page: str
    rater: str = Field(min_length=1, max_length=200)
    complete: bool
    order: list[str]
    choices: list[Choice]


def read_answers(key: StudyKey, paths: Sequence[Path], strict: bool) -> tuple[list[Answers], list[Skipped]]:
    """Read what raters sent.

    Args:
        key: of the study.
        paths: their files.
        strict: refuse all when one can't be counted; else go on with the others.

    Returns:
        What can be counted, and the files that can't be, with the reason.

    Raises:
        UsageError: no file is given.
        BadInput: with ``strict``, a file is broken, of another page, asks of items that the page doesn't have, or
            comes from a rater who sent another one too; in any case when nothing is left.
    """
    if not paths:
        raise UsageError("no answers are given", "name the answers-….json files that raters sent")
    read: dict[Path, Answers] = {}
    refused: list[Skipped] = []
    for path in dict.fromkeys(paths):
        try:
            read[path] = _read(key, path)
        except _Refused as error:
            refused.append(Skipped(str(path), str(error)))
    for paths_of_one in _by_rater(read).values():
        if len(paths_of_one) > 1:
            others = {path: [str(each) for each in paths_of_one if each != path] for path in paths_of_one}
            for path, elsewhere in others.items():
                rater = read.pop(path).rater
                refused.append(Skipped(str(path), f"rater {rater} also sent {' and '.join(elsewhere)}"))
    if refused and (strict or not read):
        told = "; ".join(f"{each.name}: {each.reason}" for each in refused)
        remedy = "give one whole file of this study a rater"
        raise BadInput(one_line(f"{len(refused)} of {len(read) + len(refused)} files can't be counted: {told}"), remedy)
    return list(read.values()), refused


class _Refused(Exception):
    """Why one file can't be counted."""


def _read(key: StudyKey, path: Path) -> Answers:
    try:
        if path.stat().st_size > _LARGEST:
            raise _Refused(f"it is larger than {_LARGEST >> 20} MiB")
        answers = Answers.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _Refused(f"it can't be read ({error.strerror or error})") from error
    except ValidationError as error:
        raise _Refused(f"it is no file of answers ({first_problem(error)})") from error
    if answers.page != key.page:
        raise _Refused(f"it answers the page {answers.page}, not {key.page}")
    items = {clip.item for clip in key.clips} | {check.item for check in key.checks}
    given = [choice.item for choice in answers.choices]
    if unknown := sorted({*given, *answers.order} - items):
        raise _Refused(f"the page has no item {unknown[0]}")
    if repeated := [item for item, count in Counter(given).items() if count > 1]:
        raise _Refused(f"it answers {repeated[0]} twice")
    if sorted(answers.order) != sorted(items):
        raise _Refused("its order is not one of the page's items")
    if not key.tie and any(choice.choice == "tie" for choice in answers.choices):
        raise _Refused("it holds ties, which the page does not offer")
    return answers


def _by_rater(read: dict[Path, Answers]) -> dict[str, list[Path]]:
    """Paths by rater: ids that differ in case or white space only are one rater's."""
    raters: dict[str, list[Path]] = {}
    for path, answers in read.items():
        raters.setdefault(" ".join(unicodedata.normalize("NFKC", answers.rater).casefold().split()), []).append(path)
    return raters
