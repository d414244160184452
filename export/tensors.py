"""Weights apart from the graphs that use them: made when they are wanted, so that no model need sit in memory whole.

A graph of the exporter is a ``ModelProto`` whose large initializers are placeholders: name, type and shape, no data.
Their data are `Weight` objects in a dictionary beside it, by initializer name. A weight reads a memory-mapped shard, or
derives from another weight (merged, transposed, quantized), each time that it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mosear.export.lowering.rewriting import without_weights

INLINE_BYTES = 1024
"""Smaller tensors stay in the graph."""

_PACKED = {TensorProto.INT4, TensorProto.UINT4}
_BYTES: dict[int, int] = {TensorProto.BFLOAT16: 2, TensorProto.FLOAT8E4M3FN: 1}


@dataclass(frozen=True)
class Weight:
    """A tensor that is made when it is asked for.

    Attributes:
        dtype: its ONNX type, as in ``TensorProto.FLOAT``.
        shape: its logical shape.
        read: makes an array whose bytes are the tensor's raw data: bfloat16 as uint16, float8 as uint8, four-bit types
            packed two a byte (the first in the low bits) as uint8, all others as themselves, shaped ``shape``.
    """

    dtype: int
    shape: tuple[int, ...]
    read: Callable[[], NDArray]

    @property
    def nbytes(self) -> int:
        """Size of the raw data."""
        count = int(np.prod(self.shape, dtype=np.int64))
        if self.dtype in _PACKED:
            return (count + 1) // 2
        kind = raw_type(self.dtype)
        return count * (_BYTES[self.dtype] if kind is None else kind.itemsize)


Weights = dict[str, Weight]


def raw_type(dtype: int) -> np.dtype | None:
    """NumPy's type of a tensor's raw data, or None for a type that NumPy does not have."""
    return None if dtype in _PACKED or dtype in _BYTES else helper.tensor_dtype_to_np_dtype(dtype)


def float_weight(shape: tuple[int, ...], read: Callable[[], NDArray]) -> Weight:
    """A float32 weight."""
    return Weight(TensorProto.FLOAT, shape, read)


def placeholder(name: str, weight: Weight) -> TensorProto:
    """An initializer for ``weight`` without its data."""
    return TensorProto(name=name, data_type=weight.dtype, dims=weight.shape, data_location=TensorProto.EXTERNAL)


def is_placeholder(tensor: TensorProto) -> bool:
    """Whether an initializer's data are elsewhere."""
    return tensor.data_location == TensorProto.EXTERNAL


def detach(model: ModelProto) -> tuple[ModelProto, Weights]:
    """Take the large initializers out of a graph; ``model`` itself stays as it is."""
    weights: Weights = {}
    slots = []
    for tensor in model.graph.initializer:
        if is_placeholder(tensor) or len(_raw(tensor)) < INLINE_BYTES:
            slots.append(tensor)
            continue
        weights[tensor.name] = _held(tensor)
        slots.append(placeholder(tensor.name, weights[tensor.name]))
    return _with(model, slots), weights


def attach(model: ModelProto, weights: Weights) -> ModelProto:
    """The graph with its data put in. For graphs that fit into memory, and into protobuf's 2 GiB.

    Raises:
        KeyError: a placeholder has no weight.
    """
    return _with(
        model,
        [
            _filled(tensor.name, weights[tensor.name]) if is_placeholder(tensor) else tensor
            for tensor in model.graph.initializer
        ],
    )


def _with(model: ModelProto, initializers: Iterable[TensorProto]) -> ModelProto:
    copy = without_weights(model)
    copy.graph.initializer.extend(initializers)
    return copy


def _held(tensor: TensorProto) -> Weight:
    shape, kind = tuple(tensor.dims), raw_type(tensor.data_type)
    data = np.frombuffer(_raw(tensor), kind or np.uint8)
    array = data.reshape(shape) if kind is not None else data
    return Weight(tensor.data_type, shape, lambda: array)


def _filled(name: str, weight: Weight) -> TensorProto:
    data = np.ascontiguousarray(weight.read()).tobytes()
    return TensorProto(name=name, data_type=weight.dtype, dims=weight.shape, raw_data=data)


def _raw(tensor: TensorProto) -> bytes:
    return tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
