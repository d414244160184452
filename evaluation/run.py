"""A run, top to bottom: clips are handed out, answers kept as they come, figures made of all of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from mosear.clips.benchmarks.record import BenchmarkClip, Skipped
from mosear.evaluation.distribution.here import run_here
from mosear.evaluation.distribution.on_ray import run_on_ray
from mosear.evaluation.distribution.outcome import Done, Lost, Refused
from mosear.evaluation.distribution.processes import run_in_processes
from mosear.evaluation.opening import Answered
from mosear.evaluation.plan import Plan
from mosear.evaluation.results import RunWriter
from mosear.runtime.errors import BadInput

Outcome = Done | Refused | Lost


@dataclass(frozen=True)
class Where:
    """Who answers: this process, ``workers`` processes of this machine, or those of a Ray cluster."""

    workers: int | None = None
    ray: str | None = None


@dataclass
class Counts:
    """How far a run is."""

    answered: int = 0
    kept: int = 0
    skipped: int = 0


def answer_all(plan: Plan, where: Where, progress: Callable[[Counts], None]) -> list[Skipped]:
    """Answer every clip of a plan that has no answer yet.

    Args:
        plan: what to do.
        where: who does it.
        progress: called after each clip.

    Returns:
        The clips without an answer, those that were left out while reading included.

    Raises:
        BadInput: the folder of results holds another run, the model can't be opened, or no clip at all was answered.
        UsageError, Failed: as the model raises them.
    """
    counts = Counts()
    skipped = list(plan.benchmark.skipped)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(RunWriter(folder, plan.setups[name], plan.more))
            for name, folder in plan.outputs.items()
        }
        done = set.intersection(*(writer.done for writer in writers.values()))
        counts.kept = len(done)
        progress(counts)
        wanted = ((clip.name, clip) for clip in plan.clips if clip.name not in done)
        if len(done) < len(plan.clips):
            with closing(_outcomes(plan, where, wanted)) as outcomes:
                for outcome in outcomes:
                    if isinstance(outcome, Done):
                        _keep(outcome.result, writers)
                        counts.answered += 1
                    else:
                        skipped.append(Skipped(outcome.key, _why(outcome)))
                        counts.skipped += 1
                    progress(counts)
        if not counts.answered and not counts.kept:
            first = skipped[-1]
            raise BadInput(f"no clip was answered ({first.name}: {first.reason})", "check --root and the clips")
        order = [clip.name for clip in plan.clips]
        place = {name: index for index, name in enumerate(order)}
        skipped.sort(key=lambda each: place.get(each.name, -1))
        for writer in writers.values():
            writer.finish(order, skipped)
    return skipped


def _outcomes(plan: Plan, where: Where, wanted: Iterable[tuple[str, BenchmarkClip]]) -> Generator[Outcome, None, None]:
    if where.ray is not None:
        gpus = plan.subject.on_gpu if plan.opener.provider is None else plan.opener.provider != "cpu"
        return run_on_ray(
            plan.opener,
            wanted,
            where.ray,
            workers=where.workers,
            cpus_each=plan.opener.threads or 1,
            gpus_each=1 if gpus else 0,
        )
    if where.workers is not None:
        return run_in_processes(plan.opener, wanted, where.workers)
    return run_here(plan.opener, wanted)


def _keep(answered: Answered, writers: dict[str, RunWriter]) -> None:
    for name, (record, attention) in answered.items():
        if record.name not in writers[name].done:
            writers[name].add(record, attention)


def _why(outcome: Refused | Lost) -> str:
    return outcome.what if isinstance(outcome, Refused) else f"{outcome.reason} ({outcome.attempts} attempts)"
