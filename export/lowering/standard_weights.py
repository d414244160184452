"""Small weights in a graph of standard operators: ``DequantizeLinear`` between a stored weight and its products.

========  ========================================================================  =====================
format    stored as                                                                 oldest opset it needs
========  ========================================================================  =====================
fp16      float16, cast where the graph computes in float32                         that of the graph
int8      symmetric int8, a scale for each output column                            13 (19 in float16)
int4      symmetric int4, a scale for each block of 32 input rows of each column    21
========  ========================================================================  =====================

The products themselves stay in the graph's floating type, so activations need no ranges; tools that have kernels for
small weights find them behind ``DequantizeLinear``. AWQ's factors are used by int4, where ranges bring them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from mosear.export.lowering.opsets import OLDEST, declare_opset
from mosear.export.lowering.rewriting import Emitter, attribute, keep_needed, sort_nodes, without_weights
from mosear.export.tensors import Weight, Weights, placeholder

if TYPE_CHECKING:
    from mosear.calibration.quantization import LinearRanges

BLOCK = 32
"""Input rows that share a scale in int4."""

FORMATS = ("fp32", "fp16", "int8", "int4")

_INT8_TOP, _INT4_TOP = 127, 7
_SCALES_IN_FLOAT16, _BLOCKS = 19, 21
_FLOATS: dict[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}


def quantize(
    model: ModelProto,
    weights: Weights,
    formats: Mapping[str, str],
    ranges: Mapping[str, LinearRanges] | None = None,
) -> tuple[ModelProto, Weights]:
    """Store the weights that ``formats`` names in their format; ``model`` and ``weights`` stay as they are.

    model: a lowered graph (`mosear.export.lowering.standard`), with placeholders for its weights.
    weights: what is behind them.
    formats: by weight name, one of `FORMATS`; only matrices of products can have another format than their own.
    ranges: calibrated ranges by weight name without ``.weight``; only AWQ's factors are used, by int4.

    Raises ValueError for a format that is not there, or a weight that cannot have it.
    """
    lowered = without_weights(model)
    graph = lowered.graph
    emit = Emitter("weights/")
    readers = _matrix_readers(graph.node, model.graph.initializer)
    new: Weights = {}
    replaced: set[str] = set()
    oldest = OLDEST
    for name, kind in formats.items():
        if kind not in FORMATS:
            raise ValueError(f"weight {name} cannot be {kind} in standard operators: choose of {', '.join(FORMATS)}")
        if name not in weights or _FLOATS.get(weights[name].dtype) == kind:
            continue
        if name not in readers or kind == "fp32":
            raise ValueError(f"weight {name} cannot be {kind}: it is no constant matrix of a product in a wider type")
        weight, axis = weights[name], _input_axis(readers[name][0])
        factors = _awq_factors(name, ranges) if kind == "int4" else None
        if factors is not None:
            weight = _scaled(emit, readers[name], weight, axis, factors)
        new |= _store(emit, name, weight, kind, axis)
        replaced.add(name)
        if kind != "fp16":
            half = weight.dtype == TensorProto.FLOAT16
            oldest = max(oldest, _BLOCKS if kind == "int4" else _SCALES_IN_FLOAT16 if half else OLDEST)
    nodes = [*emit.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    sort_nodes(graph)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced]
    keep_needed(graph, [*kept, *(placeholder(name, weight) for name, weight in new.items()), *emit.constants])
    declare_opset(lowered, oldest)
    names = {tensor.name for tensor in graph.initializer}
    return lowered, {name: weight for name, weight in (weights | new).items() if name in names}


def _matrix_readers(nodes: Iterable[NodeProto], initializers: Iterable[TensorProto]) -> dict[str, list[NodeProto]]:
    """The products that read each matrix, for the matrices that nothing else reads."""
    matrices = {tensor.name for tensor in initializers if len(tensor.dims) == 2}
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for place, name in enumerate(node.input):
            if name in matrices and (place != 1 or node.op_type not in ("MatMul", "Gemm")):
                matrices.discard(name)
            elif name in matrices:
                readers.setdefault(name, []).append(node)
    return {name: nodes for name, nodes in readers.items() if name in matrices}


def _input_axis(node: NodeProto) -> int:
    """The axis of a product's matrix that is summed over."""
    return 1 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 0


def _awq_factors(name: str, ranges: Mapping[str, LinearRanges] | None) -> NDArray[np.float32] | None:
    found = None if ranges is None else ranges.get(name.removesuffix(".weight"))
    return None if found is None else found.awq


def _scaled(emit: Emitter, readers: list[NodeProto], weight: Weight, axis: int, factors: NDArray[np.float32]) -> Weight:
    """Multiply what the products read by ``factors`` [in], and divide the weight's input rows by them."""
    dtype = np.float16 if weight.dtype == TensorProto.FLOAT16 else np.float32
    for node in readers:
        node.input[0] = emit.op("Mul", node.input[0], emit.constant(factors, dtype))
    divisor = np.asarray(factors, np.float32)[:, None] if axis == 0 else np.asarray(factors, np.float32)
    return Weight(weight.dtype, weight.shape, lambda: weight.read().astype(np.float32) / divisor)


def _store(emit: Emitter, name: str, weight: Weight, kind: str, axis: int) -> Weights:
    """The weights that take the place of ``weight``, with the node that makes ``name`` of them."""
    if kind == "fp16":
        emit.op("Cast", f"{name}.fp16", to=weight.dtype, out=name)
        return {f"{name}.fp16": Weight(TensorProto.FLOAT16, weight.shape, lambda: weight.read().astype(np.float16))}
    scale_type = np.float16 if weight.dtype == TensorProto.FLOAT16 else np.float32
    if kind == "int8":
        emit.op("DequantizeLinear", f"{name}.int8", f"{name}.scale", axis=1 - axis, out=name)
        shape: tuple[int, ...] = (weight.shape[1 - axis],)
        block, top, dtype = weight.shape[axis], _INT8_TOP, TensorProto.INT8
    else:
        emit.op("DequantizeLinear", f"{name}.int4", f"{name}.scale", axis=axis, block_size=BLOCK, out=name)
        blocks = -(-weight.shape[axis] // BLOCK)
        shape = (blocks, weight.shape[1]) if axis == 0 else (weight.shape[0], blocks)
        block, top, dtype = BLOCK, _INT4_TOP, TensorProto.INT4

    def scales() -> NDArray:
        return _scales(_blocks(weight.read(), axis, block), axis + 1, top, scale_type).reshape(shape)

    def values() -> NDArray:
        blocks = _blocks(weight.read(), axis, block)
        steps: NDArray[np.float32] = np.divide(blocks, _scales(blocks, axis + 1, top, scale_type), dtype=np.float32)
        np.clip(np.rint(steps, out=steps), -top, top, out=steps)
        padded = steps.reshape((-1, weight.shape[1]) if axis == 0 else (weight.shape[0], -1)).astype(np.int8)
        rounded = padded[: weight.shape[0], : weight.shape[1]]
        return rounded if dtype == TensorProto.INT8 else _packed(rounded)

    return {
        f"{name}.{kind}": Weight(dtype, weight.shape, values),
        f"{name}.scale": Weight(weight.dtype, shape, scales),
    }


def _blocks(array: NDArray, axis: int, block: int) -> NDArray[np.float32]:
    """A matrix with ``axis`` split into blocks and places in them; the last block is filled up with zeros."""
    missing = -array.shape[axis] % block
    if missing:
        array = np.pad(array, [(0, missing), (0, 0)] if axis == 0 else [(0, 0), (0, missing)])
    shape = (-1, block, array.shape[1]) if axis == 0 else (array.shape[0], -1, block)
    return array.astype(np.float32, copy=False).reshape(shape)


def _scales(blocks: NDArray[np.float32], axis: int, top: int, dtype: type) -> NDArray:
    """Largest magnitude along ``axis``, which stays with length 1, over ``top``; a block of zeros gets 1."""
    peak = np.maximum(blocks.max(axis=axis, keepdims=True), -blocks.min(axis=axis, keepdims=True))
    # A scale that float16 would round to zero cannot be divided by.
    smallest = np.finfo(np.float16).tiny if dtype is np.float16 else np.finfo(np.float32).tiny
    return np.where(peak > 0, np.maximum(peak / top, smallest), 1.0).astype(dtype)


def _packed(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two four-bit numbers a byte, the first in the low bits."""
    flat = values.reshape(-1).view(np.uint8) & 0xF
    flat = np.append(flat, np.uint8(0)) if flat.size % 2 else flat
    return (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8)
