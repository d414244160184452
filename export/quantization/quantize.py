"""Formats by weight → a graph on ONNX Runtime's quantized products.

The structure is rewritten without reading a weight; a quantized weight reads the one that it comes from when it is
itself read. Its name, shape and values depend on that weight, its format and its ranges alone, so that graphs which
share weights share the quantized ones too.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from mosear.calibration.quantization import LinearRanges
from mosear.export.lowering.rewriting import CONTRIB, Emitter, keep_needed, without_weights
from mosear.export.quantization.int8 import FULL_RANGE, REDUCED_RANGE, emit_int8, int8_weights
from mosear.export.quantization.nbits import BLOCK, SMALLEST_BLOCK, emit_int4, fitting_block, int4_weights
from mosear.export.quantization.products import Product, constant_products, matrix
from mosear.export.tensors import Weight, Weights, placeholder

MINIMUM_SIZE = 16384
"""Weights with fewer elements stay as they are: there, quantizing x costs about what the product saves."""

_KEPT = {"fp32", "fp16"}


def quantize(
    model: ModelProto,
    weights: Weights,
    formats: Mapping[str, str],
    ranges: Mapping[str, LinearRanges] | None = None,
    *,
    minimum_size: int = MINIMUM_SIZE,
    block: int = BLOCK,
    reduced_range: bool = True,
) -> tuple[ModelProto, Weights]:
    """Quantize the constant weights of products; ``model`` and ``weights`` themselves stay as they are.

    model: a graph for ONNX Runtime with placeholders for its large weights, in float32; or in float16, for int4.
    weights: what is behind them.
    formats: by initializer, ``int8`` (dynamic, `int8.py`), ``int4`` (weights alone, `nbits.py`), or ``fp32`` and
        ``fp16``, which leave the weight as the graph has it; so do weights that are not listed, and small ones.
    ranges: by linear module; int8 smooths with ``smooth`` and int4 scales with ``awq``, where they are there.
    minimum_size: weights with fewer elements are left alone.
    block: weights that share a scale in int4, at most: a power of two from 16 (`nbits.fitting_block`).
    reduced_range: 7-bit weights in int8, right on every CPU; False uses all 8 bits, which is safe only where the CPU
        has VNNI or is not an x86.

    Returns the graph and all weights that it reads. Of a weight ``w`` these are ``w.int8`` and ``w.scale``, or
    ``w.int4`` and ``w.int4.scale``; ``w.transposed`` stands for ``w`` where a Gemm transposes it.

    Raises ValueError for another format or block, and for int8 in float16.
    """
    unknown = set(formats.values()) - _KEPT - {"int8", "int4"}
    if unknown:
        raise ValueError(f"ONNX Runtime's products have no format {', '.join(sorted(unknown))}")
    if block < SMALLEST_BLOCK or block & (block - 1):
        raise ValueError(f"a block must be a power of two from 16, got {block}")
    top = REDUCED_RANGE if reduced_range else FULL_RANGE
    emit, new, sources = Emitter("quantized/"), dict(weights), _Sources()
    nodes = []
    chosen = {product.nodes[0].output[0]: product for product in _chosen(model, formats, minimum_size)}
    inner = {node.output[0] for product in chosen.values() for node in product.nodes[1:]}
    for node in model.graph.node:
        product = chosen.get(node.output[0]) if node.output else None
        if product is None:
            if not inner.intersection(node.output):
                nodes.append(node)
            continue
        kind = formats[product.weight]
        scaled, source = sources.scaled(emit, product, matrix(product, weights[product.weight]), kind, ranges or {})
        if kind == "int8" and product.dtype != TensorProto.FLOAT:
            raise ValueError(f"{product.weight} is float16, and dynamic int8 is for float32 graphs")
        if kind == "int8":
            new |= int8_weights(product, scaled, top)
            emit_int8(emit, product, source, sources.quantized)
        else:
            fitting = fitting_block(product.shape[0], block)
            new |= int4_weights(product, scaled, fitting)
            emit_int4(emit, product, source, fitting)
        nodes.extend(emit.nodes)
        emit.nodes.clear()
    return _assembled(model, nodes, new, emit)


class _Sources:
    """What products read: the same scaling and quantization of one source is emitted once."""

    def __init__(self) -> None:
        self.quantized: dict[str, list[str]] = {}
        self._scaled: dict[tuple[str, bytes], str] = {}

    def scaled(
        self, emit: Emitter, product: Product, weight: Weight, kind: str, ranges: Mapping[str, LinearRanges]
    ) -> tuple[Weight, str]:
        """Weight [K, N] and source of a product after SmoothQuant or AWQ moved part of one into the other."""
        known = ranges.get(product.weight.removesuffix(".weight"))
        factors = None if known is None else known.smooth if kind == "int8" else known.awq
        if factors is None:
            return weight, product.source
        factors = np.asarray(factors, np.float16 if product.dtype == TensorProto.FLOAT16 else np.float32)
        if factors.shape != product.shape[:1]:
            raise ValueError(f"{product.weight} has {product.shape[0]} inputs, its ranges have {factors.shape}")
        key = product.source, factors.tobytes()
        if key not in self._scaled:
            self._scaled[key] = emit.op("Mul", product.source, emit.constant(factors, factors.dtype))

        def read() -> NDArray:
            return weight.read() / factors[:, None]

        return Weight(weight.dtype, weight.shape, read), self._scaled[key]


def _chosen(model: ModelProto, formats: Mapping[str, str], minimum_size: int) -> list[Product]:
    return [
        product
        for product in constant_products(model.graph)
        if formats.get(product.weight, "fp32") not in _KEPT and product.shape[0] * product.shape[1] >= minimum_size
    ]


def _assembled(model: ModelProto, nodes: list, weights: Weights, emit: Emitter) -> tuple[ModelProto, Weights]:
    quantized = without_weights(model)
    del quantized.graph.node[:]
    quantized.graph.node.extend(nodes)
    held = {tensor.name for tensor in model.graph.initializer}
    slots = [placeholder(name, weight) for name, weight in weights.items() if name not in held]
    keep_needed(quantized.graph, [*model.graph.initializer, *slots, *emit.constants])
    if emit.constants or slots:
        domains = {opset.domain for opset in quantized.opset_import}
        if CONTRIB not in domains:
            quantized.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    left = {tensor.name for tensor in quantized.graph.initializer if tensor.data_location == TensorProto.EXTERNAL}
    return quantized, {name: weight for name, weight in weights.items() if name in left}
