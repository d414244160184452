"""Makes a study of two runs: one page for raters, and the key to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mosear.evaluation.results import Run, read_run
from mosear.evaluation.study.clip_media import Media, find_media, read_media
from mosear.evaluation.study.key import KeyCheck, KeyClip, KeyLeftOut, KeyRun, StudyKey, key_path
from mosear.evaluation.study.lots import A, B, draw_clips, draw_sides
from mosear.evaluation.study.page_document import Item, Page, write_page
from mosear.evaluation.study.pairing import Pair, pair_runs
from mosear.evaluation.study.summary import summary
from mosear.runtime.errors import BadInput, Failed, UsageError

TITLE = "Which reason fits the clip better?"
LIMIT_MB = 200.0
_CHECK = "This question has no clip: it checks that both texts are read. Choose {} one here."


@dataclass(frozen=True)
class Study:
    """A study that was made.

    Attributes:
        page: the HTML file for raters.
        key_file: the JSON file beside it, which they must not have.
        key: what it holds.
    """

    page: Path
    key_file: Path
    key: StudyKey

    def summary(self) -> list[str]:
        """What to tell whoever made it, line by line."""
        return summary(self.key, self.page.name, self.key_file.name)


@dataclass(frozen=True)
class _Question:
    pair: Pair
    left: str
    media: Media | None

    def item(self, name: str) -> Item:
        first, second = (self.pair.a, self.pair.b) if self.left == A else (self.pair.b, self.pair.a)
        clip = self.pair.name if self.media is None else None
        reasons = ((first.reason or "").strip(), (second.reason or "").strip())
        return Item(name, *reasons, self.pair.a.transcript, clip, self.media)

    def key(self, name: str) -> KeyClip:
        held = "named" if self.media is None else "converted" if self.media.converted else "embedded"
        subset = None if self.pair.subset is None else _whole(self.pair.subset)
        return KeyClip.model_validate(
            {"item": name, "name": _whole(self.pair.name), "subset": subset, "left": self.left, "media": held}
        )


def make_study(
    a: Path,
    b: Path,
    output: Path,
    *,
    clips: int | None = None,
    seed: int = 0,
    media: Literal["embed", "none"] = "embed",
    root: Path | None = None,
    limit_mb: float = LIMIT_MB,
    tie: bool = True,
    checks: int = 0,
    title: str = TITLE,
    organiser: str | None = None,
) -> Study:
    """Write a page, and its key beside it: ``study.html`` and ``study.key.json``.

    Args:
        a, b: folders of runs with reasons.
        output: the page, ending in ``.html``.
        clips: how many to draw, from every subset its share; None takes all that can be compared.
        seed: of what chance decides: clips, their order, sides.
        media: ``embed`` puts clips whose files are found into the page; ``none`` names them only.
        root: where the clips are; by default where each run read them.
        limit_mb: most that the clips in the page may have together, in millions of bytes.
        tie: raters may also choose "about equal".
        checks: number of questions that check attention.
        title: of the page. Raters read it, so it must not tell what is compared.
        organiser: whom raters can ask, as the page shows it.

    Raises:
        UsageError: an argument that can't be met.
        BadInput: a run can't be read, or there is nothing to compare; clips over the limit, or one that can't be shown;
            something else is at ``output`` already.
        Failed: the files can't be written.
    """
    _check_arguments(output, media, checks, limit_mb)
    runs = {A: read_run(a), B: read_run(b)}
    pairing = pair_runs(runs[A], runs[B])
    chance = random.Random(seed)
    drawn = draw_clips(pairing.pairs, clips, chance)
    sides = draw_sides(drawn, chance)
    held = _gather(drawn, _roots(root, runs), limit_mb) if media == "embed" else [None] * len(drawn)
    questions = {
        f"c{number:04d}": _Question(*parts) for number, parts in enumerate(zip(drawn, sides, held, strict=True), 1)
    }
    expected = {f"c{len(drawn) + number:04d}": chance.choice(("left", "right")) for number in range(1, checks + 1)}
    items = [question.item(name) for name, question in questions.items()]
    items += [_check_item(name, side) for name, side in expected.items()]
    title = _whole(title)
    page = Page(_page_id(items, title, tie), title, _whole(organiser or ""), tie, tuple(items))
    key = StudyKey(
        schema="mosear.study-key/1",
        page=page.id,
        title=title,
        seed=seed,
        tie=tie,
        runs={"A": _key_run(runs[A]), "B": _key_run(runs[B])},
        clips=[question.key(name) for name, question in questions.items()],
        checks=[KeyCheck.model_validate({"item": name, "expected": side}) for name, side in expected.items()],
        identical=[_whole(pair.name) for pair in pairing.identical],
        comparable=len(pairing.pairs),
        left_out=[KeyLeftOut(name=_whole(each.name), reason=_whole(each.reason)) for each in pairing.left_out],
    )
    return _write(output, page, key)


def _check_arguments(output: Path, media: str, checks: int, limit_mb: float) -> None:
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output} is no name of a page", "end it in .html")
    if media not in ("embed", "none"):
        raise UsageError(f"there is no way to show clips called {media}", "choose embed or none")
    if checks < 0:
        raise UsageError(f"{checks} questions that check attention can't be asked", "give 0 or more")
    if not limit_mb > 0:
        raise UsageError(f"a limit of {limit_mb:g} MB leaves no room for clips", "raise it, or leave clips out")


def _roots(root: Path | None, runs: dict[str, Run]) -> list[Path]:
    if root is None:
        return [Path(run.about["root"]) for run in runs.values() if run.about.get("root")]
    if not root.is_dir():
        raise BadInput(f"there is no folder {root}", "give the folder of the benchmark's clips")
    return [root]


def _gather(drawn: Sequence[Pair], roots: Sequence[Path], limit_mb: float) -> list[Media | None]:
    found: list[Media | None] = []
    total = 0
    for pair in drawn:
        path = find_media(pair.a.media, roots) or find_media(pair.b.media, roots)
        media = None if path is None else read_media(path)
        total += 0 if media is None else len(media.data)
        if total > limit_mb * 1e6:
            raise BadInput(
                f"{len(found) + 1} of {len(drawn)} clips already have more than {limit_mb:g} MB",
                "draw fewer clips, raise the limit, or leave them out of the page and send them beside it",
            )
        found.append(media)
    return found


def _check_item(name: str, side: str) -> Item:
    left, right = ("this", "the other") if side == "left" else ("the other", "this")
    return Item(name, _CHECK.format(left), _CHECK.format(right), None, None, None)


def _page_id(items: Sequence[Item], title: str, tie: bool) -> str:
    """The same questions have the same id. Clips' bytes don't count: an encoder may give others each time."""
    told = [[item.id, item.left, item.right, item.transcript, item.clip] for item in items]
    return hashlib.sha256(json.dumps([title, tie, told]).encode()).hexdigest()[:16]


def _key_run(run: Run) -> KeyRun:
    return KeyRun(
        title=_whole(run.title), path=_whole(str(run.path)), sha256=run.about["setup"]["subject"].get("sha256")
    )


def _whole(text: str) -> str:
    """Text without halves of UTF-16 pairs, which JSON can name and UTF-8 can't hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _write(output: Path, page: Page, key: StudyKey) -> Study:
    key_file = key_path(output)
    _check_not_another(output, key_file, page.id)
    part = key_file.with_name(f".{key_file.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # The key is there before the page is: no page is ever without one.
        part.write_text(json.dumps(key.model_dump(by_alias=True), indent=1) + "\n", encoding="utf-8")
        part.chmod(0o600)
        os.replace(part, key_file)
        write_page(page, output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failed(f"{output} can't be written ({error.strerror or error})", "free space or permit it") from error
    return Study(output, key_file, key)


def _check_not_another(output: Path, key_file: Path, page: str) -> None:
    """Refuse to overwrite another study: without its key, answers to it mean nothing."""
    for path in (key_file, output):
        if not path.exists():
            continue
        try:
            held = json.loads(key_file.read_text(encoding="utf-8"))["page"]
        except (OSError, ValueError, LookupError, TypeError):
            held = None
        if held != page:
            raise BadInput(f"{path} is there already, of another study or something else", "choose another name")
