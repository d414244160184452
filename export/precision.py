"""A recipe's precision → the format of every weight of every graph.

A name expands by backend, a table states a component each, and layer rules come last. Only the constant [in, out] side
of a product is a candidate (`product_weights`): embeddings, norms, biases and convolutions stay as they are.

The experts' own weights go their own way, whatever their projection gets. Gates stay in floating point: they are
[in, 3], and a softmax over them decides everything else. The low-rank terms are a few percent of a decoder and hold
what fine-tuning learnt: int8 at the least where the backend takes activations as they come, floating point where it
wants ranges calibrated beforehand, since a term's inner activations have none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, get_args

from onnx import ModelProto

from mosear.export.lowering.rewriting import attribute
from mosear.export.recipe import Components, Format, LayerRule, Phases, Recipe, near
from mosear.export.targets import Target
from mosear.runtime.errors import BadInput, UsageError

FORMATS: tuple[str, ...] = get_args(Format)
FLOATS = ("fp32", "fp16")
_HEAD = ("lm_head.weight", "model.embed_tokens.weight")  # the second where the projection is tied to the embedding
_TERMS = (".lora_A.", ".lora_B.", ".down.weight", ".up.weight")
_GATE = ".gate"

Table = dict[str, dict[str, tuple[str, ...]]]
_ENCODERS = ("vision", "audio")


def _table(encoders: Any, prefill: Any, decode: Any = None, head: Any = None, head_decode: Any = None) -> Table:
    """By component and graph: the formats that would do, the best first."""
    decode, head = decode or prefill, head or prefill
    return {
        **{name: {name: encoders} for name in _ENCODERS},
        "decoder": {"prefill": prefill, "decode": decode},
        "lm_head": {"prefill": head, "decode": head_decode or head},
    }


_INT8, _INT4, _FP8 = ("int8",), ("int4",), ("fp8",)
_HALF = ("fp16", "fp32")
_BYTE = ("int8", "fp16", "fp32")
_EXACT = {"fp32": _table(("fp32",), ("fp32",)), "fp16": _table(("fp16",), ("fp16",))}
_WEIGHTS_AS_THEY_COME: dict[str, Table] = {
    **_EXACT,
    "int8": _table(_INT8, _INT8),
    # The encoders hold a small part of the weights and feed every layer; the last projection's error reaches the label
    # scores undamped, and it is one row a forward. Neither is worth four bits.
    "int4": _table(_BYTE, _INT4, head=_BYTE),
    # int8 products are fastest for a prompt's many rows, four-bit weights for the one row of a decoding step.
    "mixed": _table(_INT8, _INT8, _INT4, head=_INT8, head_decode=_INT4),
}
_CALIBRATED: dict[str, Table] = {
    **_EXACT,
    "int8": _table(_HALF, _INT8, head=_HALF),
    "int4": _table(_HALF, _INT4, head=_HALF),
    "fp8": _table(_HALF, _FP8, head=_HALF),
}
EXPANSIONS: dict[str, dict[str, Table]] = {
    "onnxruntime": _WEIGHTS_AS_THEY_COME,
    "standard": _WEIGHTS_AS_THEY_COME,
    "tensorrt": _CALIBRATED,
    "tensorrt_rtx": _CALIBRATED,
}
"""What a named precision means, by backend."""


def product_weights(model: ModelProto) -> list[str]:
    """Names of the [in, out] initializers that are only ever the constant side of a MatMul or Gemm, in graph order.

    Their data are not read: placeholders do.
    """
    graph = model.graph
    flat = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    constants = {tensor.name for tensor in graph.initializer}
    found: dict[str, bool] = {}
    for node in graph.node:
        product = not node.domain and node.op_type in ("MatMul", "Gemm") and not attribute(node, "transA", 0)
        for index, name in enumerate(node.input):
            if name in flat:
                constant_side = product and index == 1 and node.input[0] not in constants
                found[name] = found.get(name, True) and constant_side
    return [name for name, only in found.items() if only]


def formats_of(recipe: Recipe, target: Target) -> dict[str, dict[str, str]]:
    """Format by component (vision, audio, decoder, lm_head) and graph, before layer rules.

    Raises:
        UsageError: the target lacks the precision, or a format of the table; the message lists those it has.
    """
    wanted = recipe.precision
    if not isinstance(wanted, Components):
        return _expanded(wanted or target.precisions[0], target)
    table = _expanded(target.precisions[0], target)
    for component, graphs in table.items():
        stated = getattr(wanted, component)
        for graph in graphs if stated is not None else ():
            graphs[graph] = getattr(stated, graph) if isinstance(stated, Phases) else stated
            _check_format(graphs[graph], f"precision.{component}", target)
    return table


def resolve(recipe: Recipe, target: Target, weights: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """The format of every weight.

    Args:
        recipe: its precision and layer rules.
        target: what it is built for.
        weights: by graph (vision, audio, prefill, decode): names of the product weights.

    Returns:
        By graph, by name: fp32, fp16, int8, int4 or fp8.

    Raises:
        UsageError: the target lacks a format (the message lists those it has), or a graph would have two float types.
        BadInput: a layer rule's pattern matches no weight.
    """
    table = formats_of(recipe, target)
    plan = {graph: {name: table[_component(graph, name)][graph] for name in names} for graph, names in weights.items()}
    for rule in recipe.layers:
        _check_format(rule.format, f"layers: {rule.match}", target)
        matched = [(graph, name) for graph, names in plan.items() for name in names if _matches(rule, graph, name)]
        if not matched:
            raise BadInput(*_nothing_matches(rule, weights))
        if all(_of_experts(graph, name, rule.format, target, "") != rule.format for graph, name in matched):
            raise UsageError(
                f"layers: {rule.match!r} matches only the experts' own weights, which {target.name} can't hold in "
                f"{rule.format}",
                f"leave the rule out, or use {' or '.join(held for held in formats_held(target) if held in FLOATS)}",
            )
        for graph, name in matched:
            plan[graph][name] = rule.format
    for graphs in (("vision",), ("audio",), ("prefill", "decode")):
        parts = [plan[graph] for graph in graphs if graph in plan]
        floating = float_type([given for formats in parts for given in formats.values()], target, graphs[0])
        for formats in parts:
            for name, given in formats.items():
                formats[name] = _of_experts(graphs[0], name, given, target, floating)
    return plan


def float_type(formats: Collection[str], target: Target, where: str = "decoder") -> str:
    """The floating type, fp32 or fp16, of a graph whose weights have these formats.

    It is that of what stays unquantized, or the target's first where nothing does. The decoder's two graphs are asked
    about together: they hand one KV cache on.

    Raises:
        UsageError: the formats name both.
    """
    stated = sorted(set(formats) & set(FLOATS))
    if len(stated) > 1:
        raise UsageError(
            f"the {where if where in _ENCODERS else 'decoder'} would hold weights in both fp16 and fp32, and a graph "
            "has one floating type",
            f"use one of the two in precision and layers; {target.name} takes {', '.join(formats_held(target))}",
        )
    return stated[0] if stated else next((held for held in formats_held(target) if held in FLOATS), "fp32")


def precision_name(recipe: Recipe, target: Target) -> str:
    """One word for the manifest: the precision's name, or ``mixed`` for a table or layer rules that differ from it."""
    formats = {given for graphs in formats_of(recipe, target).values() for given in graphs.values()}
    if isinstance(recipe.precision, Components) or recipe.layers:
        formats |= {rule.format for rule in recipe.layers}
        return formats.pop() if len(formats) == 1 else "mixed"
    return recipe.precision or target.precisions[0]


def formats_held(target: Target) -> tuple[str, ...]:
    """The formats that a weight can have on a target, out of the precisions that it lists."""
    return tuple(name for name in target.precisions if name in FORMATS)


def _expanded(name: str, target: Target) -> dict[str, dict[str, str]]:
    expansions = EXPANSIONS[target.backend]
    if name not in target.precisions or name not in expansions:
        known = [precision for precision in target.precisions if precision in expansions]
        raise UsageError(
            f"target {target.name} has no precision {name!r}{near(name, known)}", f"use one of: {', '.join(known)}"
        )
    held = formats_held(target)
    return {
        component: {
            graph: next((choice for choice in choices if choice in held), choices[-1])
            for graph, choices in graphs.items()
        }
        for component, graphs in expansions[name].items()
    }


def _check_format(given: str, where: str, target: Target) -> None:
    held = formats_held(target)
    if given not in held:
        raise UsageError(f"{where}: target {target.name} has no {given}", f"use one of: {', '.join(held)}")


def _component(graph: str, name: str) -> str:
    if graph in _ENCODERS:
        return graph
    return "lm_head" if name in _HEAD else "decoder"


def _of_experts(graph: str, name: str, given: str, target: Target, floating: str) -> str:
    """The format of a weight, with what the experts' own weights can't have put right."""
    gate = name.endswith(_GATE)
    if graph in _ENCODERS or given in FLOATS or not (gate or any(part in name for part in _TERMS)):
        return given
    as_they_come = EXPANSIONS[target.backend] is _WEIGHTS_AS_THEY_COME
    return "int8" if as_they_come and not gate and "int8" in formats_held(target) else floating


def _spoken(graph: str, name: str) -> str:
    """The name that patterns see: whether experts are merged or not makes no difference to it."""
    plain = name.replace(".base_layer.", ".").removesuffix(".weight")
    if graph in _ENCODERS:
        return f"{graph}.{plain}"
    return "lm_head" if name in _HEAD else plain


def _matches(rule: LayerRule, graph: str, name: str) -> bool:
    spoken = _spoken(graph, name)
    return fnmatchcase(spoken, rule.match) or fnmatchcase(f"{spoken}.weight", rule.match)


def _nothing_matches(rule: LayerRule, weights: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    spoken = [_spoken(graph, name) for graph, names in weights.items() for name in names]
    leaves = {f"*.{name.rpartition('.')[2]}" for name in spoken if "." in name}
    layers = {f"{name[: name.index(digit) + len(digit)]}*" for name in spoken for digit in _numbers(name)}
    known = [*sorted(leaves), *sorted(layers), *dict.fromkeys(spoken)]
    what = f"layers: the pattern {rule.match!r} matches no weight of a product{near(rule.match, known)}"
    return what, f"weights are called, for example, {', '.join(dict.fromkeys(spoken[:1] + spoken[-2:]))}"


def _numbers(name: str) -> list[str]:
    return [f".{part}." for part in name.split(".") if part.isdigit()][:1]
