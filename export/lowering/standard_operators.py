"""Operators that only the newest tools know → products, sums and the like, which every tool has.

Each function writes one operator's decomposition under the name of its output. Norms and softmax are computed in
float32 in a float16 graph too. The forms are those that other tools know to fuse again: ``Pow, ReduceMean, Add, Sqrt,
Div, Mul`` for a norm, ``Softmax`` between two ``MatMul`` for attention, the error function for GELU.
"""

import math

import numpy as np
from onnx import NodeProto, TensorProto

from mosear.export.lowering.rewriting import Emitter, attribute


class Decomposer:
    """Writes nodes into ``emit``, and newer operators in the place of which older ones do as their decomposition.

    Args:
        emit: where nodes and constants go.
        dtype: the graph's floating type, ``TensorProto.FLOAT`` or ``FLOAT16``.
    """

    def __init__(self, emit: Emitter, dtype: int) -> None:
        self.emit = emit
        self.dtype = dtype
        self._tables: dict[tuple[str, str], tuple[str, str]] = {}
        self._newer = {
            "RMSNormalization": self.norm,
            "RotaryEmbedding": self.rotary,
            "Gelu": self.gelu,
            "Attention": self.attention,
        }

    def add(self, node: NodeProto) -> None:
        """Write ``node``, decomposed where it must be. Raises ValueError for a form that has no decomposition here."""
        if node.domain or node.op_type not in self._newer:
            self.emit.nodes.append(node)
        else:
            self._newer[node.op_type](node)

    def precise(self, name: str) -> str:
        """``name``, a value of the graph's type, in float32."""
        return name if self.dtype == TensorProto.FLOAT else self.emit.op("Cast", name, to=TensorProto.FLOAT)

    def coarse(self, name: str) -> str:
        """``name``, a float32 value, in the graph's type."""
        return name if self.dtype == TensorProto.FLOAT else self.emit.op("Cast", name, to=self.dtype)

    def norm(self, node: NodeProto) -> None:
        """``x / sqrt(mean(x²) + epsilon) * weight`` over the last axis."""
        if attribute(node, "axis", -1) != -1:
            raise ValueError(f"norm {node.output[0]} is not over the last axis: it has no standard form here")
        emit = self.emit
        source, weight = node.input
        values = self.precise(source)
        mean = emit.op("ReduceMean", emit.op("Pow", values, emit.number(2.0)), axes=[-1], keepdims=1)
        size = emit.op("Sqrt", emit.op("Add", mean, emit.number(attribute(node, "epsilon", 1e-5))))
        emit.op("Mul", self.coarse(emit.op("Div", values, size)), weight, out=node.output[0])

    def rotary(self, node: NodeProto) -> None:
        """``x cos + (-x₂, x₁) sin`` for x = (x₁, x₂) [B, H, S, Dh]; the sign is put into the table of sines, once."""
        rotated_size = attribute(node, "rotary_embedding_dim", 0)
        if len(node.input) != 3 or attribute(node, "interleaved", 0):
            raise ValueError(
                f"rotary embedding {node.output[0]} has no standard form here: it is interleaved or indexed"
            )
        emit = self.emit
        source, rest = node.input[0], ""
        if rotated_size:
            size = emit.ints(rotated_size)
            rest = emit.op("Slice", source, size, emit.ints(np.iinfo(np.int64).max), emit.ints(3))
            source = emit.op("Slice", source, emit.ints(0), size, emit.ints(3))
        cosine, sine = self._rotary_tables(node.input[1], node.input[2])
        first, second = emit.ops("Split", source, outputs=[emit.fresh("half"), emit.fresh("half")], axis=-1)
        swapped = emit.op("Concat", second, first, axis=-1)
        out = emit.fresh("rotated") if rest else node.output[0]
        emit.op("Add", emit.op("Mul", source, cosine), emit.op("Mul", swapped, sine), out=out)
        if rest:
            emit.op("Concat", out, rest, axis=-1, out=node.output[0])

    def _rotary_tables(self, cosine: str, sine: str) -> tuple[str, str]:
        """(cos, cos) and (-sin, sin) [B, 1, S, R] of [B, S, R / 2], once for all layers."""
        emit = self.emit
        if (cosine, sine) not in self._tables:
            cosines = emit.op("Concat", cosine, cosine, axis=-1)
            sines = emit.op("Concat", emit.op("Neg", sine), sine, axis=-1)
            axis = emit.ints(1)
            self._tables[cosine, sine] = emit.op("Unsqueeze", cosines, axis), emit.op("Unsqueeze", sines, axis)
        return self._tables[cosine, sine]

    def gelu(self, node: NodeProto) -> None:
        """``x / 2 * (1 + erf(x / √2))``; the approximate form is ``x / 2 * (1 + tanh(√(2/π) (x + 0.044715 x³)))``."""
        emit = self.emit
        source = self.precise(node.input[0])
        if attribute(node, "approximate", "none") == "tanh":
            cube = emit.op("Mul", emit.op("Pow", source, emit.number(3.0)), emit.number(0.044715))
            inner = emit.op("Mul", emit.op("Add", source, cube), emit.number(math.sqrt(2.0 / math.pi)))
            bent = emit.op("Tanh", inner)
        else:
            bent = emit.op("Erf", emit.op("Div", source, emit.number(math.sqrt(2.0))))
        weighted = emit.op("Mul", source, emit.op("Add", bent, emit.number(1.0)))
        self._finish(emit.op("Mul", weighted, emit.number(0.5)), node.output[0])

    def attention(self, node: NodeProto) -> None:
        """``softmax(scale Q Kᵀ + mask) V`` of [B, H, S, Dh], one key head for each query head, the mask additive."""
        plain = not any(attribute(node, name, 0) for name in ("is_causal", "softcap", "q_num_heads", "kv_num_heads"))
        if not plain or len(node.input) > 4 or len([name for name in node.output if name]) > 1:
            raise ValueError(f"attention {node.output[0]} has no standard form here: it is not a plain one")
        emit = self.emit
        query, key, value, *mask = node.input
        scores = self.scores(query, key, attribute(node, "scale"))
        if mask and mask[0]:
            scores = emit.op("Add", scores, self.precise(mask[0]))
        probabilities = self.coarse(emit.op("Softmax", scores, axis=-1))
        emit.op("MatMul", probabilities, value, out=node.output[0])

    def scores(self, query: str, key: str, scale: float | None) -> str:
        """``scale Q Kᵀ`` in float32: float16 would lose the small digits of large logits, or overflow.

        scale: None for one over the square root of the head size.
        """
        emit = self.emit
        if scale is None:
            size = emit.op("Cast", emit.op("Shape", query, start=3, end=4), to=TensorProto.FLOAT)
            scaled = emit.op("Div", self.precise(query), emit.op("Sqrt", size))
        else:
            scaled = emit.op("Mul", self.precise(query), emit.number(scale))
        return emit.op("MatMul", scaled, emit.op("Transpose", self.precise(key), perm=[0, 1, 3, 2]))

    def _finish(self, name: str, output: str) -> None:
        """Give ``output`` the float32 value ``name`` in the graph's type."""
        if self.dtype == TensorProto.FLOAT:
            self.emit.nodes[-1].output[0] = output
        else:
            self.emit.op("Cast", name, to=self.dtype, out=output)
