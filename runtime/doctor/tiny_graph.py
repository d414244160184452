"""Softmax(a · b) as an ONNX model, written byte by byte: the smallest graph that proves a provider.

The runtime has no onnx library. A protobuf message is a list of fields, each a key (number · 8 + kind) and a value:
kind 0 is a whole number, kind 2 a length and so many bytes. Field numbers are those of ``onnx.proto``.
"""

import numpy as np

ROWS, INNER, COLUMNS = 8, 16, 4

_FLOAT32, _FLOAT16 = 1, 10
_OPSET, _IR_VERSION = 13, 8


def tiny_graph(half: bool = False) -> bytes:
    """The model: a [8, 16] and b [16, 4] to y [8, 4], float32 or float16."""
    kind = _FLOAT16 if half else _FLOAT32
    graph = [
        _field(1, _node("MatMul", ["a", "b"], "product")),
        _field(1, _node("Softmax", ["product"], "y")),
        _field(2, b"proof"),
        _field(11, _tensor("a", kind, (ROWS, INNER))),
        _field(11, _tensor("b", kind, (INNER, COLUMNS))),
        _field(12, _tensor("y", kind, (ROWS, COLUMNS))),
    ]
    opset = _field(1, b"") + _field(2, _OPSET)
    return _field(1, _IR_VERSION) + _field(7, b"".join(graph)) + _field(8, opset)


def example(half: bool = False) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs by name, and what comes out by NumPy, float64 [8, 4]."""
    random = np.random.default_rng(5)
    kind = np.float16 if half else np.float32
    inputs = {
        "a": random.normal(size=(ROWS, INNER)).astype(kind),
        "b": random.normal(size=(INNER, COLUMNS)).astype(kind),
    }
    product = inputs["a"].astype(np.float64) @ inputs["b"].astype(np.float64)
    powers = np.exp(product - product.max(axis=1, keepdims=True))
    return inputs, powers / powers.sum(axis=1, keepdims=True)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _node(op: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode()) + _field(4, op.encode())


def _tensor(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind) + _field(2, sizes)))
