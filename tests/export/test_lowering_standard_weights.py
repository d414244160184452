"""Small weights in graphs of standard operators: what is stored, what it becomes, and what may not be asked for."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_decoders import PADDED, PROMPTS, exported, feeds_of

from mosear.export.graphs.half import half_weights, to_half
from mosear.export.lowering.standard import lower
from mosear.export.lowering.standard_weights import BLOCK, quantize
from mosear.export.tensors import Weight, attach, detach

RANDOM = np.random.default_rng(0)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The graph as it is written: ONNX Runtime would quantize the activations of what it finds behind such weights."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def product(width: int = 70, out: int = 9, gemm: bool = False, half: bool = False) -> tuple[Any, Any, np.ndarray]:
    """``x W`` with a matrix as weight, [in, out] or for Gemm [out, in]."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    matrix = RANDOM.normal(size=(out, width) if gemm else (width, out)).astype(dtype)
    matrix[3] = 0
    node = (
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1) if gemm else helper.make_node("MatMul", ["x", "w"], ["y"])
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", kind, ["n", width])],
        [helper.make_tensor_value_info("y", kind, ["n", out])],
        [numpy_helper.from_array(matrix, "w")],
    )
    structure, weights = detach(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8))
    return structure, weights, matrix


def dequantized(name: str, weights: Any, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """What the stored integers and scales stand for, by the specification and in other words than the code's."""
    stored, scale = weights[name].read(), weights["w.scale"].read().astype(np.float64)
    if name.endswith("int8"):
        return stored * (scale[None] if axis == 0 else scale[:, None])
    flat = np.stack([stored & 0xF, stored >> 4], axis=-1).reshape(-1)[: np.prod(shape)].astype(np.int64)
    values = np.where(flat > 7, flat - 16, flat).reshape(shape)
    found = np.zeros(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            found[i, j] = values[i, j] * (scale[i // BLOCK, j] if axis == 0 else scale[i, j // BLOCK])
    return found


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("gemm", [False, True])
@pytest.mark.parametrize(("kind", "top", "opset"), [("int8", 127, 13), ("int4", 7, 21)])
def test_the_stored_weight(kind: str, top: int, opset: int, gemm: bool, half: bool) -> None:
    structure, weights, matrix = product(gemm=gemm, half=half, width=64)
    small, stored = quantize(structure, weights, {"w": kind})
    assert set(stored) == {f"w.{kind}", "w.scale"}
    assert small.opset_import[0].version == max(opset, 19 if half else 13)
    axis = 1 if gemm else 0
    meant = dequantized(f"w.{kind}", stored, matrix.shape, axis)
    step = np.abs(matrix).max() / top
    assert 0 < np.abs(meant - matrix).max() <= step * (0.55 if not half else 0.6)
    assert not meant[3].any()
    x = RANDOM.normal(size=(5, 64)).astype(matrix.dtype)
    model = attach(small, stored)
    onnx.checker.check_model(model, full_check=True)
    expected = x.astype(np.float64) @ (meant.T if gemm else meant)
    tolerance = 0.05 if half else 1e-4
    np.testing.assert_allclose(session(model).run(None, {"x": x})[0], expected, atol=tolerance)
    if kind == "int4":  # the evaluator knows no DequantizeLinear before opset 19
        np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], expected, atol=tolerance)


def test_a_last_block_that_is_not_full() -> None:
    structure, weights, _ = product(width=70)
    small, stored = quantize(structure, weights, {"w": "int4"})
    assert stored["w.scale"].shape == (3, 9)
    assert stored["w.int4"].nbytes == len(stored["w.int4"].read().tobytes()) == 315
    x = np.eye(70, dtype=np.float32)
    found = session(attach(small, stored)).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, dequantized("w.int4", stored, (70, 9), 0), atol=1e-6)


def test_nothing_is_read_before_it_is_wanted() -> None:
    structure, weights, matrix = product()
    read: list[str] = []
    weights["w"] = Weight(TensorProto.FLOAT, (70, 9), lambda: read.append("w") or matrix)  # type: ignore[func-returns-value]
    for kind in ("int8", "int4", "fp16"):
        _, stored = quantize(structure, weights, {"w": kind})
        assert not read
    next(iter(stored.values())).read()
    assert read == ["w"]


def test_half_precision_storage_is_cast_where_it_is_used() -> None:
    structure, weights, matrix = product()
    small, stored = quantize(structure, weights, {"w": "fp16"})
    assert stored["w.fp16"].nbytes == 2 * matrix.size
    x = np.eye(70, dtype=np.float32)
    found = session(attach(small, stored)).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, matrix.astype(np.float16).astype(np.float32))


def test_awq_factors_move_precision_to_the_inputs_that_need_it() -> None:
    structure, weights, matrix = product(width=64)
    factors = np.ones(64, np.float32)
    # Inputs are small but for one: AWQ divides by less there, so that its weights get more of the steps.
    factors[5] = 0.25
    x = RANDOM.normal(size=(50, 64)).astype(np.float32)
    x[:, 5] *= 40
    ranges: Any = {"w": SimpleNamespace(awq=factors)}
    errors = []
    for given in (None, ranges):
        small, stored = quantize(structure, weights, {"w": "int4"}, given)
        found = session(attach(small, stored)).run(None, {"x": x})[0]
        errors.append(np.abs(found - x @ matrix).mean())
    assert errors[1] < errors[0]
    assert [node.op_type for node in small.graph.node] == ["Mul", "DequantizeLinear", "MatMul"]


def test_what_cannot_be_stored_so_is_refused() -> None:
    structure, weights, _ = product(half=True)
    with pytest.raises(ValueError, match="cannot be fp8"):
        quantize(structure, weights, {"w": "fp8"})
    with pytest.raises(ValueError, match="cannot be fp32"):
        quantize(structure, weights, {"w": "fp32"})
    same, stored = quantize(structure, weights, {"w": "fp16"})
    assert stored == weights
    assert [node.op_type for node in same.graph.node] == ["MatMul"]
    decoder, behind = detach(exported("qwen2").graph)
    norm = "model.norm.weight"
    behind[norm] = Weight(TensorProto.FLOAT, (48,), lambda: np.ones(48, np.float32))
    with pytest.raises(ValueError, match=norm):
        quantize(lower(decoder, "prefill"), behind, {norm: "int8"})


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("kind", "tolerance"), [("int8", 0.06), ("int4", 0.6)])
def test_a_decoder(kind: str, tolerance: float, half: bool) -> None:
    structure, weights = detach(exported("qwen2").graph)
    if half:
        structure, weights = to_half(structure), half_weights(weights)
    formats = {name: kind for name, weight in weights.items() if len(weight.shape) == 2 and "proj.weight" in name}
    assert len(formats) == 21
    model = lower(structure, "prefill")
    small, stored = quantize(model, weights, formats)
    assert sum(w.nbytes for w in stored.values()) < sum(w.nbytes for w in weights.values())
    onnx.checker.check_model(attach(small, stored), full_check=True)
    exact, found = (logits(session(attach(*pair))) for pair in ((model, weights), (small, stored)))
    assert 0 < np.abs(found - exact).mean() < tolerance * np.abs(exact).mean()


def logits(runner: onnxruntime.InferenceSession) -> np.ndarray:
    values: dict[str, np.ndarray] = {k: v.numpy() for k, v in feeds_of(PROMPTS, PADDED, 12).items()}
    for value in runner.get_inputs():
        if value.name.startswith("past_"):
            dtype = np.float16 if "float16" in value.type else np.float32
            values[value.name] = np.zeros((4, value.shape[1], 0, value.shape[3]), dtype)
    return runner.run(["logits"], values)[0]
