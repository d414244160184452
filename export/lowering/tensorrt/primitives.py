"""Newer standard operators written out in plain ones, for versions of TensorRT whose parser lacks them."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from mosear.export.lowering.rewriting import Emitter, attribute


def write_out_norms(nodes: Any, emit: Emitter) -> None:
    """RMSNormalization over the last axis → its arithmetic, in float32 as its definition asks for.

    Raises ValueError for a norm over other axes.
    """

    def write_out(node: NodeProto) -> None:
        if attribute(node, "axis", -1) != -1:
            raise ValueError(f"norm {node.output[0]} is not over the last axis")
        value = emit.op("Cast", node.input[0], to=TensorProto.FLOAT)
        mean = emit.op("ReduceMean", emit.op("Mul", value, value), emit.ints(-1), keepdims=1)
        deviation = emit.op("Sqrt", emit.op("Add", mean, emit.number(attribute(node, "epsilon", 1e-5))))
        normed = emit.op("CastLike", emit.op("Div", value, deviation), node.input[0])
        emit.op("Mul", normed, node.input[1], out=node.output[0])

    _replace_each(nodes, "RMSNormalization", write_out)


def write_out_rotary(nodes: Any, emit: Emitter) -> None:
    """RotaryEmbedding of [B, H, S, Dh] with cosines and sines [B, S, R/2] → its arithmetic.

    Raises ValueError when it reads its tables by position.
    """

    def write_out(node: NodeProto) -> None:
        if len(node.input) != 3:
            raise ValueError(f"rotary embedding {node.output[0]} reads positions: not a canonical decoder")
        source, rest = node.input[0], ""
        size = attribute(node, "rotary_embedding_dim", 0)
        if size:
            end = emit.ints(np.iinfo(np.int64).max)
            rest = emit.op("Slice", source, emit.ints(size), end, emit.ints(3))
            source = emit.op("Slice", source, emit.ints(0), emit.ints(size), emit.ints(3))
        cosine, sine = (emit.op("Unsqueeze", name, emit.ints(1)) for name in node.input[1:3])
        paired = attribute(node, "interleaved", 0)
        if paired:
            # Neighbours are a pair: [..., R/2, 2].
            source = emit.op("Reshape", source, emit.ints(0, 0, 0, -1, 2))
            halves = [emit.op("Gather", source, emit.constant(half, np.int64), axis=4) for half in (0, 1)]
        else:
            halves = emit.ops("Split", source, outputs=[emit.fresh("half") for _ in "xy"], axis=3, num_outputs=2)
        x, y = halves
        turned = [
            emit.op("Sub", emit.op("Mul", x, cosine), emit.op("Mul", y, sine)),
            emit.op("Add", emit.op("Mul", y, cosine), emit.op("Mul", x, sine)),
        ]
        if paired:
            columns = [emit.op("Unsqueeze", part, emit.ints(4)) for part in turned]
            turned = [emit.op("Reshape", emit.op("Concat", *columns, axis=4), emit.ints(0, 0, 0, -1))]
        emit.op("Concat", *turned, *([rest] if rest else []), out=node.output[0], axis=3)

    _replace_each(nodes, "RotaryEmbedding", write_out)


def _replace_each(nodes: Any, kind: str, write_out: Any) -> None:
    """Call ``write_out`` for each node of a kind, and take those nodes out."""
    kept = []
    for node in nodes:
        if node.op_type == kind and not node.domain:
            write_out(node)
        else:
            kept.append(node)
    del nodes[:]
    nodes.extend(kept)
