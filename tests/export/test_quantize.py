"""Int8 weights: what is quantized, how close it stays, what is shared."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from small_decoders import PADDED, PROMPTS, StaticCache, exported, feeds_of, session

from mosear.export.lowering.onnxruntime import lower
from mosear.export.lowering.weights import DECODE, PREFILL, WEIGHTS, save_sharing_weights
from mosear.export.quantization.products import constant_products
from mosear.export.quantization.quantize import quantize
from mosear.export.tensors import Weight, attach, detach

RANDOM = np.random.default_rng(0)


def quantize_int8(model: onnx.ModelProto, **settings: Any) -> onnx.ModelProto:
    """Every product of a graph with its weights in it, in int8."""
    structure, weights = detach(model)
    # Small weights are in the structure, and never quantized in a build; here they may be.
    for tensor in structure.graph.initializer:
        if tensor.name not in weights and tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            weights[tensor.name] = Weight(TensorProto.FLOAT, array.shape, array.copy)
    formats = {product.weight: "int8" for product in constant_products(model.graph)}
    return attach(*quantize(structure, weights, formats, **settings))


def product_model(nodes: list[onnx.NodeProto], outputs: dict[str, int], **weights: np.ndarray) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "products",
        [value("x", TensorProto.FLOAT, ["rows", 96])],
        [value(name, TensorProto.FLOAT, ["rows", size]) for name, size in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def weights_of(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float((left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum()))


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def quantized_names(model: onnx.ModelProto) -> set[str]:
    return {name.removesuffix(".int8") for name, array in stored(model).items() if array.dtype == np.int8}


@pytest.mark.parametrize("reduced_range", [True, False])
def test_every_kind_of_product_and_its_bias(reduced_range: bool) -> None:
    model = product_model(
        [
            helper.make_node("MatMul", ["x", "plain"], ["a"]),
            helper.make_node("MatMul", ["x", "biased"], ["b0"]),
            helper.make_node("Add", ["bias", "b0"], ["b"]),
            helper.make_node("Gemm", ["x", "gemm", "bias"], ["c"], transB=1),
            helper.make_node("Gemm", ["x", "plain"], ["d"]),
        ],
        {"a": 64, "b": 48, "c": 48, "d": 64},
        plain=weights_of(96, 64),
        biased=weights_of(96, 48),
        gemm=weights_of(48, 96),
        bias=10 * weights_of(48),
    )
    quantized = quantize_int8(model, minimum_size=1, reduced_range=reduced_range)
    assert quantized_names(quantized) == {"biased", "gemm.transposed", "plain"}
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count("DynamicQuantizeLinear") == 1
    assert set(kinds) == {"DynamicQuantizeLinear", "MatMulIntegerToFloat"}
    x = weights_of(40, 96)
    expected, found = (session(m).run(["a", "b", "c", "d"], {"x": x}) for m in (model, quantized))
    for left, right in zip(expected, found, strict=True):
        assert cosine(left, right) > (0.9995 if reduced_range else 0.9998)


def test_weights_are_int8_with_a_scale_a_column() -> None:
    weight = weights_of(96, 64) * np.logspace(-4, 4, 64, dtype=np.float32)
    weight[:, 3] = 0.0
    model = product_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"y": 64}, w=weight)
    quantized = quantize_int8(model, minimum_size=1)
    tensors = stored(quantized)
    assert tensors["w.int8"].dtype == np.int8
    assert np.abs(tensors["w.int8"]).max() == 63
    assert "w" not in tensors
    error = np.abs(tensors["w.int8"] * tensors["w.scale"] - weight).max(axis=0)
    # Half a step of the column's own scale, although the columns differ by eight orders of magnitude.
    assert (error <= 0.5001 * np.abs(weight).max(axis=0) / 63).all()
    y = session(quantized).run(None, {"x": weights_of(5, 96)})[0]
    assert (y[:, 3] == 0).all()


def test_small_shared_and_computed_operands_stay_float() -> None:
    model = product_model(
        [
            helper.make_node("MatMul", ["x", "small"], ["a"]),
            helper.make_node("MatMul", ["x", "large"], ["b"]),
            helper.make_node("Transpose", ["b"], ["bt"]),
            helper.make_node("MatMul", ["bt", "b"], ["c"]),
            helper.make_node("Gemm", ["x", "large"], ["d"], alpha=2.0),
        ],
        {"a": 4, "d": 64},
        small=weights_of(96, 4),
        large=weights_of(96, 64),
    )
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [64, 64]))
    quantized = quantize_int8(model, minimum_size=1000)
    assert quantized_names(quantized) == {"large"}
    # One reader scales its product, which int8 does not do here: it keeps the float weight.
    assert {"small", "large", "large.int8"} <= stored(quantized).keys()
    x = weights_of(7, 96)
    for left, right in zip(session(model).run(None, {"x": x}), session(quantized).run(None, {"x": x}), strict=True):
        assert cosine(left, right) > 0.999


def test_a_tied_weight_is_quantized_both_ways_round() -> None:
    model = product_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"]), helper.make_node("Gemm", ["x", "w"], ["z"], transB=1)],
        {"y": 96, "z": 96},
        w=weights_of(96, 96) * np.logspace(-2, 2, 96, dtype=np.float32),
    )
    quantized = quantize_int8(model, minimum_size=1)
    assert quantized_names(quantized) == {"w", "w.transposed"}
    x = weights_of(9, 96)
    for left, right in zip(session(model).run(None, {"x": x}), session(quantized).run(None, {"x": x}), strict=True):
        assert cosine(left, right) > 0.999


def test_nothing_to_quantize_leaves_the_graph_as_it_was() -> None:
    model = product_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"y": 4}, w=weights_of(96, 4))
    quantized = quantize_int8(model)
    assert quantized == model


def test_both_decoder_graphs_share_the_quantized_weights(tmp_path: Path) -> None:
    graphs = [
        quantize_int8(lower(exported("qwen2", low_rank=phase == "prefill").graph, phase), minimum_size=2000)
        for phase in ("prefill", "decode")
    ]
    parts = [detach(graph) for graph in graphs]
    together = parts[0][1] | parts[1][1]
    save_sharing_weights({PREFILL: parts[0][0], DECODE: parts[1][0]}, together, tmp_path, WEIGHTS)
    decode = {name: array for name, array in stored(graphs[1]).items() if array.nbytes >= 1024}
    # Query, output and the three of the MLP in each layer, and the vocabulary; keys and values are too small here.
    assert sum(array.dtype == np.int8 for array in decode.values()) == 3 * 5 + 1
    prefill = stored(graphs[0])
    for name, array in decode.items():
        np.testing.assert_array_equal(prefill[name], array)
    once = sum(array.nbytes for array in prefill.values() if array.nbytes >= 1024)
    pages = sum(array.nbytes >= 1024 for array in prefill.values()) * 4096
    assert once <= (tmp_path / WEIGHTS).stat().st_size <= once + pages
    feeds = feeds_of(PROMPTS, PADDED, 12)
    modality = torch.cat([PROMPTS, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
    exact = [
        session(lower(exported("qwen2", low_rank=phase == "prefill").graph, phase)) for phase in ("prefill", "decode")
    ]
    light = [session(str(tmp_path / name)) for name in ("decoder_prefill.onnx", "decoder_decode.onnx")]

    def logits(runners: list[onnxruntime.InferenceSession]) -> list[np.ndarray]:
        cache = StaticCache(runners[0], 4, 16)
        first = cache.run(runners[0], feeds)["logits"]
        return [first, cache.run(runners[1], feeds_of(modality, PADDED, 1, seed=3))["logits"]]

    for left, right in zip(logits(exact), logits(light), strict=True):
        assert cosine(left, right) > 0.99
