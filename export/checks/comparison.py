"""A bundle and its PyTorch model on the same windows: the numbers that checks are made of, collected in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mosear.calibration.gates import GateStatistics
from mosear.export.checks.divergence import divergence_of
from mosear.export.checks.figures import cosine, kl, max_difference
from mosear.export.checks.reference import Numbers, Tokens, encode, grouped, label_log_probabilities, numbers
from mosear.export.checks.rows import Divergence
from mosear.export.clips import Example
from mosear.export.merge import fix_gates
from mosear.model.modeling import Mosear
from mosear.runtime.answer import Prefill
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.scores import label_scores, log_softmax

Progress = Callable[[float], None]


@dataclass
class Comparison:
    """What a run collects over N windows, M of which are compared number by number.

    Attributes:
        temperature: of the label scores.
        bundle: float64 [N, labels], the bundle's label log-probabilities.
        pytorch: float64 [N, labels], those of the unmerged model.
        worst: largest difference by ``vision``, ``audio`` and ``logits`` over the M windows, gates alike.
        least: smallest cosine of ``vision`` and ``audio`` over them.
        label_kl: KL of the label distributions of each of the M windows, gates alike, nats.
        heads: agreement of head selection, one [rows, R, H] of booleans for each of the M windows.
        shares: [N, R, H], the bundle's head selection with all modalities shown; empty without telemetry.
        timings: milliseconds by stage of each of the M windows, by ``bundle`` and ``pytorch``.
        divergence: merged from dynamic, for a merged bundle.
    """

    temperature: float
    bundle: NDArray[np.float64]
    pytorch: NDArray[np.float64]
    worst: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("vision", "audio", "logits"), 0.0))
    least: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("vision", "audio"), 1.0))
    label_kl: list[float] = field(default_factory=list)
    heads: list[NDArray[np.bool_]] = field(default_factory=list)
    shares: list[NDArray[np.float32]] = field(default_factory=list)
    timings: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {"bundle": [], "pytorch": []})
    divergence: Divergence | None = None

    @property
    def bundle_scores(self) -> NDArray[np.float64]:
        """The bundle's label scores after the temperature, [N, labels]."""
        return label_scores(self.bundle, self.temperature)

    @property
    def pytorch_scores(self) -> NDArray[np.float64]:
        """The unmerged model's, [N, labels]."""
        return label_scores(self.pytorch, self.temperature)


def compare(
    pipeline: Pipeline,
    model: Mosear,
    gates: GateStatistics | None,
    examples: Sequence[Example],
    numeric: int,
    progress: Progress,
) -> Comparison:
    """Run both on every window.

    The first ``numeric`` windows go through PyTorch one at a time, in turns with the bundle, at the bundle's gates and
    timed; the labels of the unmerged model come in batches. Every window is encoded once.

    Args:
        pipeline: the bundle.
        model: the unmerged model; its gates are dynamic afterwards.
        gates: the constant gates of a merged bundle, None for a dynamic one.
        examples: windows.
        numeric: how many are compared number by number.
        progress: called with the fraction done.
    """
    count = len(examples)
    shape = (count, len(model.config.labels))
    temperature = pipeline.bundle.manifest.temperature
    run = Comparison(temperature, np.zeros(shape), np.zeros(shape))
    fixed = np.zeros(shape)
    encoded: dict[int, Tokens] = {}
    try:
        fix_gates(model, gates)
        for index, example in enumerate(examples):
            found = pipeline.forward(example.window)
            run.bundle[index] = found.label_log_probs[0]
            if found.selected is not None:
                run.shares.append(found.selected[0])
            if index < numeric:
                encoded[index], wanted = numbers(model, example, found.rows)
                fixed[index] = wanted.label_log_probs
                _add(run, found, encoded[index], wanted, pipeline.logit_tokens)
            progress(0.5 * (index + 1) / count)
        _label(run, model, gates, examples, encoded, fixed, progress)
    finally:
        fix_gates(model, None)
    if gates is not None:
        run.divergence = divergence_of(run.pytorch, fixed, temperature)
    return run


def _label(
    run: Comparison,
    model: Mosear,
    gates: GateStatistics | None,
    examples: Sequence[Example],
    encoded: dict[int, Tokens],
    fixed: NDArray[np.float64],
    progress: Progress,
) -> None:
    """Fill in the unmerged model's labels, and with gates those of constant gates, for which ``encoded`` has them."""
    done = 0
    for indices in [[index] for index in encoded] + _rest(examples, encoded):
        known = indices[0] in encoded
        tokens = encoded.pop(indices[0]) if known else encode(model, [examples[index] for index in indices])
        if gates is not None and not known:
            fix_gates(model, gates)
            fixed[indices] = label_log_probabilities(model, tokens)
        if gates is None and known:
            run.pytorch[indices] = fixed[indices]
        else:
            fix_gates(model, None)
            run.pytorch[indices] = label_log_probabilities(model, tokens)
        done += len(indices)
        progress(0.5 + 0.5 * done / len(examples))


def _rest(examples: Sequence[Example], encoded: dict[int, Tokens]) -> list[list[int]]:
    left = [index for index in range(len(examples)) if index not in encoded]
    return [[left[place] for place in places] for places in grouped([examples[index] for index in left])]


def _add(run: Comparison, found: Prefill, tokens: Tokens, wanted: Numbers, columns: list[int] | None) -> None:
    logits = wanted.logits if columns is None else wanted.logits[:, columns]
    media = {
        "vision": (found.visual_embeds, None if tokens.visual is None else tokens.visual.numpy()),
        "audio": (found.audio_embeds, None if tokens.audio is None else tokens.audio.numpy()),
    }
    for name, pair in media.items():
        run.worst[name] = max(run.worst[name], max_difference(*pair))
        run.least[name] = min(run.least[name], cosine(*pair))
    run.worst["logits"] = max(run.worst["logits"], max_difference(found.logits, logits))
    ours, theirs = (
        log_softmax(scores / run.temperature) for scores in (found.label_log_probs[0], wanted.label_log_probs)
    )
    run.label_kl.append(float(kl(theirs, ours)))
    if wanted.selected is not None and found.selected is not None:
        run.heads.append(wanted.selected == found.selected)
    run.timings["bundle"].append(dict(found.timings_ms))
    run.timings["pytorch"].append(wanted.timings_ms)
