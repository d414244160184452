"""A checkpoint → the graphs of a bundle, for one backend: traced once, merged, lowered and quantized by reference.

No weight is read here. What comes out are structures with placeholders, and weights that are made when they are saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from mosear.calibration.gates import GateStatistics
from mosear.calibration.quantization import LinearRanges
from mosear.export.backends import BACKENDS, Phase
from mosear.export.graphs.decoder import decoder_weights, trace_decoder
from mosear.export.graphs.encoders import export_audio, export_vision
from mosear.export.graphs.half import half_weights, to_half
from mosear.export.graphs.text_only import text_only
from mosear.export.lowering.head import prune_head
from mosear.export.merge import Merged, gating, merging
from mosear.export.precision import float_type, formats_of, product_weights, resolve
from mosear.export.recipe import Recipe
from mosear.export.targets import Target
from mosear.export.tensors import Weights, detach
from mosear.model.modeling import Mosear

Progress = Callable[[str, float], None]
Ranges = Mapping[str, LinearRanges]


@dataclass(frozen=True)
class Part:
    """One graph before and after quantization.

    Attributes:
        lowered: its structure for the backend, in a floating type.
        weights: of ``lowered``.
        formats: what each of its products' weights becomes.
        graph: its structure, quantized.
        stored: the weights of ``graph``.
    """

    lowered: ModelProto
    weights: Weights
    formats: dict[str, str]
    graph: ModelProto
    stored: Weights


@dataclass(frozen=True)
class Parts:
    """Everything that a bundle runs.

    Attributes:
        vision, audio, prefill, decode: the graphs; the last two are one where the backend runs both phases on one.
        labels: prefill with the logits of the label tokens alone, or None.
        label_tokens: those tokens, or None.
        half: whether the decoder computes in float16.
        truncation: by module, what SVD truncation lost of its visual term.
    """

    vision: Part
    audio: Part
    prefill: Part
    decode: Part
    labels: Part | None
    label_tokens: list[int] | None
    half: bool
    truncation: dict[str, float] = field(default_factory=dict)

    @property
    def decoder_weights(self) -> Weights:
        """The weights of all the decoder's graphs."""
        parts = (self.prefill, self.decode, self.labels)
        return {name: weight for part in parts if part for name, weight in part.stored.items()}


def make_parts(
    model: Mosear,
    gates: GateStatistics | None,
    ranges: Ranges | None,
    recipe: Recipe,
    target: Target,
    capacity: int,
    progress: Progress,
) -> Parts:
    """Make the graphs of a bundle.

    Args:
        model: the checkpoint, perhaps mapped; its reallocation goes into the graphs.
        gates: to merge the experts at, or None to keep them dynamic (or where there are none).
        ranges: calibrated ranges, or None.
        recipe: precision, layer rules, rank and head.
        target: what the bundle is for.
        capacity: length of the KV cache, tokens.
        progress: called with a stage's name and the fraction done.

    Raises:
        BadInput: the gates or the ranges don't belong to the model, or a layer rule matches nothing.
        UsageError: the target lacks a format, or the rank is too large.
    """
    table = formats_of(recipe, target)
    backend = BACKENDS[target.backend]
    halves = {name: float_type(list(table[name].values()), target, name) == "fp16" for name in ("vision", "audio")}
    graphs: dict[str, tuple[ModelProto, Weights]] = {}
    for name, export in (("vision", export_vision), ("audio", export_audio)):
        progress(f"{name} graph", 0.0)
        graphs[name] = detach(backend.lower_encoder(export(model, halves[name]), target))
        progress(f"{name} graph", 1.0)
    decoder_formats = {form for name in ("decoder", "lm_head") for form in table[name].values()}
    half = float_type(decoder_formats, target) == "fp16"
    progress("decoder graphs", 0.0)
    with _experts(model, gates, recipe.mose.rank) as merged:
        structure = trace_decoder(model.decoder, reallocation=model.reallocation)
        weights = decoder_weights(model.decoder, structure) | merged.weights
    progress("decoder graphs", 0.7)
    phases: dict[Phase, ModelProto] = {"prefill": structure.graph, "decode": structure.graph}
    if backend.one_graph:
        del phases["decode"]
    elif gates is not None:
        phases["decode"] = text_only(structure.graph)
    for phase, graph in phases.items():
        typed, data = (to_half(graph), half_weights(weights)) if half else (graph, weights)
        lowered = backend.lower(typed, phase, target, capacity)
        graphs[phase] = lowered, _used(lowered, data)
    progress("decoder graphs", 1.0)
    plan = resolve(
        recipe, target, {n: [w for w in product_weights(graph) if w in data] for n, (graph, data) in graphs.items()}
    )
    tokens = list(dict.fromkeys(ids[0] for ids in model.label_token_ids())) if recipe.lm_head == "labels" else None
    if tokens is not None:
        graphs["labels"] = prune_head(*graphs["prefill"], tokens)
        plan["labels"] = {name: form for name, form in plan["prefill"].items() if name in graphs["labels"][1]}
    parts = {
        name: Part(graph, data, plan[name], *backend.quantize(graph, data, plan[name], _ranges_of(name, ranges)))
        for name, (graph, data) in graphs.items()
    }
    return Parts(
        parts["vision"],
        parts["audio"],
        parts["prefill"],
        parts.get("decode", parts["prefill"]),
        parts.get("labels"),
        tokens,
        half,
        merged.truncation,
    )


@contextlib.contextmanager
def _experts(model: Mosear, gates: GateStatistics | None, rank: int | None) -> Iterator[Merged]:
    if gates is not None:
        with merging(model, gates, rank) as merged:
            yield merged
    else:
        with gating(model):
            yield Merged({}, {})


def _used(graph: ModelProto, weights: Weights) -> Weights:
    names = {tensor.name for tensor in graph.graph.initializer}
    return {name: weight for name, weight in weights.items() if name in names}


def _ranges_of(name: str, ranges: Ranges | None) -> Ranges | None:
    """Ranges by the names of a graph's own weights: an encoder's are ``encoder.`` and ``projector`` there."""
    if ranges is None or name not in ("vision", "audio"):
        return ranges
    own = {key.removeprefix(f"{name}."): value for key, value in ranges.items() if key.startswith(f"{name}.")}
    return {key if key == "projector" else f"encoder.{key}": value for key, value in own.items()}
