"""The comparison of a decoder's layers with PyTorch's, each alone or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from mosear.export.checks.rows import LayerRow
from mosear.export.layers.running import Runner, run_onnxruntime
from mosear.export.layers.segments import TELEMETRY, count_layers, cut, hidden_name, reallocating_layers, tapped
from mosear.export.tensors import Weights

_TINY = float(np.finfo(np.float64).tiny)


class LayerOutput(NamedTuple):
    """What one PyTorch layer gives: the hidden state after it [B, S, D], float32, and its telemetry by output name
    (``audio_share`` and ``selected`` [B, Hq], ``modality_mass`` [B, Hq, 3]); nothing where it does not reallocate."""

    hidden: NDArray[np.float32]
    telemetry: Mapping[str, NDArray[np.float32]]


ReferenceLayer = Callable[[int, NDArray[np.float32]], LayerOutput]
"""Runs PyTorch's layer ``l`` on the hidden state before it."""


def compare_layers(
    model: ModelProto,
    weights: Weights,
    feeds: Mapping[str, NDArray],
    reference_layer: ReferenceLayer,
    run: Runner = run_onnxruntime,
) -> Iterator[LayerRow]:
    """Compare each layer alone, on the very input that PyTorch's layer has: errors do not add up.

    Only one layer's weights are read at a time, and dropped before the next.

    Args:
        model: a backend's decoder graph with named hidden states.
        weights: what is behind its placeholders.
        feeds: all inputs of ``model`` by name, caches included.
        reference_layer: PyTorch's layers; called once for each, in order.
        run: runs a piece of the graph.

    Raises ValueError when the graph cannot be cut at its hidden states.
    """
    active = reallocating_layers(model)
    hidden = np.asarray(feeds["inputs_embeds"], np.float32)
    for layer in range(count_layers(model)):
        expected = reference_layer(layer, hidden)
        wanted = TELEMETRY if layer in active else ()
        piece = cut(model, hidden_name(layer), [hidden_name(layer + 1), *wanted])
        found, *seen = run(piece, weights, {**feeds, hidden_name(layer): hidden})
        seen_here = {name: value[:, 0] for name, value in zip(wanted, seen, strict=True)}
        yield _row(layer, found, seen_here, expected, _visible(feeds))
        hidden = expected.hidden


def compare_accumulated(
    model: ModelProto,
    weights: Weights,
    feeds: Mapping[str, NDArray],
    reference_layer: ReferenceLayer,
    run: Runner = run_onnxruntime,
) -> Iterator[LayerRow]:
    """Compare all layers in one run of the whole graph: a row shows the errors of all layers so far.

    Arguments as for `compare_layers`; the whole graph's weights are in memory.
    """
    active = reallocating_layers(model)
    whole = tapped(model, [hidden_name(layer + 1) for layer in range(count_layers(model))])
    found = dict(zip((value.name for value in whole.graph.output), run(whole, weights, feeds), strict=True))
    hidden = np.asarray(feeds["inputs_embeds"], np.float32)
    for layer in range(count_layers(model)):
        expected = reference_layer(layer, hidden)
        seen = {name: found[name][:, active.index(layer)] for name in TELEMETRY} if layer in active else {}
        yield _row(layer, found[hidden_name(layer + 1)], seen, expected, _visible(feeds))
        hidden = expected.hidden


def compare_head(
    model: ModelProto,
    weights: Weights,
    feeds: Mapping[str, NDArray],
    hidden: NDArray[np.float32],
    logits: NDArray[np.float32],
    run: Runner = run_onnxruntime,
) -> LayerRow:
    """Compare the logits [B, 1, V] that the last norm and projection make of ``hidden`` [B, S, D] with ``logits``."""
    layers = count_layers(model)
    piece = cut(model, hidden_name(layers), ["logits"])
    (found,) = run(piece, weights, {**feeds, hidden_name(layers): hidden[:, -1:]})
    return _row(layers, found, {}, LayerOutput(logits, {}), np.ones(logits.shape[:2], bool))


def _visible(feeds: Mapping[str, NDArray]) -> NDArray[np.bool_]:
    """The rows [B, S] of tokens that are not hidden; nothing reads the others, and backends may differ in them."""
    return np.asarray(feeds["key_modality"])[:, -feeds["inputs_embeds"].shape[1] :] >= 0


def _row(
    layer: int,
    found: NDArray,
    telemetry: Mapping[str, NDArray],
    expected: LayerOutput,
    visible: NDArray[np.bool_],
) -> LayerRow:
    # A backend may make the last layer's output for the last row alone.
    rows = slice(-found.shape[1], None)
    visible = visible[:, rows]
    left, right = (np.asarray(array, np.float64)[:, rows][visible] for array in (found, expected.hidden))
    norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    difference = float(np.abs(left - right).max())
    agree = mass = None
    if telemetry:
        selected = telemetry["selected"] > 0.5, expected.telemetry["selected"] > 0.5
        agree = float(np.mean(selected[0] == selected[1]))
        measured = [name for name in TELEMETRY if name != "selected"]
        mass = max(float(np.abs(telemetry[name] - expected.telemetry[name]).max()) for name in measured)
    return LayerRow(
        layer=layer,
        cosine=float(np.min((left * right).sum(-1) / np.maximum(norms, _TINY))),
        max_difference=difference,
        relative=difference / max(float(np.abs(right).max()), _TINY),
        heads_agree=agree,
        telemetry_difference=mass,
    )
