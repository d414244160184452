"""Small tools to rewrite an ONNX graph: add nodes with fresh names, look up who makes a value, keep what is needed."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""


class Emitter:
    """Collects new nodes and constants. Constants of equal value are stored once.

    Args:
        prefix: what every new name starts with; must not occur in the graph yet.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def fresh(self, hint: str) -> str:
        """A name that was not used before."""
        self._count += 1
        return f"{self.prefix}{hint}_{self._count}"

    def op(self, kind: str, *inputs: str, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, named ``out`` or freshly, and return that name."""
        return self.ops(kind, *inputs, outputs=[self.fresh(kind) if out is None else out], domain=domain, **attributes)[
            0
        ]

    def ops(self, kind: str, *inputs: str, outputs: Sequence[str], domain: str = "", **attributes: Any) -> list[str]:
        """Add a node with these outputs; an empty name leaves an output out."""
        name = self.fresh(f"node_{kind}")
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=name, domain=domain, **attributes))
        return list(outputs)

    def constant(self, value: Any, dtype: Any) -> str:
        """An initializer with this value."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.fresh("constant")
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def ints(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(values, np.int64)

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(value, np.float32)


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that makes each value."""
    return {name: node for node in graph.node for name in node.output if name}


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, text decoded."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def without_weights(model: ModelProto) -> ModelProto:
    """A copy of a model whose graph has no initializers yet; weights are the part that is costly to copy."""
    copy = ModelProto()
    _copy_fields(model, copy, skip="graph")
    _copy_fields(model.graph, copy.graph, skip="initializer")
    return copy


def keep_needed(graph: GraphProto, weights: Iterable[TensorProto]) -> None:
    """Drop the nodes that no output needs, and add those of ``weights`` that the others read.

    The nodes must be in order.
    """
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(name for name in node.output if name):
            kept.append(node)
            needed.update(node.input)
    _replace(graph.node, kept[::-1])
    graph.initializer.extend(tensor for tensor in weights if tensor.name in needed)


def sort_nodes(graph: GraphProto) -> None:
    """Order the nodes so that each follows those it reads from; stable otherwise."""
    made_by = producers(graph)
    done: set[str] = set()
    ordered: list[NodeProto] = []
    for root in graph.node:
        stack = [root]
        while stack:
            node = stack[-1]
            before = [made_by[name] for name in node.input if name in made_by]
            waiting = [other for other in before if _key(other) not in done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if _key(node) not in done:
                done.add(_key(node))
                ordered.append(node)
    _replace(graph.node, ordered)


def set_opsets(model: ModelProto, **versions: int) -> None:
    """Declare the opsets of a model; the standard domain is called ``standard``."""
    del model.opset_import[:]
    for domain, version in versions.items():
        model.opset_import.append(helper.make_opsetid("" if domain == "standard" else domain, version))


def _key(node: NodeProto) -> str:
    return next(name for name in node.output if name)


def _copy_fields(source: Any, target: Any, skip: str) -> None:
    for field, value in source.ListFields():
        if field.name == skip:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def _replace(field: Any, items: list[NodeProto]) -> None:
    del field[:]
    field.extend(items)
