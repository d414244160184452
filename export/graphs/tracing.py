"""torch module → the structure of an ONNX graph: weights are named, and never read.

The exporter's optimizer folds and merges what it takes for constants, so it must not see weights as such: they are made
inputs of the graph for as long as it works. That also keeps it from holding copies of them.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import onnxscript.optimizer
import onnxscript.rewriter.onnx_fusions
import torch
from onnx import ModelProto, NodeProto, TensorProto
from onnx_ir.passes import common
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules.common import (
    add_0_rule,
    collapse_slice2_rule,
    collapse_slice_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    squeeze_reshape_1d_rule,
    unsqueeze_unsqueeze_rule,
)
from torch import nn

from mosear.export.lowering.rewriting import attribute

OPSET = 23
"""Standard opset of canonical graphs: the first with ``Attention``, ``RMSNormalization`` and ``RotaryEmbedding``."""

RULES = (
    add_0_rule,
    collapse_slice_rule,
    collapse_slice2_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    squeeze_reshape_1d_rule,
    unsqueeze_unsqueeze_rule,
)


@dataclass(frozen=True)
class Structure:
    """A graph without its weights.

    Attributes:
        graph: the model; its weights are placeholders under the names of the torch parameters.
        transposed: the names of those that the graph holds as [in, out], where torch has [out, in].
    """

    graph: ModelProto
    transposed: frozenset[str]


@contextlib.contextmanager
def weightless(module: nn.Module) -> Iterator[None]:
    """Replace every parameter of ``module`` by a float32 one that takes no memory; put all back at the end."""
    held = [(part, dict(part._parameters)) for part in module.modules()]
    try:
        for part, parameters in held:
            for name, parameter in parameters.items():
                if parameter is not None:
                    empty = torch.zeros(()).expand(parameter.shape)
                    part._parameters[name] = nn.Parameter(empty, requires_grad=False)
        yield
    finally:
        for part, parameters in held:
            part._parameters.update(parameters)


def trace(
    module: nn.Module, example: tuple[Any, ...], inputs: list[str], outputs: list[str], dynamic_shapes: Any
) -> Structure:
    """Export ``module`` at opset 23.

    Args:
        module: in eval mode. Its parameters' values don't matter: only their names and shapes are used.
        example: inputs to trace with; no size of a dynamic axis may be 0 or 1.
        inputs: names of the graph's inputs.
        outputs: names of its outputs.
        dynamic_shapes: as ``torch.onnx.export`` takes them.
    """
    with weightless(module), quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    assert program is not None
    graph = program.model.graph
    names = {name for name, _ in module.named_parameters(remove_duplicate=False)} & set(graph.initializers)
    for name in names:
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)
    _optimize(program.model)
    model = ir.to_proto(program.model)
    _inputs_to_placeholders(model, names)
    transposed = _absorb_transposes(model, names)
    strip_traces(model)
    return Structure(model, frozenset(transposed))


def _optimize(model: ir.Model) -> None:
    # What onnxscript.optimizer.optimize does, with those of its rewrite rules that find something in a decoder: trying
    # all of them takes as long as the export itself.
    common.InlinePass()(model)
    for _ in range(2):
        onnxscript.optimizer.fold_constants(model)
        RewritePass(RULES)(model)
    for each in (
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    ):
        each(model)
    onnxscript.rewriter.onnx_fusions.fuse(model)
    common.RemoveUnusedNodesPass()(model)


def _inputs_to_placeholders(model: ModelProto, names: set[str]) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = []
    for value in model.graph.input:
        if value.name not in names:
            kept.append(value)
        elif value.name in used:
            dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            model.graph.initializer.append(
                TensorProto(name=value.name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
            )
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _absorb_transposes(model: ModelProto, names: set[str]) -> set[str]:
    """Store weights the way that products read them; returns the names of those that were turned."""
    graph = model.graph
    turned = {node.input[0]: node for node in graph.node if _turns(node, names)}
    readers = [name for node in graph.node for name in node.input]
    turned = {name: node for name, node in turned.items() if readers.count(name) == 1}
    made = {node.output[0]: name for name, node in turned.items()}
    kept = [node for node in graph.node if not (node.output and node.output[0] in made)]
    for node in kept:
        node.input[:] = [made.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)
    for tensor in graph.initializer:
        if tensor.name in turned:
            tensor.dims[:] = list(tensor.dims)[::-1]
    return set(turned)


def _turns(node: NodeProto, names: set[str]) -> bool:
    return node.op_type == "Transpose" and node.input[0] in names and list(attribute(node, "perm", [1, 0])) == [1, 0]


def strip_traces(model: ModelProto) -> None:
    """Remove what the exporter notes on nodes: stack traces hold paths of the machine that exported."""
    del model.graph.metadata_props[:]
    for holder in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's exporter from filling the terminal with notes that no user of a build can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
