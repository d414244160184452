"""The products of a graph with a constant weight, found without reading one."""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import GraphProto, NodeProto, TensorProto

from mosear.export.lowering.rewriting import attribute
from mosear.export.tensors import Weight

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Product:
    """A product ``source @ W + bias`` with constant W [K, N].

    Attributes:
        nodes: what computes it now; the last one makes the output.
        source: [..., K].
        weight: name of the initializer.
        transposed: the initializer is [N, K].
        shape: K and N.
        bias: name of the initializer [N]; empty without one.
        dtype: of all of them, as in ``TensorProto.FLOAT``.
    """

    nodes: tuple[NodeProto, ...]
    source: str
    weight: str
    transposed: bool
    shape: tuple[int, int]
    bias: str
    dtype: int

    @property
    def output(self) -> str:
        """Name of the result, [..., N]."""
        return str(self.nodes[-1].output[0])

    @property
    def stem(self) -> str:
        """What the names of derived weights begin with: a tied weight is read both ways round."""
        return f"{self.weight}.transposed" if self.transposed else self.weight


def matrix(product: Product, weight: Weight) -> Weight:
    """The product's weight as [K, N]."""
    if not product.transposed:
        return weight
    return Weight(weight.dtype, product.shape, lambda: weight.read().T)


def constant_products(graph: GraphProto) -> Iterator[Product]:
    """Every MatMul and plain Gemm with a constant float weight on the right, each with the bias that is added next.

    A Gemm that scales, or transposes its left side, is none.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type in _FLOATS}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        if node.domain or node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants:
            continue
        dims = tuple(constants[node.input[1]].dims)
        if len(dims) != 2 or node.input[0] in constants:
            continue
        transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
        shape = (dims[1], dims[0]) if transposed else (dims[0], dims[1])
        chain: tuple[NodeProto, ...] = (node,)
        bias = ""
        if node.op_type == "Gemm":
            plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
            bias = node.input[2] if len(node.input) > 2 else ""
            if not plain or attribute(node, "transA", 0) or not _is_vector(constants.get(bias), shape[1], bias):
                continue
        else:
            after = readers.get(node.output[0], [])
            if len(after) == 1 and after[0].op_type == "Add" and node.output[0] not in outputs:
                other = next((name for name in after[0].input if name != node.output[0]), "")
                if other and _is_vector(constants.get(other), shape[1], other):
                    chain, bias = (node, after[0]), other
        yield Product(chain, node.input[0], node.input[1], transposed, shape, bias, constants[node.input[1]].data_type)


def _is_vector(tensor: TensorProto | None, size: int, name: str) -> bool:
    return not name or (tensor is not None and tuple(tensor.dims) == (size,))
