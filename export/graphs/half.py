"""A canonical decoder graph in float16: weights, activations and the KV cache.

What stays in float32: the embeddings that come in and the logits that go out, the angles of the rotary embedding up to
their cosine and sine, what reallocation reports, and inside the operators the sums of norms and of attention masses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mosear.export.lowering.rewriting import attribute, producers
from mosear.export.tensors import Weight, Weights, is_placeholder
from mosear.runtime.errors import BadInput

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def to_half(model: ModelProto) -> ModelProto:
    """The structure of a canonical decoder graph in float16; ``model`` itself stays as it is.

    Its placeholders become float16 too: see `half_weights`.
    """
    half = ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    angles = _angles(graph.node, producers(graph))
    wide = {name for node in graph.node if node.output[0] in angles for name in node.input}
    _convert_initializers(half, wide, {name for n in graph.node if n.output[0] not in angles for name in n.input})
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if node.output[0] in angles:
            if node.op_type in ("Cos", "Sin"):
                nodes.append(_cast_behind(node, _HALF))
        elif node.op_type == "Cast" and attribute(node, "to") == _FLOAT:
            node.attribute[0].i = _HALF
        elif node.output[0] == "hidden_0":
            node.op_type = "Cast"
            node.attribute.append(helper.make_attribute("to", _HALF))
        if node.output[0] == "logits":
            nodes.append(_cast_behind(node, _FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    for value in [*graph.input, *graph.output]:
        if value.name.startswith(("past_", "present_")):
            value.type.tensor_type.elem_type = _HALF
    return half


def half_weights(weights: Weights) -> Weights:
    """The weights of `to_half`'s graph: every float32 one as float16.

    Raises BadInput, when it is read, for a weight with a value that float16 does not hold.
    """
    return {name: _half(name, weight) if weight.dtype == _FLOAT else weight for name, weight in weights.items()}


def _half(name: str, weight: Weight) -> Weight:
    def read() -> NDArray[np.float16]:
        with np.errstate(over="ignore"):
            values = weight.read().astype(np.float16)
        if not np.isfinite(values).all():
            raise BadInput(f"{name} holds values that float16 can't", "use the precision fp32")
        return values

    return Weight(_HALF, weight.shape, read)


def _angles(nodes: list[NodeProto], made_by: dict[str, NodeProto]) -> set[str]:
    """Values on the way to the cosine and sine of the rotary embedding, these two included."""
    found: set[str] = set()
    waiting = [node.output[0] for node in nodes if node.op_type in ("Cos", "Sin")]
    while waiting:
        name = waiting.pop()
        if name not in found and name in made_by:
            found.add(name)
            waiting.extend(made_by[name].input)
    return found


def _cast_behind(node: NodeProto, kind: int) -> NodeProto:
    """Rename ``node``'s output, and make the old name from it by a cast."""
    name = node.output[0]
    node.output[0] = f"{name}_before_cast"
    return helper.make_node("Cast", [node.output[0]], [name], name=f"cast_{name}", to=kind)


def _convert_initializers(model: ModelProto, wide: set[str], used: set[str]) -> None:
    """Make float32 initializers float16; one that the angles need as well is kept beside its copy."""
    converted = []
    for tensor in model.graph.initializer:
        if tensor.data_type != _FLOAT:
            converted.append(tensor)
        elif is_placeholder(tensor):
            tensor.data_type = _HALF
            converted.append(tensor)
        else:
            if tensor.name in wide:
                converted.append(tensor)
            if tensor.name in used:
                name = f"{tensor.name}_half" if tensor.name in wide else tensor.name
                half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)
                converted.append(half)
    both = wide & used
    angles = _angles(list(model.graph.node), producers(model.graph))
    for node in model.graph.node:
        if node.output[0] not in angles:
            node.input[:] = [f"{name}_half" if name in both and _is_float(model, name) else name for name in node.input]
    del model.graph.initializer[:]
    model.graph.initializer.extend(converted)


def _is_float(model: ModelProto, name: str) -> bool:
    return any(tensor.name == name and tensor.data_type == _FLOAT for tensor in model.graph.initializer)
