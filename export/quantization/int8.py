"""Dynamic int8: weights in int8 with a scale a column, activations quantized as they come.

``x W + b`` becomes ONNX Runtime's ``MatMulIntegerToFloat``: W [K, N] is symmetric int8 with one scale for each of the
N columns, x is uint8 with one scale and zero point for the whole tensor, taken at run time. Products that read the same
x share its quantization, which spans the whole batch: a sample's result depends, slightly, on what it is batched with.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mosear.export.lowering.rewriting import CONTRIB, Emitter
from mosear.export.quantization.products import Product
from mosear.export.quantization.together import read_together
from mosear.export.tensors import Weight, Weights

# x86 CPUs without VNNI add pairs of uint8 * int8 products in 16 bits, which overflow silently: 2 * 255 * 127 > 32767.
# Weights of 7 bits cannot overflow, so that every CPU computes the same.
FULL_RANGE, REDUCED_RANGE = 127, 63
_COLUMNS = 512


def int8_weights(product: Product, weight: Weight, top: int) -> Weights:
    """``w.int8`` [K, N] and ``w.scale`` [N] of a weight [K, N]; ``top``: the largest int8 value to use."""
    read_values, read_scales = read_together(lambda: quantize_columns(weight.read(), top))
    return {
        f"{product.stem}.int8": Weight(TensorProto.INT8, product.shape, read_values),
        f"{product.stem}.scale": Weight(TensorProto.FLOAT, product.shape[1:], read_scales),
    }


def emit_int8(emit: Emitter, product: Product, source: str, quantized: dict[str, list[str]]) -> None:
    """Emit a product on int8; ``quantized`` holds the sources that are quantized already."""
    if source not in quantized:
        names = [emit.fresh(kind) for kind in ("values", "scale", "zero_point")]
        quantized[source] = emit.ops("DynamicQuantizeLinear", source, outputs=names)
    values, scale, zero_point = quantized[source]
    inputs = [values, f"{product.stem}.int8", scale, f"{product.stem}.scale", zero_point]
    if product.bias:
        inputs += ["", product.bias]
    emit.op("MatMulIntegerToFloat", *inputs, out=product.output, domain=CONTRIB)


def quantize_columns(weight: NDArray, top: int) -> tuple[NDArray, NDArray]:
    """Symmetric int8 of [K, N] with a scale for each column; a column of zeros gets scale 1."""
    values = np.empty(weight.shape, np.int8)
    scales = np.empty(weight.shape[1], np.float32)
    for start in range(0, weight.shape[1], _COLUMNS):
        part = np.asarray(weight[:, start : start + _COLUMNS], np.float32)
        peak = np.abs(part).max(axis=0)
        scale = np.where(peak > 0, peak / top, 1.0).astype(np.float32)
        values[:, start : start + _COLUMNS] = np.clip(np.rint(part / scale), -top, top)
        scales[start : start + _COLUMNS] = scale
    return values, scales
