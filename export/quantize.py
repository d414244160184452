"""Dynamic int8: weights in int8 with a scale a column, activations quantized as they come.

A product ``x W + b`` with constant W [K, N] becomes ONNX Runtime's ``MatMulIntegerToFloat``: W is symmetric int8 with
one scale for each of the N columns, x is uint8 with one scale and zero point for the whole tensor, taken at run time.
Products that read the same x share its quantization. Everything else (convolutions, norms, attention scores, the
embedding of tokens) stays in float32. No calibration data are needed.

The quantization of x spans its whole batch, so a sample's result depends, slightly, on what it is batched with.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mosear.export.lowering.rewriting import CONTRIB, Emitter, attribute, keep_needed, without_weights

MINIMUM_SIZE = 16384
"""Weights with fewer elements stay in float32: there, quantizing x costs about what the product saves."""

# x86 CPUs without VNNI add pairs of uint8 * int8 products in 16 bits, which overflow silently: 2 * 255 * 127 > 32767.
# Weights of 7 bits cannot overflow, so that every CPU computes the same.
_FULL_RANGE, _REDUCED_RANGE = 127, 63


@dataclass(frozen=True)
class _Product:
    """A product with a constant: the node that makes ``output`` from ``source``, with the weight as [K, N]."""

    nodes: tuple[NodeProto, ...]
    source: str
    weight_name: str
    weight: np.ndarray
    bias: np.ndarray | None
    output: str


def quantize_int8(model: ModelProto, *, minimum_size: int = MINIMUM_SIZE, reduced_range: bool = True) -> ModelProto:
    """Quantize the constant weights of every MatMul and Gemm of a float32 graph; ``model`` itself stays as it is.

    minimum_size: weights with fewer elements are left alone.
    reduced_range: 7-bit weights, right on every CPU; False uses all 8 bits, which is safe only where the CPU has VNNI
        or is not an x86.

    Returns the new graph; the weight ``w`` is now ``w.int8`` [K, N] and ``w.scale`` [N], or ``w.transposed.int8`` where
    a Gemm transposes it. They depend on ``w`` alone: graphs that share weights share the quantized ones too.
    """
    quantized = without_weights(model)
    graph = quantized.graph
    emit = Emitter("int8/")
    sources: dict[str, list[str]] = {}
    products = {product.nodes[-1].output[0]: product for product in _products(model.graph, minimum_size)}
    inner = {node.output[0] for product in products.values() for node in product.nodes[:-1]}
    weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        product = products.get(node.output[0]) if node.output else None
        if product is None:
            if not (node.output and node.output[0] in inner):
                nodes.append(node)
            continue
        if product.weight_name not in weights:
            weights[product.weight_name] = _quantized(product.weight, _REDUCED_RANGE if reduced_range else _FULL_RANGE)
        _emit_product(emit, product, sources)
        nodes.extend(emit.nodes)
        emit.nodes.clear()
    del graph.node[:]
    graph.node.extend(nodes)
    new = [
        numpy_helper.from_array(array, rename(name))
        for name, arrays in weights.items()
        for array, rename in zip(arrays, (_quantized_name, _scale_name), strict=True)
    ]
    keep_needed(graph, [*model.graph.initializer, *new, *emit.constants])
    if weights and CONTRIB not in {opset.domain for opset in quantized.opset_import}:
        quantized.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return quantized


def _products(graph: GraphProto, minimum_size: int) -> Iterator[_Product]:
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {output.name for output in graph.output}

    def constant(name: str) -> np.ndarray | None:
        return numpy_helper.to_array(constants[name]) if name in constants else None

    for node in graph.node:
        if node.domain or node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants:
            continue
        dims = constants[node.input[1]].dims
        if len(dims) != 2 or dims[0] * dims[1] < minimum_size or node.input[0] in constants:
            continue
        name, weight = node.input[1], numpy_helper.to_array(constants[node.input[1]])
        chain, bias = [node], None
        if node.op_type == "Gemm":
            plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
            bias = constant(node.input[2]) if len(node.input) > 2 else None
            if not plain or attribute(node, "transA", 0) or (len(node.input) > 2 and bias is None):
                continue
            if attribute(node, "transB", 0):
                # A tied weight can be read both ways round, with other columns each time.
                name, weight = f"{name}.transposed", weight.T
        else:
            after = readers.get(node.output[0], [])
            if len(after) == 1 and after[0].op_type == "Add" and node.output[0] not in outputs:
                other = next((constant(entry) for entry in after[0].input if entry != node.output[0]), None)
                if other is not None and other.shape == (weight.shape[1],):
                    chain, bias = [node, after[0]], other
        if bias is None or bias.shape == (weight.shape[1],):
            yield _Product(tuple(chain), node.input[0], name, weight, bias, chain[-1].output[0])


def _emit_product(emit: Emitter, product: _Product, sources: dict[str, list[str]]) -> None:
    if product.source not in sources:
        names = [emit.fresh(kind) for kind in ("values", "scale", "zero_point")]
        sources[product.source] = emit.ops("DynamicQuantizeLinear", product.source, outputs=names)
    values, scale, zero_point = sources[product.source]
    inputs = [values, _quantized_name(product.weight_name), scale, _scale_name(product.weight_name), zero_point]
    if product.bias is not None:
        inputs += ["", emit.constant(product.bias, np.float32)]
    emit.op("MatMulIntegerToFloat", *inputs, out=product.output, domain=CONTRIB)


def _quantized(weight: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 of [K, N] with a scale for each column; a column of zeros gets scale 1."""
    peak = np.abs(weight).max(axis=0)
    scales = np.where(peak > 0, peak / top, 1.0).astype(np.float32)
    return np.clip(np.rint(weight / scales), -top, top).astype(np.int8), scales


def _quantized_name(weight: str) -> str:
    return f"{weight}.int8"


def _scale_name(weight: str) -> str:
    return f"{weight}.scale"
