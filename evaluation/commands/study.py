"""``mosear-eval study`` and ``study-results``: which of two runs' reasons people prefer."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mosear.evaluation.study.analyse import analyse
from mosear.evaluation.study.make import LIMIT_MB, TITLE, make_study
from mosear.evaluation.study.results_table import results_table
from mosear.runtime.commands.choices import Debug
from mosear.runtime.terminal import exits


class Media(str, Enum):
    """Whether clips are put into the page."""

    embed = "embed"
    none = "none"


def study(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run that asked for reasons.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one on the same clips.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page; its key is put beside it.")],
    clips: Annotated[int | None, typer.Option(min=1, help="So many clips, drawn by subset; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of what chance decides: clips, their order, sides.")] = 0,
    media: Annotated[
        Media, typer.Option(help="embed: clips are in the page; none: raters have them beside it.")
    ] = Media.embed,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the clips are; where the runs read them by default.")
    ] = None,
    limit_mb: Annotated[float, typer.Option(min=0.0, help="Most that the clips in the page have together.")] = LIMIT_MB,
    tie: Annotated[bool, typer.Option("--tie/--no-tie", help="Whether raters may say that both fit alike.")] = True,
    checks: Annotated[int, typer.Option(min=0, help="Questions that check attention.")] = 0,
    title: Annotated[str, typer.Option(help="Of the page.")] = TITLE,
    organiser: Annotated[str | None, typer.Option(help="Whom raters can ask, as the page shows it.")] = None,
    debug: Debug = False,
) -> None:
    """Make a study; see the help above."""
    with exits(debug):
        made = make_study(
            a,
            b,
            output,
            clips=clips,
            seed=seed,
            media=media.value,
            root=root,
            limit_mb=limit_mb,
            tie=tie,
            checks=checks,
            title=title,
            organiser=organiser,
        )
        for line in made.summary():
            print(line, file=sys.stderr)
        print(made.page)


def study_results(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The study's key.json.")],
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS", help="Files that raters sent back.")],
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Leave out files that can't be counted, and say so, instead of stopping.")
    ] = False,
    max_failed_checks: Annotated[
        int | None, typer.Option(min=0, help="Leave out raters who fail more questions that check attention.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap's draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")] = False,
    debug: Debug = False,
) -> None:
    """Preference rates and agreement; see the help above."""
    with exits(debug):
        found = analyse(key, answers, strict=not lenient, max_failed_checks=max_failed_checks, seed=seed)
        print(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) if as_json else results_table(found))
