"""Explicit Q/DQ for TensorRT: what a format of a weight means there.

A product ``x W`` with constant W [K, N] becomes, by the format of W:

=======  =============================================  ==========================================
format   activation                                     weight
=======  =============================================  ==========================================
int8     Q/DQ, one static scale, smoothed before        int8, a scale for each of the N columns
int4     as it is, scaled by AWQ before                 int4, a scale for each block of K and column
fp8      Q/DQ in e4m3, one static scale                 e4m3, one scale
others   as it is                                       as it is, in the graph's own type
=======  =============================================  ==========================================

SmoothQuant (arXiv 2211.10438) and AWQ (arXiv 2306.00978) multiply the activation by a vector and divide the rows of W
by it. Scales have the graph's own type, because DequantizeLinear answers in the type of its scale; weights are
quantized by the scale as it was rounded, so that nothing is lost by that.

Blocks of int4 are 128 rows of K, or 64 where 128 does not divide K. TensorRT has no kernel for other sizes: such a
weight stays in the graph's own type, `fallbacks` says which, and a warning is given.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from mosear.export.lowering.rewriting import Emitter, attribute, keep_needed, without_weights
from mosear.export.tensors import Weight, Weights, placeholder
from mosear.runtime.errors import BadInput

if TYPE_CHECKING:
    from mosear.calibration.quantization import LinearRanges

QUANTIZED = ("int8", "int4", "fp8")
KEPT = ("fp32", "fp16")
BLOCKS = (128, 64)

_INT8_TOP, _INT4_LOW, _INT4_TOP, _FP8_TOP = 127, -8, 7, 448.0
_SMALLEST_HALF = 2.0**-24
_NUMPY: dict[int, np.dtype[Any]] = {TensorProto.FLOAT: np.dtype(np.float32), TensorProto.FLOAT16: np.dtype(np.float16)}


@dataclass(frozen=True)
class _Product:
    """A product with a constant weight; ``turned`` when the weight lies as [N, K]."""

    node: NodeProto
    name: str
    inner: int
    turned: bool

    @property
    def inner_axis(self) -> int:
        """Axis of the weight that is summed over."""
        return 1 if self.turned else 0


def quantize(
    model: ModelProto,
    weights: Weights,
    formats: Mapping[str, str],
    ranges: "Mapping[str, LinearRanges] | None",
) -> tuple[ModelProto, Weights]:
    """Quantize the weights that ``formats`` names; ``model`` and ``weights`` stay as they are, and nothing is read.

    model: a graph in float32 or float16 of opset 21 or later, canonical or lowered.
    formats: by weight; weights that it does not name, or names as ``fp32`` or ``fp16``, stay in the graph's own type.
    ranges: by weight without ``.weight``, from calibration. ``int8`` and ``fp8`` need them; ``int4`` takes AWQ's
        scale where there is one.

    Raises:
        ValueError: an unknown format, or a weight that is no product of this graph.
        BadInput: a range that is needed is missing.
    """
    unknown = sorted(set(formats.values()) - {*QUANTIZED, *KEPT})
    if unknown:
        raise ValueError(f"TensorRT knows no format {', '.join(unknown)}")
    products = list(_products(model, weights))
    missing = sorted({name for name, kind in formats.items() if kind in QUANTIZED} - {each.name for each in products})
    if missing:
        raise ValueError(f"no product of this graph has a weight called {', '.join(missing[:4])}")
    left = fallbacks(model, weights, formats)
    if left:
        warnings.warn(f"{len(left)} weights stay as they are: {next(iter(left.values()))}", stacklevel=2)
    chosen = {each.node.output[0]: each for each in products if formats.get(each.name) in QUANTIZED}
    writer = _Writer(Emitter("quantized/"), dict(weights), ranges or {})
    quantized = without_weights(model)
    nodes: list[NodeProto] = []
    for node in quantized.graph.node:
        product = chosen.get(node.output[0]) if node.output else None
        if product is not None and product.name not in left:
            writer.rewrite(node, product, formats[product.name])
            nodes.extend(writer.emit.nodes)
            writer.emit.nodes.clear()
        nodes.append(node)
    del quantized.graph.node[:]
    quantized.graph.node.extend(nodes)
    made = [placeholder(name, weight) for name, weight in writer.weights.items() if name not in weights]
    keep_needed(quantized.graph, [*model.graph.initializer, *made, *writer.emit.constants])
    used = {tensor.name for tensor in quantized.graph.initializer}
    return quantized, {name: weight for name, weight in writer.weights.items() if name in used}


def fallbacks(model: ModelProto, weights: Weights, formats: Mapping[str, str]) -> dict[str, str]:
    """The weights that `quantize` leaves in the graph's own type although ``formats`` asks for int4, and why."""
    blocks = " or ".join(map(str, BLOCKS))
    return {
        each.name: f"{each.name} has {each.inner} inputs, which no block of int4 ({blocks}) divides"
        for each in _products(model, weights)
        if formats.get(each.name) == "int4" and _block(each.inner) == 0
    }


def _block(inner: int) -> int:
    return next((size for size in BLOCKS if inner % size == 0), 0)


def _products(model: ModelProto, weights: Weights) -> Iterator[_Product]:
    for node in model.graph.node:
        if node.domain or node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
            continue
        shape, turned = weights[node.input[1]].shape, bool(attribute(node, "transB", 0))
        if len(shape) == 2 and not attribute(node, "transA", 0):
            yield _Product(node, node.input[1], shape[1] if turned else shape[0], turned)


@dataclass
class _Writer:
    """Writes the Q/DQ nodes in front of one product after another; ``weights`` grows by what it makes."""

    emit: Emitter
    weights: Weights
    ranges: "Mapping[str, LinearRanges]"

    def __post_init__(self) -> None:
        self._sources: dict[tuple[object, ...], str] = {}

    def rewrite(self, node: NodeProto, product: _Product, kind: str) -> None:
        """Give the product ``node`` a dequantized weight and the activation that goes with it."""
        found = self.ranges.get(product.name.removesuffix(".weight"))
        if found is None and kind != "int4":
            raise BadInput(
                f"{kind} needs the range of what enters {product.name}, which the calibration does not have",
                "calibrate for this precision with mosear-export calibrate, or choose int4 or fp16",
            )
        dtype = self.weights[product.name].dtype
        vector, top = None, 0.0
        if found is not None and kind == "int8":
            vector, top = found.smooth, found.input_amax if found.smooth is None else float(found.smooth_amax or 0.0)
        elif found is not None and kind == "fp8":
            top = found.input_amax
        elif found is not None:
            vector = found.awq
        source = node.input[0]
        if vector is not None:
            vector = _rounded(vector, dtype)
            source = self._scaled(source, product, vector, dtype)
        if kind != "int4":
            source = self._activation(source, top, kind, dtype)
        node.input[0] = source
        node.input[1] = self._weight(product, kind, vector)

    def _scaled(self, source: str, product: _Product, vector: NDArray, dtype: int) -> str:
        key = (source, vector.tobytes())
        if key not in self._sources:
            name = f"{product.name}.input_scale"
            self.weights[name] = Weight(dtype, vector.shape, lambda: vector)
            self._sources[key] = self.emit.op("Mul", source, name)
        return self._sources[key]

    def _activation(self, source: str, top: float, kind: str, dtype: int) -> str:
        scale = float(_scale(np.asarray(top), _INT8_TOP if kind == "int8" else _FP8_TOP, dtype))
        key = (source, kind, scale)
        if key not in self._sources:
            name = self.emit.constant(scale, _NUMPY[dtype])
            zero = self._zero(kind)
            values = self.emit.op("QuantizeLinear", source, name, zero)
            self._sources[key] = self.emit.op("DequantizeLinear", values, name, zero)
        return self._sources[key]

    def _zero(self, kind: str) -> str:
        """The zero point, whose type is what QuantizeLinear makes."""
        if kind == "int8":
            return self.emit.constant(0, np.int8)
        name = f"{self.emit.prefix}zero_{kind}"
        if all(tensor.name != name for tensor in self.emit.constants):
            self.emit.constants.append(TensorProto(name=name, data_type=TensorProto.FLOAT8E4M3FN, raw_data=b"\0"))
        return name

    def _weight(self, product: _Product, kind: str, vector: NDArray | None) -> str:
        weight, axis = self.weights[product.name], product.inner_axis
        made = _QUANTIZERS[kind](weight, vector, axis, product.inner)
        values, scales = f"{product.name}.{kind}", f"{product.name}.{kind}_scale"
        self.weights[values], self.weights[scales] = made
        key = (values, scales)
        if key not in self._sources:
            options: dict[str, dict[str, Any]] = {
                "int8": {"axis": 1 - axis},
                "int4": {"axis": axis, "block_size": _block(product.inner)},
                "fp8": {},
            }
            self._sources[key] = self.emit.op("DequantizeLinear", values, scales, **options[kind])
        return self._sources[key]


def _rounded(vector: NDArray, dtype: int) -> NDArray:
    """A vector of positive factors in the graph's own type, none of them rounded to nothing."""
    return np.maximum(vector, _SMALLEST_HALF).astype(_NUMPY[dtype])


def _scale(peak: NDArray, top: float, dtype: int) -> NDArray:
    """The scale that brings ``peak`` to ``top``, in the graph's own type; 1 where there is nothing to scale."""
    scale = np.where(peak > 0, np.maximum(peak / top, _SMALLEST_HALF), 1.0)
    return scale.astype(_NUMPY[dtype])


def _divided(weight: Weight, vector: NDArray | None, axis: int) -> NDArray:
    values = weight.read().astype(np.float32)
    if vector is None:
        return values
    return values / np.expand_dims(vector.astype(np.float32), 1 - axis)


def _int8(weight: Weight, vector: NDArray | None, axis: int, inner: int) -> tuple[Weight, Weight]:
    def scales(values: NDArray) -> NDArray:
        return _scale(np.abs(values).max(axis=axis), _INT8_TOP, weight.dtype)

    def read() -> NDArray:
        values = _divided(weight, vector, axis)
        steps = np.expand_dims(scales(values).astype(np.float32), axis)
        return np.clip(np.rint(values / steps), -_INT8_TOP, _INT8_TOP).astype(np.int8)

    return (
        Weight(TensorProto.INT8, weight.shape, read),
        Weight(weight.dtype, (weight.shape[1 - axis],), lambda: scales(_divided(weight, vector, axis))),
    )


def _int4(weight: Weight, vector: NDArray | None, axis: int, inner: int) -> tuple[Weight, Weight]:
    size = _block(inner)
    shape = tuple(length // size if place == axis else length for place, length in enumerate(weight.shape))

    def blocks() -> tuple[NDArray, NDArray]:
        """Values with K split into blocks and places in them, and the scale of each block."""
        values = _divided(weight, vector, axis)
        values = values.reshape(*values.shape[:axis], inner // size, size, *values.shape[axis + 1 :])
        return values, _scale(np.abs(values).max(axis=axis + 1), _INT4_TOP, weight.dtype)

    def read() -> NDArray:
        values, scales = blocks()
        steps = np.expand_dims(scales.astype(np.float32), axis + 1)
        levels = np.clip(np.rint(values / steps), _INT4_LOW, _INT4_TOP).astype(np.int8).reshape(-1)
        pairs = levels.view(np.uint8) & 0x0F
        return pairs[0::2] | (pairs[1::2] << 4)

    return Weight(TensorProto.INT4, weight.shape, read), Weight(weight.dtype, shape, lambda: blocks()[1])


def _fp8(weight: Weight, vector: NDArray | None, axis: int, inner: int) -> tuple[Weight, Weight]:
    def scale(values: NDArray) -> NDArray:
        return _scale(np.abs(values).max(), _FP8_TOP, weight.dtype)

    def read() -> NDArray:
        values = _divided(weight, vector, axis)
        levels = np.clip(values / scale(values).astype(np.float32), -_FP8_TOP, _FP8_TOP)
        return levels.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)

    return (
        Weight(TensorProto.FLOAT8E4M3FN, weight.shape, read),
        Weight(weight.dtype, (), lambda: scale(_divided(weight, vector, axis))),
    )


_QUANTIZERS: dict[str, Callable[[Weight, NDArray | None, int, int], tuple[Weight, Weight]]] = {
    "int8": _int8,
    "int4": _int4,
    "fp8": _fp8,
}
