"""Everything behind the last attention for the last row alone: nothing else of it is ever read.

The logits are those of the last position, and the last layer's keys and values come from its input. So the last
layer's query, output projection and MLP, and the final norm, are needed for one row only.
"""

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, NodeProto

from mosear.export.lowering.attention_sites import AttentionSite
from mosear.export.lowering.rewriting import Emitter, attribute, producers

_OF_EACH_ROW = {
    "Add",
    "Cast",
    "Div",
    "Erf",
    "Gelu",
    "Identity",
    "Mul",
    "Neg",
    "Pow",
    "Relu",
    "Sigmoid",
    "Sqrt",
    "Sub",
    "Tanh",
}
_NORMS = {"RMSNormalization", "LayerNormalization"}


def take_last_row(emit: Emitter, value: str, axis: int) -> str:
    """The last row of ``value`` along ``axis``, which stays with length 1."""
    return emit.op("Slice", value, emit.ints(-1), emit.ints(np.iinfo(np.int64).max), emit.ints(axis))


def keep_last_row(graph: GraphProto, constants: set[str], sites: Sequence[AttentionSite], emit: Emitter) -> set[str]:
    """Cut what the final slice cuts as early as each row is still on its own.

    graph: its nodes must be in order; they are changed.
    constants: names of its weights.

    Returns those of the sites' ``rows`` that must then be made for the last row alone; none when the graph does not end
    as a decoder does, and is left as it is.
    """
    made_by = producers(graph)
    final = made_by.get("logits")
    while final is not None and final.op_type != "Slice":
        final = made_by.get(final.input[0]) if final.input else None
    if final is None:
        return set()
    rows = _row_values(graph, sites, constants)
    cone = _only_for(final, graph, rows, constants)
    attended = {site.rows for site in sites}
    inside = {name for node in cone for name in node.output}
    border = {name for node in cone for name in node.input if name in rows and name not in inside}
    cuts = {name: take_last_row(emit, name, axis=1) for name in sorted(border - attended)}
    for node in cone:
        node.input[:] = [cuts.get(name, name) for name in node.input]
    return border & attended


def _row_values(graph: GraphProto, sites: Sequence[AttentionSite], constants: set[str]) -> set[str]:
    """Values [B, S, *] whose rows are the rows of ``inputs_embeds``, each computed on its own."""
    rows = {"inputs_embeds", *(site.rows for site in sites)}
    for node in graph.node:
        known = all(name in rows or name in constants for name in node.input)
        if known and _is_row_by_row(node, constants) and any(name in rows for name in node.input):
            rows.add(node.output[0])
    return rows


def _is_row_by_row(node: NodeProto, constants: set[str]) -> bool:
    if node.domain:
        return False
    if node.op_type in _NORMS:
        return bool(attribute(node, "axis", -1) == -1)
    return node.op_type in _OF_EACH_ROW or (node.op_type == "MatMul" and node.input[1] in constants)


def _only_for(final: NodeProto, graph: GraphProto, rows: set[str], constants: set[str]) -> list[NodeProto]:
    """The row-by-row nodes that are read by ``final`` and by nothing else, directly or through each other."""
    open_values = {output.name for output in graph.output}
    cone: list[NodeProto] = []
    for node in reversed(graph.node):
        known = all(name in rows or name in constants for name in node.input)
        if node is not final and not (known and _is_row_by_row(node, constants) and node.output[0] not in open_values):
            open_values.update(node.input)
        elif node is not final:
            cone.append(node)
    return [node for node in cone if any(name in rows for name in node.input)]
