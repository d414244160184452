"""Which part of a model pays most for its precision: each is quantized alone, all else stays in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from mosear.export.checks.figures import kl, max_difference
from mosear.export.checks.prompts import prompt_feeds
from mosear.export.checks.reference import Tokens, encode, grouped
from mosear.export.checks.rows import SensitivityRow
from mosear.export.checks.sessions import Feeds, SharedSessions, last_logits
from mosear.export.checks.tables import layer_of
from mosear.export.clips import Example
from mosear.export.tensors import Weights
from mosear.model.modeling import Mosear
from mosear.runtime.scores import log_softmax

Quantize = Callable[[ModelProto, Weights, Mapping[str, str], Any], tuple[ModelProto, Weights]]
Progress = Callable[[float], None]

FLOATS = ("fp32", "fp16")


@dataclass(frozen=True, eq=False)
class Part:
    """A float32 graph with the formats that the build gives its weights.

    Attributes:
        graph: as ONNX Runtime can run it: lowered, or canonical with its functions.
        weights: its data.
        formats: by weight name; names that the graph lacks are passed over.
    """

    graph: ModelProto
    weights: Weights
    formats: Mapping[str, str]


def sensitivity(
    prefill: ModelProto,
    weights: Weights,
    formats: Mapping[str, str],
    quantize: Quantize,
    feeds: Sequence[Feeds],
    labels: Sequence[int],
    *,
    ranges: Any = None,
    threads: int = 1,
    progress: Progress = lambda fraction: None,
) -> tuple[SensitivityRow, ...]:
    """Measure every layer of the decoder, and every other weight with a format, such as the last projection.

    Args:
        prefill: the decoder's float32 graph, as ``Part.graph``.
        weights: its data. Weights that a run leaves alone are held once for all runs.
        formats: as ``Part.formats``.
        quantize: the backend's quantizer.
        feeds: prompts in batches: ``inputs_embeds``, ``position_ids``, ``key_modality``; an empty cache is added.
        labels: the first token of each label word.
        ranges: calibrated ranges, handed to ``quantize``.
        threads: CPU threads.
        progress: called with the fraction done.

    Returns:
        A row for each part that the quantizer changes, the one that costs most first.
    """
    parts = _parts(formats, weights)
    if not parts:
        return ()
    sessions = SharedSessions(weights, threads)

    def label_logits(graph: ModelProto, data: Weights) -> NDArray[np.float64]:
        session = sessions.open(graph, data)
        return np.concatenate([last_logits(session, feed) for feed in feeds])[:, list(labels)]

    exact = label_logits(prefill, weights)
    rows = []
    for done, (part, names) in enumerate(parts.items(), 1):
        alone = {name: formats[name] for name in names}
        quantized, data = quantize(prefill, weights, alone, ranges)
        changed = _changed(names, quantized, data, weights)
        if changed:
            rows.append(_row(part, changed, Part(prefill, weights, formats), exact, label_logits(quantized, data)))
        progress(done / len(parts))
    return by_cost(rows)


def encoder_sensitivity(
    name: str,
    encoder: Part,
    decoder: Part,
    quantize: Quantize,
    model: Mosear,
    examples: Sequence[Example],
    *,
    ranges: Any = None,
    threads: int = 1,
) -> tuple[SensitivityRow, ...]:
    """Measure a whole encoder through the float32 decoder.

    Args:
        name: ``vision`` or ``audio``.
        encoder: its graph, projector included.
        decoder: the prefill graph; its formats are not used.
        quantize: the backend's quantizer.
        model: lays out the prompts and gives the other modality's tokens.
        examples: windows; those without the encoder's modality are left out.
        ranges: calibrated ranges, handed to ``quantize``.
        threads: CPU threads.

    Returns:
        One row, or none when the quantizer leaves the encoder as it is.
    """
    names = [key for key, kind in encoder.formats.items() if kind not in FLOATS and key in encoder.weights]
    quantized, data = quantize(encoder.graph, encoder.weights, encoder.formats, ranges)
    changed = _changed(names, quantized, data, encoder.weights)
    if not changed:
        return ()
    labels = [ids[0] for ids in model.label_token_ids()]
    session = SharedSessions(decoder.weights, threads).open(decoder.graph, decoder.weights)
    shared = SharedSessions(encoder.weights, threads)
    runs = [shared.open(encoder.graph, encoder.weights), shared.open(quantized, data)]
    logits: tuple[list[NDArray[np.float64]], ...] = ([], [])
    media = "frames" if name == "vision" else "samples"
    for indices in grouped([each for each in examples if getattr(each.window, media) is not None]):
        batch = [examples[index] for index in indices]
        tokens = encode(model, batch)
        for run, found in zip(runs, logits, strict=True):
            feed = prompt_feeds(model, batch, _with_tokens(name, tokens, run, batch, model))
            found.append(last_logits(session, feed)[:, labels])
    exact, found_all = (np.concatenate(each) for each in logits)
    return (_row(name, changed, encoder, exact, found_all),)


def by_cost(rows: Iterable[SensitivityRow]) -> tuple[SensitivityRow, ...]:
    """The rows, the one that costs most first."""
    return tuple(sorted(rows, key=lambda row: (-row.label_kl, -row.logits_difference)))


def _with_tokens(name: str, tokens: Tokens, session: Any, batch: Sequence[Example], model: Mosear) -> Tokens:
    """Tokens with an encoder's own from ``session``, a window a run, as the runtime does it."""
    found = []
    for example in batch:
        if name == "vision":
            frames = np.asarray(example.window.frames)
            feed = frames.reshape(-1, model.config.frames_per_clip, *frames.shape[1:])
            found.append(session.run(None, {"frames": feed})[0].reshape(1, model.visual_tokens, -1))
        else:
            found.append(session.run(None, {"samples": np.asarray(example.window.samples)[None]})[0])
    made = torch.from_numpy(np.concatenate(found))
    return Tokens(
        tokens.transcripts, made if name == "vision" else tokens.visual, tokens.audio if name == "vision" else made
    )


def _parts(formats: Mapping[str, str], weights: Weights) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for name, kind in formats.items():
        if kind not in FLOATS and name in weights:
            layer = layer_of(name)
            part = f"layer {layer}" if layer >= 0 else name.removesuffix(".weight")
            parts.setdefault(part, []).append(name)
    return parts


def _changed(names: Sequence[str], quantized: ModelProto, data: Weights, weights: Weights) -> list[str]:
    """Those of ``names`` that the quantizer did not leave as they were, as it does with small ones."""
    used = {tensor.name for tensor in quantized.graph.initializer}
    return [name for name in names if name not in used or data[name] is not weights[name]]


def _row(
    part: str, changed: Sequence[str], origin: Part, exact: NDArray[np.float64], found: NDArray[np.float64]
) -> SensitivityRow:
    damage = kl(log_softmax(exact), log_softmax(found))
    return SensitivityRow(
        part=part,
        format="+".join(sorted({origin.formats[name] for name in changed})),
        weights=sum(math.prod(origin.weights[name].shape) for name in changed),
        label_kl=float(damage.mean()),
        logits_difference=max_difference(found, exact),
        label_agreement=float((exact.argmax(axis=-1) == found.argmax(axis=-1)).mean()),
    )
