"""A vision or audio encoder → an encoder for TensorRT.

Inputs and outputs keep their names and types. Frames are cast from uint8 as the first thing, because TensorRT moves no
uint8; attention stays an operator of its own where TensorRT has a kernel for it, and newer operators are written out
where its version lacks them. Everything else is what TensorRT parses as it is: the spectrogram, too, is convolutions.
"""

from collections.abc import Collection

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from mosear.export.lowering.rewriting import Emitter, attribute, keep_needed, set_opsets, sort_nodes, without_weights
from mosear.export.lowering.tensorrt import primitives
from mosear.export.lowering.tensorrt.decoder import FUSED_HEADS, NATIVE, PLAIN


def lower_encoder(model: ModelProto, features: Collection[str]) -> ModelProto:
    """Lower an encoder's graph; ``model`` itself stays as it is, and no large weight is read.

    features: as for `mosear.export.lowering.tensorrt.decoder.lower`.

    Raises ValueError for an attention that is not of the kind that the exporter makes.
    """
    sizes = _fused_sizes(model) if "native_attention" in features else {}
    lowered = without_weights(model)
    graph = lowered.graph
    emit = Emitter("lowered/")
    for value in model.graph.input:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            _cast_first(graph.node, value.name, emit)
    kept = []
    for node in graph.node:
        if node.op_type == "Attention" and not node.domain and sizes.get(node.output[0], 0) not in FUSED_HEADS:
            _write_out_attention(node, emit)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend([*kept, *emit.nodes])
    emit.nodes.clear()
    if "native_norm" not in features:
        primitives.write_out_norms(graph.node, emit)
    if "native_rotary" not in features:
        primitives.write_out_rotary(graph.node, emit)
    graph.node.extend(emit.nodes)
    sort_nodes(graph)
    keep_needed(graph, [*model.graph.initializer, *emit.constants])
    # Shapes and types that the exporter noted belong to the nodes as they were.
    del graph.value_info[:]
    newer = {node.op_type for node in graph.node} & {"Attention", "RotaryEmbedding", "RMSNormalization"}
    opset, lowered.ir_version = NATIVE if newer else PLAIN
    set_opsets(lowered, standard=opset)
    return lowered


def _cast_first(nodes: list[NodeProto], name: str, emit: Emitter) -> None:
    """Let everything that reads the values of input ``name`` read them as float32; its later casts then do nothing."""
    value = emit.op("Cast", name, to=TensorProto.FLOAT)
    for node in nodes:
        if node.op_type != "Shape":
            node.input[:] = [value if each == name else each for each in node.input]


def _fused_sizes(model: ModelProto) -> dict[str, int]:
    """Head size of every attention in float16, by its output; attentions without a known one are left out."""
    known = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type for value in (*known.value_info, *known.input)}
    sizes = {}
    for node in model.graph.node:
        kind = types.get(node.input[0]) if node.op_type == "Attention" and not node.domain else None
        if kind is not None and kind.elem_type == TensorProto.FLOAT16 and len(kind.shape.dim) == 4:
            sizes[node.output[0]] = kind.shape.dim[3].dim_value
    return sizes


def _write_out_attention(node: NodeProto, emit: Emitter) -> None:
    """Attention of [N, H, S, Dh] with as many key as query heads, and an additive mask or none, as products."""
    plain = {"scale"} >= {entry.name for entry in node.attribute if helper.get_attribute_value(entry) not in (0, 0.0)}
    scale = attribute(node, "scale")
    if not plain or len([name for name in node.output if name]) != 1 or len(node.input) > 4 or scale is None:
        raise ValueError(f"attention {node.output[0]} is not of the kind that the exporter makes")
    query, key, value = node.input[:3]
    factor = emit.op("CastLike", emit.number(scale), query)
    columns = emit.op("Transpose", key, perm=[0, 1, 3, 2])
    logits = emit.op("MatMul", emit.op("Mul", query, factor), columns)
    if len(node.input) == 4 and node.input[3]:
        logits = emit.op("Add", logits, node.input[3])
    wide = emit.op("Softmax", emit.op("Cast", logits, to=TensorProto.FLOAT), axis=-1)
    emit.op("MatMul", emit.op("CastLike", wide, query), value, out=node.output[0])
