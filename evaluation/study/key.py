"""What raters must not see: whose reason stands where, and what the page was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mosear.runtime.errors import BadInput

PAGE_SCHEMA = "mosear.study/1"
ANSWERS_SCHEMA = "mosear.study-answers/1"
Side = Literal["left", "right"]
"""Of the two reasons: ``left`` is the one that the page calls Reason 1."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyRun(_Strict):
    """One of the two runs.

    Attributes:
        title: what it is, in a few words.
        path: its folder, as it was given.
        sha256: of the bundle or checkpoint, or None where the run does not say.
    """

    title: str
    path: str
    sha256: str | None


class KeyClip(_Strict):
    """One clip of the page.

    Attributes:
        item: what the page calls it.
        name, subset: what the benchmark calls it.
        left: the run whose reason is on the left.
        media: whether the page holds the clip: as it is, converted, or not at all.
    """

    item: str
    name: str
    subset: str | None
    left: Literal["A", "B"]
    media: Literal["embedded", "converted", "named"]


class KeyCheck(_Strict):
    """A question without a clip, whose text says what to choose."""

    item: str
    expected: Side


class KeyLeftOut(_Strict):
    """A clip of the runs that can't be compared, and why."""

    name: str
    reason: str


class StudyKey(_Strict):
    """The file ``STUDY.key.json``.

    Attributes:
        page: the id of the page; answers to any other are refused.
        title, seed, tie: as the study was made with; ``tie``: raters may choose "about equal".
        runs: by ``A`` and ``B``.
        clips, checks: what the page asks.
        identical: names of clips that were left out because both runs gave the same reason.
        comparable: number of clips with two different reasons, of which ``clips`` were drawn.
        left_out: all other clips of the runs.
    """

    schema_: Literal["mosear.study-key/1"] = Field(alias="schema")
    page: str
    title: str
    seed: int
    tie: bool
    runs: dict[Literal["A", "B"], KeyRun]
    clips: list[KeyClip] = Field(min_length=1)
    checks: list[KeyCheck]
    identical: list[str]
    comparable: int = Field(ge=1)
    left_out: list[KeyLeftOut]


def key_path(page: Path) -> Path:
    """Where the key of a page is: ``study.html`` → ``study.key.json``."""
    return page.with_name(f"{page.stem}.key.json")


def read_key(path: Path) -> StudyKey:
    """Read the key of a study.

    Raises:
        BadInput: it is missing, damaged or of another kind.
    """
    try:
        return StudyKey.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"{path} can't be read ({error.strerror or error})",
            "give the STUDY.key.json that was written with the page",
        ) from error
    except ValidationError as error:
        raise BadInput(
            f"{path} is no key of a study ({first_problem(error)})",
            "give the STUDY.key.json that was written with the page",
        ) from error


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong in a file, in one line."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
