"""A profile from beginning to end: cold starts, the model loaded and idle, warm-up, the runs, operators."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.runtime.board.context import changed, context, state
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.records import Memory
from mosear.runtime.board.warnings import warnings
from mosear.runtime.errors import MosearError
from mosear.runtime.profiling.clip_at_hand import ClipAtHand, clip_at_hand
from mosear.runtime.profiling.clock import Clock, today
from mosear.runtime.profiling.cold import PHASES, ColdAsk, ColdStart, cold_start
from mosear.runtime.profiling.operators import profile_operators
from mosear.runtime.profiling.plan import Plan
from mosear.runtime.profiling.progress import Tell, nobody
from mosear.runtime.profiling.record import Operator, Profile
from mosear.runtime.profiling.samples import samples_of, spans_of, units_of
from mosear.runtime.profiling.source import Source
from mosear.runtime.profiling.steady import Steady, steady_state

OPERATOR_RUNS = 10
"""Windows of the pass in which operators are timed, or fewer where fewer runs were asked for."""

LATENCY = "latency"


def measure(plan: Plan, tell: Tell = nobody, machine: Machine | None = None) -> Profile:
    """Measure one bundle.

    Args:
        plan: resolved.
        tell: told how far it is, between runs.
        machine: whose context and sensors are recorded; this one's when left out.

    Raises:
        BadInput: the clip can't be read, or has nothing to answer.
        Failed: a fresh process does not answer, or the inference library fails.
    """
    machine = machine or Machine()
    created = today()
    clock = Clock()
    with clip_at_hand(plan.clip, plan.window_s or 0.0) as clip:
        source = Source(clip.path, plan.bundle.manifest.preprocessing, plan.window_s, clip.transcript)
        cold = _cold_starts(plan, clip, tell)
        before = context(machine)
        steady = steady_state(plan, source, clock, machine, tell)
        after = state(machine)
        operators, method = _operators(plan, source, tell)
    samples = samples_of(steady.runs)
    if steady.latencies_ms:
        samples[LATENCY] = steady.latencies_ms
    return Profile(
        bundle=plan.facts,
        clip=clip.name,
        settings=plan.settings,
        scenario=_scenario(plan, steady),
        samples=samples,
        units=units_of(samples),
        cold_start=_by_phase(cold),
        memory=[*steady.memory, *_cold_memory(cold)],
        energy=steady.energy,
        timeline=steady.timeline,
        operators=operators,
        operators_method=method,
        spans=[*spans_of(steady.warmup, clock, -len(steady.warmup)), *spans_of(steady.runs, clock)],
        context={**before, "after": changed(before, after)},
        warnings=[*warnings(before, after), *_of_clip(plan, source), *steady.notes],
        created=created,
    )


def _cold_starts(plan: Plan, clip: ClipAtHand, tell: Tell) -> list[ColdStart]:
    ask = ColdAsk(
        bundle=str(plan.bundle.path),
        clip=str(clip.path),
        window_s=plan.window_s or 0.0,
        transcript=clip.transcript,
        threads=plan.threads,
        provider=plan.provider,
    )
    found = []
    for count in range(plan.cold):
        tell("cold start", count, plan.cold)
        found.append(cold_start(ask))
    return found


def _by_phase(starts: Sequence[ColdStart]) -> dict[str, list[float]]:
    return {phase: [each.phases[phase] for each in starts] for phase in PHASES} if starts else {}


def _cold_memory(starts: Sequence[ColdStart]) -> list[Memory]:
    peaks = [each.peak_bytes for each in starts if each.peak_bytes is not None]
    if not peaks:
        return []
    count = "a fresh process" if len(peaks) == 1 else f"{len(peaks)} fresh processes"
    return [Memory("process", max(peaks), f"VmHWM of {count}, from the start to the first answer")]


def _operators(plan: Plan, source: Source, tell: Tell) -> tuple[list[Operator] | None, str]:
    """The runs are measured by then: what goes wrong here is said, and does not take them along."""
    if not plan.operators:
        return None, "left out with --no-operators"
    runs = min(plan.runs, OPERATOR_RUNS)
    tell("operators", 0, 1)
    try:
        windows = [source.next() for _ in range(min(source.count, runs))]
        return profile_operators(plan.bundle, windows, runs, plan.threads, plan.provider, plan.tokens or 0, plan.debug)
    except MosearError as error:
        return None, f"{error.what}; {error.remedy}"


def _scenario(plan: Plan, steady: Steady) -> dict[str, object]:
    if plan.hop_s is None:
        return {"kind": plan.scenario.value}
    answered = len(steady.runs)
    counts = {"arrived": answered + steady.dropped, "answered": answered, "dropped": steady.dropped}
    return {"kind": plan.scenario.value, "hop_s": plan.hop_s, **counts}


def _of_clip(plan: Plan, source: Source) -> list[str]:
    """What a clip leaves unmeasured."""
    lines = []
    if not source.has_video:
        lines.append("the clip has no picture, so that the vision encoder did not run, and the prompt had one row")
    if not source.has_audio:
        lines.append("the clip has no sound, so that the audio encoder did not run, and the prompt had one row")
    if source.is_short:
        lines.append(f"the clip is shorter than a window of {plan.window_s:g} s")
    return lines
