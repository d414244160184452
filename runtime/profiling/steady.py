"""The steady state: a loaded model, idle at first, then warm, then measured, with the sensors read all the while."""

from __future__ import annotations

from dataclasses import dataclass

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.memory import DeviceMemory, process_memory, reset_peak
from mosear.runtime.board.records import Energy, Memory, Reading
from mosear.runtime.board.sampler import Sampler
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.profiling.clock import Clock
from mosear.runtime.profiling.contender import Contender, Run
from mosear.runtime.profiling.plan import Plan
from mosear.runtime.profiling.progress import Tell
from mosear.runtime.profiling.scenario import at_fixed_rate
from mosear.runtime.profiling.source import Source

Phase = tuple[float, float]
"""Begin and end on the profile's clock."""


@dataclass(frozen=True)
class Steady:
    """What was measured.

    Attributes:
        warmup: runs that don't count.
        runs: runs that do.
        latencies_ms: of a fixed rate, from a window's arrival to its answer, one value a run; else empty.
        dropped: of a fixed rate, windows left out; else 0.
        memory: peaks of this process, and of the device where it is used.
        energy: None where no rail can be read.
        timeline: the sensors' readings.
        notes: what could not be measured, and what the sensors left out, a line each.
    """

    warmup: list[Run]
    runs: list[Run]
    latencies_ms: list[float]
    dropped: int
    memory: list[Memory]
    energy: Energy | None
    timeline: list[Reading]
    notes: list[str]


def steady_state(plan: Plan, source: Source, clock: Clock, machine: Machine, tell: Tell) -> Steady:
    """Load the bundle and measure it; it is unloaded when this returns.

    Raises:
        BadInput, Failed: as ``Contender.run``.
    """
    device = DeviceMemory.open() if plan.provider == "cuda" else None
    try:
        baseline = device.used() if device is not None else None
        tell("loading", 0, 1)
        pipeline = Pipeline(plan.bundle, plan.threads, plan.provider, plan.debug)
        contender = Contender(pipeline, source, plan.tokens or 0)
        was_reset = reset_peak(machine)
        with Sampler(machine, clock=clock.now, device=device) as sampler:
            idle = _idle(plan, sampler, clock, tell)
            warmup = _warm_up(plan, contender, tell)
            runs, latencies, dropped = _measured(plan, contender, clock, tell)
            # The last interval's reading, so that power is known up to the end.
            clock.sleep_until(clock.now() + 2 * (sampler.interval_s or 0.0))
        held = [process_memory(machine, was_reset)]
        if device is not None:
            held.append(device.memory(baseline, sampler.device_peak_bytes))
    finally:
        if device is not None:
            device.close()
    energy, why = _energy(plan, sampler, clock, idle, runs)
    return Steady(
        warmup=warmup,
        runs=runs,
        latencies_ms=latencies,
        dropped=dropped,
        memory=[each for each in held if each is not None],
        energy=energy,
        timeline=list(sampler.readings),
        notes=[*([f"energy was not measured: {why}"] if why else []), *sampler.notes()],
    )


def _idle(plan: Plan, sampler: Sampler, clock: Clock, tell: Tell) -> Phase | None:
    """Wait with the model loaded, where there is power to be read."""
    if sampler.total is None or not plan.idle_s:
        return None
    tell("idle", 0, 1)
    began = clock.now()
    clock.sleep_until(began + plan.idle_s)
    return began, clock.now()


def _warm_up(plan: Plan, contender: Contender, tell: Tell) -> list[Run]:
    runs = []
    for count in range(plan.warmup):
        tell("warming up", count, plan.warmup)
        runs.append(contender.run())
    return runs


def _measured(plan: Plan, contender: Contender, clock: Clock, tell: Tell) -> tuple[list[Run], list[float], int]:
    """The runs, and of a fixed rate the latencies in ms and how many windows were dropped."""
    runs: list[Run] = []
    if plan.hop_s is None:
        for count in range(plan.runs):
            tell("measuring", count, plan.runs)
            runs.append(contender.run())
        return runs, [], 0
    latencies, dropped = [], 0
    tell("measuring", 0, plan.runs)
    for answered in at_fixed_rate(contender.run, plan.runs, plan.hop_s, clock):
        runs.append(answered.run)
        latencies.append(answered.latency_s * 1000)
        dropped += answered.dropped
        tell("measuring", len(runs), plan.runs)
    return runs, latencies, dropped


def _energy(
    plan: Plan, sampler: Sampler, clock: Clock, idle: Phase | None, runs: list[Run]
) -> tuple[Energy | None, str]:
    """Energy of a run, its share of the time between runs included; or None, and why there is none."""
    busy = clock.at(runs[0].began), clock.at(runs[-1].ended)
    if idle is None:
        why = "idle power was left out with --idle 0" if sampler.total is not None else sampler.method()
        return None, why
    return sampler.energy(idle, busy, (busy[1] - busy[0]) / len(runs))
