"""A merged decoder's graph for text and audio rows alone: without the low-rank terms that only visual rows add."""

from __future__ import annotations

from onnx import ModelProto

from mosear.export.lowering.rewriting import keep_needed, producers, without_weights


def text_only(model: ModelProto) -> ModelProto:
    """Take the visual terms out of a merged decoder's canonical graph; ``model`` itself stays as it is.

    Decoding reads no visual row, so every ``y + up(down(x) * visual)`` is its ``y``.
    """
    plain = without_weights(model)
    made_by = producers(plain.graph)
    terms = {
        node.output[0] for node in plain.graph.node if node.op_type == "MatMul" and node.input[1].endswith(".up.weight")
    }
    kept: dict[str, str] = {}
    for node in plain.graph.node:
        if node.op_type == "Add" and terms.intersection(node.input):
            [base] = [name for name in node.input if name not in terms]
            kept[node.output[0]] = base
    nodes = [node for node in plain.graph.node if node.output[0] not in kept]
    for node in nodes:
        node.input[:] = [kept.get(name, name) for name in node.input]
    assert len(kept) == len(terms), "every visual term is added to a projection"
    assert not set(kept) & {output.name for output in plain.graph.output} & set(made_by)
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    keep_needed(plain.graph, model.graph.initializer)
    return plain
