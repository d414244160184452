"""Two runs → the clips whose reasons can be compared, and why the others can't be."""

from __future__ import annotations

from dataclasses import dataclass

from mosear.clips.benchmarks.record import Skipped
from mosear.evaluation.record import ClipRecord
from mosear.evaluation.results import Run
from mosear.runtime.errors import BadInput


@dataclass(frozen=True)
class Pair:
    """One clip as both runs answered it."""

    a: ClipRecord
    b: ClipRecord

    @property
    def name(self) -> str:
        """Of the clip."""
        return self.a.name

    @property
    def subset(self) -> str | None:
        """Of the clip."""
        return self.a.subset


@dataclass(frozen=True)
class Pairing:
    """What two runs have in common.

    Attributes:
        pairs: clips with two different reasons, in the order of the first run.
        identical: clips to which both gave the same reason, but for white space: nothing to choose between.
        left_out: all other clips of either run, and why.
    """

    pairs: tuple[Pair, ...]
    identical: tuple[Pair, ...]
    left_out: tuple[Skipped, ...]


def pair_runs(a: Run, b: Run) -> Pairing:
    """Compare two runs clip by clip.

    Raises:
        BadInput: they are of different benchmarks, or no clip has two different reasons.
    """
    _check_same_benchmark(a, b)
    others = {record.name: record for record in b.records}
    pairs: list[Pair] = []
    identical: list[Pair] = []
    left_out: list[Skipped] = []
    for record in a.records:
        other = others.pop(record.name, None)
        if other is None:
            left_out.append(Skipped(record.name, f"{b.path} has no answer to it"))
        elif why := _why_not(record, other, a, b):
            left_out.append(Skipped(record.name, why))
        elif _folded(record.reason) == _folded(other.reason):
            identical.append(Pair(record, other))
        else:
            pairs.append(Pair(record, other))
    left_out += [Skipped(name, f"{a.path} has no answer to it") for name in others]
    if not pairs:
        raise _nothing(a, b, identical, left_out)
    return Pairing(tuple(pairs), tuple(identical), tuple(left_out))


def _check_same_benchmark(a: Run, b: Run) -> None:
    titles = [(run.about["setup"].get("benchmark") or {}).get("name") for run in (a, b)]
    if titles[0] != titles[1]:
        raise BadInput(
            f"{a.path} is a run on {titles[0]} and {b.path} one on {titles[1]}",
            "give two runs on the same benchmark",
        )


def _why_not(record: ClipRecord, other: ClipRecord, a: Run, b: Run) -> str | None:
    for run, each in ((a, record), (b, other)):
        if not _folded(each.reason):
            return f"{run.path} has no reason for it"
    if record.transcript != other.transcript:
        return "the two runs were given different transcripts"
    return None


def _folded(text: str | None) -> str:
    return " ".join((text or "").split())


def _nothing(a: Run, b: Run, identical: list[Pair], left_out: list[Skipped]) -> BadInput:
    if identical:
        what = f"{a.path} and {b.path} give the same reason for each of their {len(identical)} common clips"
        return BadInput(what, "there is nothing to choose between; give two runs that differ")
    if any("no reason" in each.reason for each in left_out):
        what = f"no clip has a reason in both {a.path} and {b.path}"
        return BadInput(what, "run mosear-eval run with --reason for both, on the same clips")
    what = f"{a.path} and {b.path} have no clip in common"
    return BadInput(what, "run both on the same clips, with the same --limit")
