"""A network with YuNet's inputs and outputs that answers to the colours it sees, so that a test can place faces."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
# Rows of [cls, obj, dx, dy, log w, log h] by the mean of blue, green and red (0 to 1) in a cell, and a constant.
ANSWERS = np.array(
    [
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [0.5, 0, 0.5, -0.25],
        [1.5, 0, 0, 0.5],
        [0, 0, 1.5, 0.25],
    ],
    np.float32,
)


def write(
    path: Path, size: tuple[int, int] | None = (640, 640), strides: tuple[int, ...] = STRIDES, without: str = ""
) -> Path:
    """Write the network.

    Args:
        path: of the file.
        size: height and width of its input; None for any.
        strides: only these ever find a face.
        without: an output that is left out.
    """
    nodes, constants, outputs = [], [], []
    for stride in STRIDES:
        answers = ANSWERS.copy()
        answers[0] *= stride in strides
        random = np.random.default_rng(stride).normal(size=(10, 4)).astype(np.float32)
        for kind, rows in (("cls", answers[:1]), ("obj", answers[1:2]), ("bbox", answers[2:]), ("kps", random)):
            name = f"{kind}_{stride}"
            weight = np.repeat(rows[:, :3, None] / (255 * stride**2), stride**2, axis=2)
            constants += [
                numpy_helper.from_array(weight.reshape(-1, 3, stride, stride).astype(np.float32), f"{name}_w"),
                numpy_helper.from_array(np.ascontiguousarray(rows[:, 3]), f"{name}_b"),
                numpy_helper.from_array(np.array([1, -1, len(rows)], np.int64), f"{name}_s"),
            ]
            nodes += [
                helper.make_node(
                    "Conv",
                    ["input", f"{name}_w", f"{name}_b"],
                    [f"{name}_c"],
                    kernel_shape=[stride, stride],
                    strides=[stride, stride],
                ),
                helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_t", f"{name}_s"], [name]),
            ]
            if name != without:
                outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, len(rows)]))
    height, width = size or ("h", "w")
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, "yunet", [taken], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
