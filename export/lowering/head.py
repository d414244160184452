"""The output projection cut down to a few tokens, for a graph that scores labels and generates nothing.

Labels are compared with each other, so the softmax over the vocabulary cancels, and only the logits of the labels'
first tokens are read behind a prompt. The other columns of the projection, the largest weight of a small decoder, are
then neither stored nor multiplied.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from mosear.export.lowering.rewriting import attribute, keep_needed, producers, without_weights
from mosear.export.tensors import Weight, Weights, is_placeholder, placeholder


def prune_head(model: ModelProto, weights: Weights, token_ids: Sequence[int]) -> tuple[ModelProto, Weights]:
    """Cut the output projection to the columns of some tokens; ``model`` and ``weights`` themselves stay as they are.

    model: a decoder, canonical or lowered but not quantized, that ends in a product with a constant weight [D, V] (or
        [V, D] in a Gemm), perhaps with a bias and casts.
    weights: what is behind its placeholders.
    token_ids: K tokens.

    Returns a graph with logits [B, 1, K] in the order of ``token_ids``, and the weights that it reads. The projection
    ``w`` is now ``w.labels``, so a plan of formats that names ``w`` leaves it as it is.

    Raises ValueError when the graph ends otherwise, or when a token is outside its vocabulary or there twice.
    """
    pruned = without_weights(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    chain, parts = _projection(producers(pruned.graph), tensors)
    matrix = chain[-1].input[1]
    vocabulary = tensors[matrix].dims[parts[matrix]]
    tokens = np.asarray(token_ids, np.int64)
    if not len(tokens) or len(np.unique(tokens)) < len(tokens) or tokens.min() < 0 or tokens.max() >= vocabulary:
        raise ValueError(f"label tokens must differ and lie in the vocabulary of {vocabulary}, got {list(token_ids)}")
    new, slots = dict(weights), []
    for name, axis in parts.items():
        slots.append(_cut(tensors[name], axis, tokens, new))
        for node in chain:
            node.input[:] = [_name(name) if each == name else each for each in node.input]
    logits = next(value for value in pruned.graph.output if value.name == "logits")
    logits.type.tensor_type.shape.dim[2].dim_value = len(tokens)
    keep_needed(pruned.graph, [*model.graph.initializer, *slots])
    held = {tensor.name for tensor in pruned.graph.initializer}
    return pruned, {name: weight for name, weight in new.items() if name in held}


def _projection(
    made_by: dict[str, NodeProto], tensors: dict[str, TensorProto]
) -> tuple[list[NodeProto], dict[str, int]]:
    """The nodes from the logits back to their product, and their constants with the vocabulary's axis of each."""
    parts: dict[str, int] = {}
    chain: list[NodeProto] = []
    node = made_by.get("logits")
    while node is not None and node.op_type in ("Cast", "Add"):
        chain.append(node)
        parts |= dict.fromkeys((name for name in node.input if name in tensors), 0)
        node = made_by.get(next((name for name in node.input if name not in tensors), ""))
    if node is None or node.domain or node.op_type not in ("MatMul", "Gemm") or node.input[1] not in tensors:
        raise ValueError("the logits are no product with a constant weight: not a decoder whose head can be cut")
    parts[node.input[1]] = 0 if attribute(node, "transB", 0) else 1
    parts |= dict.fromkeys(node.input[2:], 0)
    return [*chain, node], parts


def _cut(tensor: TensorProto, axis: int, tokens: NDArray[np.int64], weights: Weights) -> TensorProto:
    """The initializer with only the tokens' entries along ``axis``; a large one's weight is added to ``weights``."""
    if not is_placeholder(tensor):
        return numpy_helper.from_array(np.take(numpy_helper.to_array(tensor), tokens, axis), _name(tensor.name))
    whole, shape = weights[tensor.name], list(tensor.dims)
    shape[axis] = len(tokens)
    cut = Weight(whole.dtype, tuple(shape), lambda: np.take(whole.read(), tokens, axis))
    weights[_name(tensor.name)] = cut
    return placeholder(_name(tensor.name), cut)


def _name(weight: str) -> str:
    return f"{weight}.labels"
