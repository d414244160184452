"""A graph whose weights lie apart: what a runner is given is what it computes with, scalars and rare types included."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from mosear.export.layers.running import Runner, run_onnxruntime, run_reference
from mosear.export.tensors import Weight, placeholder


@pytest.mark.parametrize("run", [run_onnxruntime, run_reference])
def test_a_scalar_weight_and_one_that_numpy_has_no_type_for(run: Runner) -> None:
    # As fp8 has them: one scale for a whole weight.
    values = np.array([[1.0, -2.0], [0.5, 4.0]], ml_dtypes.float8_e4m3fn)
    weights = {
        "w": Weight(TensorProto.FLOAT8E4M3FN, (2, 2), lambda: values.view(np.uint8)),
        "scale": Weight(TensorProto.FLOAT, (), lambda: np.float32(0.25).reshape(())),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["wide"]),
        helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scaled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [placeholder(name, weight) for name, weight in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    (found,) = run(model, weights, {"x": np.array([[4.0, 8.0]], np.float32)})
    np.testing.assert_allclose(found, [[4 * 0.25 + 8 * 0.125, 4 * -0.5 + 8 * 1.0]])
