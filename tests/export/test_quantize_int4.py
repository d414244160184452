"""Int4 weights: how they are packed, how close they stay, calibrated scales, and weights that are read late."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from small_decoders import PADDED, PROMPTS, StaticCache, exported, feeds_of, session

from mosear.calibration.quantization import LinearRanges
from mosear.export.graphs.half import half_weights, to_half
from mosear.export.lowering.onnxruntime import lower
from mosear.export.quantization.nbits import pack_blocks
from mosear.export.quantization.quantize import quantize
from mosear.export.tensors import Weight, Weights, attach, detach, float_weight

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def unpacked(packed: np.ndarray, scales: np.ndarray, size: int) -> np.ndarray:
    """[K, N] from the layout of MatMulNBits' documentation: the first of two weights is in the low bits, zero is 8."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*scales.shape, -1).astype(np.float32)
    return ((nibbles - 8) * scales[..., None]).reshape(len(packed), -1)[:, :size].T


def model_of(weight: np.ndarray, bias: np.ndarray | None = None, readers: int = 1) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    nodes, tensors = [], [numpy_helper.from_array(weight, "m.weight")]
    for reader in range(readers):
        nodes.append(
            helper.make_node("MatMul", ["x", "m.weight"], [f"p{reader}" if bias is not None else f"y{reader}"])
        )
        if bias is not None:
            nodes.append(helper.make_node("Add", [f"p{reader}", "bias"], [f"y{reader}"]))
    if bias is not None:
        tensors.append(numpy_helper.from_array(bias, "bias"))
    outputs = [value(f"y{reader}", TensorProto.FLOAT, ["rows", weight.shape[1]]) for reader in range(readers)]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ["rows", weight.shape[0]])], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def int4(model: onnx.ModelProto, ranges: dict[str, LinearRanges] | None = None, **options: int) -> onnx.ModelProto:
    structure, weights = detach(model)
    return attach(*quantize(structure, weights, {"m.weight": "int4"}, ranges, minimum_size=1, **options))


@pytest.mark.parametrize("block", [16, 32, 128])
@pytest.mark.parametrize("size", [96, 128, 200])
def test_the_kernel_computes_with_the_weights_that_were_packed(size: int, block: int) -> None:
    weight, bias, x = normal(size, 24), normal(24), normal(5, size)
    model = int4(model_of(weight, bias), block=block)
    (fitting,) = (entry.i for entry in model.graph.node[0].attribute if entry.name == "block_size")
    assert fitting == (block if size % 16 else min(block, size & -size))
    packed, scales = pack_blocks(weight, fitting)
    assert packed.shape == (24, -(-size // fitting), fitting // 2)
    runner = session(model)
    expected = x @ unpacked(packed, scales, size) + bias
    found = runner.run(None, {"x": x})[0]
    # The kernel quantizes x to int8, block by block: its error is small beside that of four bits.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    assert np.abs(found - (x @ weight + bias)).max() > 5 * np.abs(found - expected).max()


def test_no_weight_is_off_by_more_than_a_step_and_the_largest_is_exact() -> None:
    weight = normal(128, 40) * np.logspace(-3, 3, 40, dtype=np.float32)
    weight[32:64, 7] = 0.0
    before = weight.copy()
    packed, scales = pack_blocks(weight, 32)
    np.testing.assert_array_equal(weight, before)
    blocks = weight.T.reshape(40, 4, 32)
    error = np.abs(unpacked(packed, scales, 128).T.reshape(40, 4, 32) - blocks)
    top = np.abs(blocks).max(axis=-1, keepdims=True)
    assert (error <= top / 8 * 1.0001).all()
    assert (np.take_along_axis(error, np.abs(blocks).argmax(axis=-1)[..., None], -1) <= 1e-6 * top).all()
    assert (unpacked(packed, scales, 128)[32:64, 7] == 0).all()
    # Only what lies opposite of the largest weight is cut by more than half a step.
    assert (error <= top / 16 * 1.0001).mean() > 0.95


def test_smaller_blocks_are_closer() -> None:
    weight = normal(512, 64)
    errors = []
    for block in (16, 32, 64, 128):
        difference = unpacked(*pack_blocks(weight, block), 512) - weight
        errors.append(float(np.sqrt((difference**2).mean())))
    assert errors == sorted(errors)
    assert errors[-1] < 0.13


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_calibrated_scales_help_where_inputs_differ_and_are_shared(kind: str) -> None:
    weight = normal(128, 64)
    # A few inputs are far larger than the others, as in a decoder's residual stream.
    strength = np.where(np.arange(128) % 37 == 0, 60.0, 1.0).astype(np.float32)
    x = normal(64, 128) * strength
    model = model_of(weight, readers=2)
    factors = (strength**-0.5).astype(np.float32) if kind == "int8" else (strength**-0.3).astype(np.float32)
    ranges = {"m": LinearRanges(input_amax=1.0, smooth=factors, awq=factors)}
    structure, weights = detach(model)
    exact = x @ weight
    errors = []
    for known in (None, ranges):
        graph, held = quantize(structure, weights, {"m.weight": kind}, known, minimum_size=1)
        assert sum(node.op_type == "Mul" for node in graph.graph.node) == (known is not None)
        found = session(attach(graph, held)).run(["y0", "y1"], {"x": x})
        np.testing.assert_array_equal(found[0], found[1])
        errors.append(float(np.sqrt(((found[0] - exact) ** 2).mean())))
    assert errors[1] < 0.8 * errors[0]


def test_ranges_of_another_module_are_refused() -> None:
    structure, weights = detach(model_of(normal(128, 64)))
    ranges = {"m": LinearRanges(input_amax=1.0, awq=np.ones(64, np.float32))}
    with pytest.raises(ValueError, match="128 inputs"):
        quantize(structure, weights, {"m.weight": "int4"}, ranges, minimum_size=1)


@pytest.mark.parametrize(("formats", "block"), [({"m.weight": "fp8"}, 32), ({"m.weight": "int4"}, 48)])
def test_formats_and_blocks_that_are_not_there(formats: dict[str, str], block: int) -> None:
    structure, weights = detach(model_of(normal(128, 64)))
    with pytest.raises(ValueError, match=r"fp8|power of two"):
        quantize(structure, weights, formats, block=block)


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_no_weight_is_read_before_it_is_wanted_and_then_once(kind: str) -> None:
    structure, weights = detach(model_of(normal(256, 128)))
    count = 0

    def counted(read: Callable[[], np.ndarray]) -> np.ndarray:
        nonlocal count
        count += 1
        return read()

    seen: Weights = {n: Weight(w.dtype, w.shape, lambda w=w: counted(w.read)) for n, w in weights.items()}
    graph, held = quantize(structure, seen, {"m.weight": kind})
    assert count == 0
    assert "m.weight" not in held
    for tensor in graph.graph.initializer:
        array = held[tensor.name].read()
        assert array.nbytes == held[tensor.name].nbytes
        assert array.shape == tuple(tensor.dims)
    assert count == 1
    first = {name: weight.read() for name, weight in held.items()}
    for name in reversed(first):
        np.testing.assert_array_equal(held[name].read(), first[name])


def test_a_mixed_decoder_prefills_in_int8_and_decodes_in_int4() -> None:
    light, exact = {}, {}
    for phase, kind in (("prefill", "int8"), ("decode", "int4")):
        structure, weights = detach(exported("qwen2", low_rank=phase == "prefill").graph)
        formats = {name: kind for name in weights if ".down." not in name and ".up." not in name}
        graph, held = quantize(lower(structure, phase), weights, formats, minimum_size=2000, block=16)
        chosen = [name.removesuffix(f".{kind}") for name in held if name.endswith(f".{kind}")]
        # Query, output and the three of the MLP in each layer, and the vocabulary; keys and values are too small here.
        assert len(chosen) == 3 * 5 + 1
        light[phase] = session(attach(graph, held))
        for name in chosen if kind == "int4" else ():
            values = unpacked(*pack_blocks(weights[name].read(), 16), weights[name].shape[0])
            weights[name] = float_weight(values.shape, lambda values=values: values)
        exact[phase] = session(attach(lower(structure, phase), weights))
    step = feeds_of(torch.cat([PROMPTS, torch.zeros(4, 1, dtype=torch.int64)], dim=1), PADDED, 1, seed=3)
    results = []
    for runners in (light, exact):
        cache = StaticCache(runners["prefill"], 4, 16)
        first = cache.run(runners["prefill"], feeds_of(PROMPTS, PADDED, 12))["logits"]
        results.append((first, cache.run(runners["decode"], step)["logits"]))
    for found, expected in zip(*results, strict=True):
        assert (found * expected).sum() / np.sqrt((found**2).sum() * (expected**2).sum()) > 0.99


def test_a_half_precision_decoder_takes_int4_and_refuses_int8() -> None:
    structure, weights = detach(exported("qwen2").graph)
    lowered, held = lower(to_half(structure), "prefill"), half_weights(weights)
    formats = {name: "int4" for name in weights if ".down." not in name and ".up." not in name}
    ranges = {"lm_head": LinearRanges(input_amax=1.0, awq=np.linspace(0.5, 2.0, 48, dtype=np.float32))}
    graph, packed = quantize(lowered, held, formats, ranges, minimum_size=2000, block=16)
    scales = {weight.dtype for name, weight in packed.items() if name.endswith(".int4.scale")}
    assert scales == {TensorProto.FLOAT16}
    logits = []
    feeds = feeds_of(PROMPTS, PADDED, 12)
    for model in (attach(graph, packed), attach(lowered, held)):
        runner = session(model)
        cache = StaticCache(runner, 4, 12)
        for name, buffer in cache.buffers.items():
            cache.buffers[name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(buffer.shape(), np.float16))
        logits.append(cache.run(runner, feeds)["logits"])
    assert (logits[0] * logits[1]).sum() / np.sqrt((logits[0] ** 2).sum() * (logits[1] ** 2).sum()) > 0.9
    with pytest.raises(ValueError, match="dynamic int8 is for float32 graphs"):
        quantize(lowered, held, {"lm_head.weight": "int8"}, minimum_size=2000)
