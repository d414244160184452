"""The attentions of a canonical decoder graph, and what stands around each."""

from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from mosear.export.lowering.rewriting import attribute, producers
from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE

HEADS_FIRST = [0, 2, 1, 3]
"""[B, S, H, Dh] to [B, H, S, Dh] and back."""


@dataclass(frozen=True)
class AttentionSite:
    """One attention of the canonical graph: its node, the pieces of cache that it reads, and its output as rows.

    Attributes:
        node: the attention.
        query: [B, Hq, S, Dh].
        past_key, past_value: inputs of the graph.
        new_key, new_value: what is appended to them, [B, Hkv, S, Dh].
        rows: the attention's output as [B, S, Hq * Dh].
        around: values that only serve this attention and that a lowering replaces with it.
        key_heads: Hkv.
        head_size: Dh.
    """

    node: NodeProto
    query: str
    past_key: str
    past_value: str
    new_key: str
    new_value: str
    rows: str
    around: frozenset[str]
    key_heads: int
    head_size: int

    @property
    def reallocates(self) -> bool:
        """Whether it is a ``mosear::AttentionReallocation``."""
        return self.node.domain == DOMAIN

    @property
    def scale(self) -> float:
        """Factor of the scores."""
        return float(attribute(self.node, "scale", self.head_size**-0.5))


def attention_sites(model: ModelProto) -> list[AttentionSite]:
    """The attentions of a canonical decoder, in the order of its layers.

    Raises ValueError when the graph is not a canonical decoder.
    """
    made_by = producers(model.graph)
    inputs = {value.name: value for value in model.graph.input}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    sites = []
    for node in model.graph.node:
        if (node.domain, node.op_type) not in ((DOMAIN, OP_TYPE), ("", "Attention")):
            continue
        cached = [made_by.get(name) for name in node.input[1:3]]
        if not all(maker is not None and maker.op_type == "Concat" and maker.input[0] in inputs for maker in cached):
            raise ValueError(f"attention {node.output[0]} does not read past and new keys: not a canonical decoder")
        (past_key, new_key), (past_value, new_value) = (maker.input for maker in cached if maker is not None)
        heads, rows = _as_rows(node, readers)
        dimensions = inputs[past_key].type.tensor_type.shape.dim
        sites.append(
            AttentionSite(
                node=node,
                query=node.input[0],
                past_key=past_key,
                past_value=past_value,
                new_key=new_key,
                new_value=new_value,
                rows=rows,
                around=frozenset([*node.output, *node.input[1:3], heads, rows]) - {""},
                key_heads=dimensions[1].dim_value,
                head_size=dimensions[3].dim_value,
            )
        )
    if not sites:
        raise ValueError("the graph has no attention: not a canonical decoder")
    return sites


def _as_rows(node: NodeProto, readers: dict[str, list[NodeProto]]) -> tuple[str, str]:
    """The attention's output with the heads behind the rows, and then side by side."""
    after = readers.get(node.output[0], [])
    if len(after) == 1 and after[0].op_type == "Transpose" and attribute(after[0], "perm") == HEADS_FIRST:
        last = readers.get(after[0].output[0], [])
        if len(last) == 1 and last[0].op_type == "Reshape":
            return after[0].output[0], last[0].output[0]
    raise ValueError(f"attention {node.output[0]} is not laid out as rows again: not a canonical decoder")
