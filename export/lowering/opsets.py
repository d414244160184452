"""The oldest standard opset that a graph can declare, so that as many tools as possible can read it."""

from collections.abc import Iterable

import onnx
from onnx import ModelProto, NodeProto, helper

from mosear.export.lowering.rewriting import Emitter, attribute

OLDEST = 13
"""From here on the operators of the exporter's graphs mean the same in every later opset that knows their form."""

NEWER_FORMS = 18
"""From this opset on ReduceMean takes its axes as an input and not as an attribute, and Split is told into how many."""

_OLDEST_IR = 8


def lowest_opset(nodes: Iterable[NodeProto], at_least: int = OLDEST) -> int:
    """The first opset whose schemas know every node of the standard domain in the form that it has.

    Raises ValueError when no opset does, naming the operators that are in the way.
    """
    standard = [node for node in nodes if not node.domain]
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    unknown: list[str] = []
    for version in range(at_least, onnx.defs.onnx_opset_version() + 1):
        context.opset_imports = {"": version}
        unknown = sorted({node.op_type for node in standard if not _fits(node, context)})
        if not unknown:
            return version
    raise ValueError(f"no standard opset has all of {', '.join(unknown)} in the form that this graph uses")


def declare_opset(model: ModelProto, at_least: int = OLDEST) -> None:
    """Let ``model``, all of standard operators, declare the oldest opset that it can, with the IR version of that.

    ``ReduceMean`` and ``Split`` in their older forms are brought into the newer ones where the other nodes ask for a
    newer opset.

    Raises ValueError as `lowest_opset` does.
    """
    older = [node for node in model.graph.node if _is_older(node)]
    kept = {id(node) for node in older}
    version = lowest_opset((node for node in model.graph.node if id(node) not in kept), at_least)
    if version >= NEWER_FORMS:
        emit = Emitter("axes/")
        for node in older:
            _renew(node, emit)
        model.graph.initializer.extend(emit.constants)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    model.ir_version = max(_OLDEST_IR, helper.find_min_ir_version_for(model.opset_import))


def _is_older(node: NodeProto) -> bool:
    if node.op_type == "ReduceMean":
        return attribute(node, "axes") is not None
    return node.op_type == "Split" and len(node.input) == 1 and attribute(node, "num_outputs") is None


def _renew(node: NodeProto, emit: Emitter) -> None:
    if node.op_type == "Split":
        node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
        return
    node.input.append(emit.ints(*attribute(node, "axes")))
    others = [entry for entry in node.attribute if entry.name != "axes"]
    del node.attribute[:]
    node.attribute.extend(others)


def _fits(node: NodeProto, context: onnx.checker.C.CheckerContext) -> bool:
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError:
        return False
    return True
