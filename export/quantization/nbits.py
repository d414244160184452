"""Int4: weights in four bits with a scale a block, for ONNX Runtime's ``MatMulNBits``.

A weight [K, N] is stored by columns: uint8 [N, ceil(K / block), block / 2], two weights a byte, the first in the low
bits; a last block that K does not fill is padded with zeros. A value is ``(q - 8) * scale`` with q in 0..15, and the
scale of a block is its largest weight by magnitude over -8, sign and all, so that this weight is met exactly and all
sixteen values are used. ``accuracy_level`` 4 lets the kernel quantize the activations to int8, block by block.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mosear.export.lowering.rewriting import CONTRIB, Emitter
from mosear.export.quantization.products import Product
from mosear.export.quantization.together import read_together
from mosear.export.tensors import Weight, Weights

BLOCK, SMALLEST_BLOCK = 128, 16
"""Against blocks of 32, the default stores a fifth less and decodes faster, and is hardly further off."""

INT8_COMPUTE = 4
_MIDDLE = 8
_COLUMNS = 256


def fitting_block(size: int, block: int) -> int:
    """The largest block up to ``block`` that divides K; ``block``, padded, when none does."""
    smaller = block
    while smaller >= SMALLEST_BLOCK:
        if size % smaller == 0:
            return smaller
        smaller //= 2
    return block


def int4_weights(product: Product, weight: Weight, block: int) -> Weights:
    """``w.int4`` and ``w.int4.scale`` [N, ceil(K / block)], of the product's type, of a weight [K, N]."""
    size, columns = product.shape
    blocks = -(-size // block)
    kind = np.float16 if product.dtype == TensorProto.FLOAT16 else np.float32

    def pack() -> tuple[NDArray, NDArray]:
        values, scales = pack_blocks(weight.read(), block)
        return values, scales.astype(kind)

    read_values, read_scales = read_together(pack)
    return {
        f"{product.stem}.int4": Weight(TensorProto.UINT8, (columns, blocks, block // 2), read_values),
        f"{product.stem}.int4.scale": Weight(product.dtype, (columns, blocks), read_scales),
    }


def emit_int4(emit: Emitter, product: Product, source: str, block: int) -> None:
    """Emit a product on int4."""
    size, columns = product.shape
    inputs = [source, f"{product.stem}.int4", f"{product.stem}.int4.scale"]
    if product.bias:
        inputs += ["", "", product.bias]
    numbers = {"K": size, "N": columns, "bits": 4, "block_size": block, "accuracy_level": INT8_COMPUTE}
    emit.op("MatMulNBits", *inputs, out=product.output, domain=CONTRIB, **numbers)


def pack_blocks(weight: NDArray, block: int) -> tuple[NDArray, NDArray]:
    """Packed values uint8 [N, ceil(K / block), block / 2] and scales float32 [N, ceil(K / block)] of [K, N]."""
    size, columns = weight.shape
    blocks = -(-size // block)
    packed = np.empty((columns, blocks, block // 2), np.uint8)
    scales = np.empty((columns, blocks), np.float32)
    for start in range(0, columns, _COLUMNS):
        part = np.array(weight[:, start : start + _COLUMNS].T, np.float32, order="C")
        if size % block:
            part = np.pad(part, ((0, 0), (0, blocks * block - size)))
        part = part.reshape(-1, blocks, block)
        high, low = part.max(axis=-1), part.min(axis=-1)
        scale = np.where(high > -low, high, low) / np.float32(-_MIDDLE)
        scales[start : start + _COLUMNS] = scale
        # A block of zeros has no scale: its weights are the middle.
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
        part *= inverse[..., None]
        part += _MIDDLE + 0.5
        # Positive by now, so that cutting off is rounding; the sum is at most 16.5.
        values = np.minimum(part.astype(np.uint8), 15)
        packed[start : start + _COLUMNS] = values[..., ::2] | values[..., 1::2] << 4
    return packed, scales
