"""Two bundles measured in one process, run by run in turns, so that both meet the same machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mosear.runtime.board.context import changed, context, state
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.warnings import warnings
from mosear.runtime.errors import UsageError
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.profiling.clip_at_hand import ClipAtHand, clip_at_hand
from mosear.runtime.profiling.clock import today
from mosear.runtime.profiling.compare import LEVEL, RESAMPLES, Comparison, contrasts_of_pairs
from mosear.runtime.profiling.contender import Contender, Run
from mosear.runtime.profiling.plan import Plan
from mosear.runtime.profiling.progress import Tell, nobody
from mosear.runtime.profiling.samples import samples_of, units_of
from mosear.runtime.profiling.source import Source

SEED = 0
"""Of the order within the pairs."""

METHOD = (
    "median of B/A pair by pair, {pairs} pairs of the same window, order within a pair random; "
    f"{LEVEL:.0%} percentile bootstrap, {RESAMPLES} resamples"
)

# Tokens of one run are no pairs of their own; tokens a second say the same run by run.
_NO_PAIRS = "inter_token_latency"


def check_comparable(a: Plan, b: Plan) -> None:
    """Raise UsageError when two resolved plans would give the contenders windows of different lengths."""
    if a.window_s != b.window_s:
        raise UsageError(
            f"{a.bundle.path} takes windows of {a.window_s:g} s, {b.bundle.path} of {b.window_s:g} s",
            f"give both the same with --window {min(a.window_s or 0, b.window_s or 0):g}",
        )


def compare_bundles(
    a: Plan, b: Plan, seed: int = SEED, tell: Tell = nobody, machine: Machine | None = None
) -> Comparison:
    """Compare two bundles on one clip.

    Each pair is one window, read and answered by both, each reading it anew. Text is left out when one of them gives
    none.

    Args:
        a: resolved.
        b: resolved, and equal to ``a`` but for the bundle and what follows from it.
        seed: of the order within the pairs.
        tell: told how far it is.
        machine: whose context is recorded; this one's when left out.

    Raises:
        UsageError: as ``check_comparable``.
        BadInput, Failed: as ``Contender.run``.
    """
    check_comparable(a, b)
    tokens = min(a.tokens or 0, b.tokens or 0)
    machine = machine or Machine()
    created = today()
    with clip_at_hand(a.clip, a.window_s or 0.0) as clip:
        tell("loading both bundles", 0, 1)
        contenders = [_contender(plan, clip, tokens) for plan in (a, b)]
        before = context(machine)
        runs = _in_turns(contenders, a.runs, a.warmup, seed, tell)
        after = state(machine)
    first, second = (_by_run(each) for each in runs)
    return Comparison(
        kind="bundles",
        a=a.facts,
        b=b.facts,
        clip=clip.name,
        settings={**a.settings, "tokens": tokens, "provider": _both(a.provider, b.provider)},
        metrics=contrasts_of_pairs(first, second, units_of(first)),
        method=METHOD.format(pairs=a.runs),
        context={**before, "after": changed(before, after)},
        warnings=warnings(before, after),
        created=created,
    )


def _by_run(runs: Sequence[Run]) -> dict[str, list[float]]:
    return {name: values for name, values in samples_of(runs).items() if name != _NO_PAIRS}


def _both(a: str | None, b: str | None) -> str | None:
    return a if a == b else f"{a}, {b}"


def _contender(plan: Plan, clip: ClipAtHand, tokens: int) -> Contender:
    source = Source(clip.path, plan.bundle.manifest.preprocessing, plan.window_s, clip.transcript)
    return Contender(Pipeline(plan.bundle, plan.threads, plan.provider, plan.debug), source, tokens)


def _in_turns(contenders: Sequence[Contender], runs: int, warmup: int, seed: int, tell: Tell) -> list[list[Run]]:
    """The runs of each contender that count, in the order of the pairs."""
    random = np.random.default_rng(seed)
    found: list[list[Run]] = [[] for _ in contenders]
    for pair in range(-warmup, runs):
        if pair < 0:
            tell("warming up", pair + warmup, warmup)
        else:
            tell("comparing", pair, runs)
        for place in random.permutation(len(contenders)):
            run = contenders[place].run()
            if pair >= 0:
                found[place].append(run)
    return found
