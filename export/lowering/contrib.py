"""Standard norms and rotary embeddings → ONNX Runtime's own operators, which older versions have too."""

from collections.abc import Container
from typing import Any

import numpy as np

from mosear.export.lowering.rewriting import CONTRIB, Emitter, attribute


def use_own_norms(nodes: Any, emit: Emitter, constants: Container[str]) -> None:
    """RMSNormalization → ONNX Runtime's own, fused with the residual sum that it follows where there is one.

    constants: names of the graph's weights; a sum with one of them is a bias, which the fused operator cannot add.
    """
    sums = {
        node.output[0]: node
        for node in nodes
        if node.op_type == "Add" and not any(name in constants for name in node.input)
    }
    fused: set[str] = set()
    for node in nodes:
        if node.op_type != "RMSNormalization":
            continue
        source, weight = node.input
        epsilon = attribute(node, "epsilon", 1e-5)
        if attribute(node, "axis", -1) != -1:
            raise ValueError(f"norm {node.output[0]} is not over the last axis: not a canonical decoder")
        residual = sums.get(source)
        if residual is not None and source not in fused:
            outputs = [node.output[0], "", "", source]
            emit.ops(
                "SkipSimplifiedLayerNormalization",
                *residual.input,
                weight,
                outputs=outputs,
                domain=CONTRIB,
                epsilon=epsilon,
            )
            fused.add(source)
        else:
            emit.op("SimplifiedLayerNormalization", source, weight, out=node.output[0], axis=-1, epsilon=epsilon)
    kept = [n for n in nodes if n.op_type != "RMSNormalization" and (n.op_type != "Add" or n.output[0] not in fused)]
    del nodes[:]
    nodes.extend(kept)


def use_own_rotary(nodes: Any, emit: Emitter) -> None:
    """RotaryEmbedding → ONNX Runtime's own, which reads one table of all rows of the batch by position."""
    made_by = {node.output[0]: node for node in nodes}
    tables: dict[tuple[str, str], str] = {}

    def table(name: str) -> str:
        # The exporter writes the same cosine and sine again for every use.
        maker = made_by.get(name)
        key = (maker.op_type, maker.input[0]) if maker is not None and maker.op_type in ("Cos", "Sin") else ("", name)
        if key not in tables:
            tables[key] = emit.op("Flatten", name, axis=2)
        return tables[key]

    kept = []
    rows = emit.op("Shape", "inputs_embeds", start=0, end=2)
    count = emit.op("ReduceProd", rows, keepdims=0)
    numbers = emit.op("Range", emit.constant(0, np.int64), count, emit.constant(1, np.int64))
    positions = emit.op("Reshape", numbers, rows)
    for node in nodes:
        if node.op_type != "RotaryEmbedding" or node.domain:
            kept.append(node)
            continue
        if len(node.input) != 3:
            raise ValueError(f"rotary embedding {node.output[0]} reads positions: not a canonical decoder")
        emit.op(
            "RotaryEmbedding",
            node.input[0],
            positions,
            table(node.input[1]),
            table(node.input[2]),
            out=node.output[0],
            domain=CONTRIB,
            interleaved=attribute(node, "interleaved", 0),
            num_heads=attribute(node, "num_heads", 0),
            rotary_embedding_dim=attribute(node, "rotary_embedding_dim", 0),
        )
    del nodes[:]
    nodes.extend(kept)
