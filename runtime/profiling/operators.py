"""Time by operator and layer, in a pass of its own: the libraries' profilers slow down what they watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from mosear.runtime.bundle import Bundle
from mosear.runtime.engines.library import PACKAGES
from mosear.runtime.pipeline import REASON_TASK, Pipeline
from mosear.runtime.profiling.operators_fold import NoProfile, graph_names
from mosear.runtime.profiling.operators_onnxruntime import BETWEEN, OnnxRuntimeProfile
from mosear.runtime.profiling.operators_tensorrt import LayerTimes
from mosear.runtime.profiling.record import Operator
from mosear.runtime.windows import Window

WARM_UP = 2
"""Runs before those that count: the first ones allocate memory and load what is loaded late."""

Watched = OnnxRuntimeProfile | LayerTimes


def profile_operators(
    bundle: Bundle,
    windows: Sequence[Window],
    runs: int,
    threads: int | None,
    provider: str | None,
    tokens: int = 0,
    debug: bool = False,
) -> tuple[list[Operator] | None, str]:
    """Where the inference library spends its time, operator by operator, in a pipeline of its own.

    Args:
        bundle: an opened bundle.
        windows: answered in turn, and again from the first; those without picture and sound are left out.
        runs: how many windows are answered, after ``WARM_UP`` others.
        threads: as ``Pipeline``.
        provider: as ``Pipeline``.
        tokens: tokens of text at most behind each answer; 0 leaves text out. ONNX Runtime keeps about a kilobyte a node
            and token in memory until the end.
        debug: as ``Pipeline``.

    Returns:
        The operators, the most expensive first, and in one line how they were measured; or None, and why not.

    Raises:
        ValueError: ``runs`` is below 1.
        UsageError: text is asked of a model that gives none.
        BadInput, Failed: as ``Pipeline`` and ``Pipeline.analyse``.
    """
    if runs < 1:
        raise ValueError("operators are profiled in at least one run")
    # A frame that is remembered from the run before would not be encoded again.
    seen = [replace(each, frame_keys=None) for each in windows if each.frames is not None or each.samples is not None]
    if not seen:
        return None, "no operator ran: no window has picture or sound"
    chosen = provider or bundle.manifest.provider
    engines = bundle.manifest.backend in PACKAGES and chosen != "cpu"
    library = PACKAGES[bundle.manifest.backend] if engines else "ONNX Runtime"
    work = partial(_work, bundle, seen, runs, threads, provider, tokens, debug)
    try:
        operators = (_from_engines if engines else _from_onnxruntime)(bundle, runs, work)
    except NoProfile as error:
        return None, f"{library}: {error}"
    method = f"{library}'s own profile, {runs} {'run' if runs == 1 else 'runs'} after {WARM_UP} for warming up"
    if not engines:
        method += f"; {_between(operators):.0%} of the time is between operators, the profile's own cost among it"
    if not engines and chosen == "cuda":
        method += "; on CUDA an operator's time is that of its launch"
    return operators, method


def _between(operators: Sequence[Operator]) -> float:
    """The share of the time that no operator took."""
    between = sum(each.ms for each in operators if each.operator == BETWEEN)
    return between / (sum(each.ms for each in operators) or 1.0)


def _work(
    bundle: Bundle,
    windows: Sequence[Window],
    runs: int,
    threads: int | None,
    provider: str | None,
    tokens: int,
    debug: bool,
    watched: Watched,
) -> None:
    """Answer windows: first those that do not count, then those that do."""
    pipeline = Pipeline(bundle, threads, provider, debug, observer=watched)
    if tokens:
        pipeline.check_can_reason()
    for place, window in enumerate(islice(cycle(windows), WARM_UP + runs)):
        if place == WARM_UP:
            watched.start()
        _, prefill = pipeline.examine(window)
        if tokens and prefill is not None:
            pipeline.write(window, prefill, REASON_TASK, tokens)


def _from_onnxruntime(bundle: Bundle, runs: int, work: Callable[[Watched], None]) -> list[Operator]:
    try:
        folder = TemporaryDirectory(prefix="mosear-operators-")
    except OSError as error:
        raise NoProfile(f"there is no folder for its profile ({error.strerror or error})") from error
    with folder as path:
        profile = OnnxRuntimeProfile(Path(path), graph_names(bundle))
        try:
            work(profile)
        finally:
            profile.end()
        return profile.operators(runs)


def _from_engines(bundle: Bundle, runs: int, work: Callable[[Watched], None]) -> list[Operator]:
    times = LayerTimes(graph_names(bundle))
    work(times)
    return times.operators(runs)
