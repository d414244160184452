"""Explicit Q/DQ against PyTorch's own fake quantization, linear by linear and through a whole decoder."""

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from small_decoders import small_decoder
from tensorrt_decoders import exact_session
from torch import nn

from mosear.calibration.quantization import LinearRanges
from mosear.export.graphs.decoder import export_decoder
from mosear.export.lowering.tensorrt import fallbacks, quantize
from mosear.export.tensors import Weight, Weights, attach, detach
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import BadInput

K, N = 192, 24
X = np.random.default_rng(1).normal(size=(5, K)).astype(np.float32) * np.linspace(0.1, 3, K, dtype=np.float32)
W = np.random.default_rng(2).normal(size=(K, N)).astype(np.float32) * 0.05
VECTOR = np.random.default_rng(3).uniform(0.3, 3, K).astype(np.float32)
RANGES = LinearRanges(float(np.abs(X).max()), VECTOR, float(np.abs(X * VECTOR).max()), VECTOR)


def product(turned: bool = False, dtype: int = TensorProto.FLOAT, shape: tuple[int, int] = (K, N)) -> ModelProto:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    weight = np.resize(W, shape).astype(kind)
    node = (
        helper.make_node("Gemm", ["x", "p.weight"], ["y"], transB=1)
        if turned
        else helper.make_node("MatMul", ["x", "p.weight"], ["y"])
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", dtype, ["n", shape[0]])],
        [helper.make_tensor_value_info("y", dtype, ["n", shape[1]])],
        [numpy_helper.from_array(weight.T if turned else weight, "p.weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def run(model: ModelProto, weights: Weights, x: np.ndarray = X) -> np.ndarray:
    whole = attach(model, weights)
    onnx.checker.check_model(whole, full_check=True)
    kind = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    return exact_session(whole).run(None, {"x": x.astype(kind)})[0].astype(np.float32)


def fake(kind: str, x: np.ndarray, w: np.ndarray, ranges: LinearRanges | None) -> np.ndarray:
    """PyTorch's own quantization of x [n, K] and w [K, N], in float32."""
    a, b = torch.from_numpy(x), torch.from_numpy(w)
    if kind == "int8":
        assert ranges is not None
        if ranges.smooth is not None:
            a, b = a * torch.from_numpy(ranges.smooth), b / torch.from_numpy(ranges.smooth)[:, None]
        top = ranges.input_amax if ranges.smooth is None else ranges.smooth_amax
        a = torch.fake_quantize_per_tensor_affine(a, top / 127, 0, -128, 127)
        scale = b.abs().amax(0) / 127
        b = torch.fake_quantize_per_channel_affine(b, scale, torch.zeros(len(scale)), 1, -128, 127)
    elif kind == "fp8":
        assert ranges is not None
        for_a, for_b = ranges.input_amax / 448, float(b.abs().max()) / 448
        a = (a / for_a).clamp(-448, 448).to(torch.float8_e4m3fn).float() * for_a
        b = (b / for_b).to(torch.float8_e4m3fn).float() * for_b
    else:
        if ranges is not None and ranges.awq is not None:
            a, b = a * torch.from_numpy(ranges.awq), b / torch.from_numpy(ranges.awq)[:, None]
        size = 128 if len(b) % 128 == 0 else 64
        blocks = b.reshape(-1, size, b.shape[1]).permute(0, 2, 1).reshape(-1, size)
        scale = blocks.abs().amax(1) / 7
        blocks = torch.fake_quantize_per_channel_affine(blocks, scale, torch.zeros(len(scale)), 0, -8, 7)
        b = blocks.reshape(-1, b.shape[1], size).permute(0, 2, 1).reshape(b.shape)
    return (a @ b).numpy()


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("kind", ["int8", "int4", "fp8"])
def test_one_product(kind: str, smooth: bool, turned: bool, dtype: int) -> None:
    ranges = RANGES if smooth else LinearRanges(RANGES.input_amax, None, None, None)
    graph, weights = detach(product(turned, dtype))
    quantized, made = quantize(graph, weights, {"p.weight": kind}, {"p": ranges})
    found, expected = run(quantized, made), fake(kind, X, W, ranges)
    # A value on the border of two steps may fall either way in another order of arithmetic.
    step = {"int8": 0.02, "int4": 0.02, "fp8": 0.05}[kind] * (2 if dtype == TensorProto.FLOAT16 else 1)
    assert np.abs(found - expected).max() < step * np.abs(expected).max()
    assert np.abs(found - expected).mean() < 0.1 * step * np.abs(expected).max()
    error = np.linalg.norm(found - X @ W) / np.linalg.norm(X @ W)
    # The vector is a random one: it does not help, but must not change more than the rounding.
    assert 1e-4 < error < {"int8": 0.03, "int4": 0.2, "fp8": 0.08}[kind] * (3 if smooth else 1)


def test_smoothing_helps_where_one_channel_is_large() -> None:
    x, w = X.copy(), W
    x[:, 7] *= 60
    smooth = (np.abs(w).max(1) ** 0.5 / np.abs(x).max(0) ** 0.5).astype(np.float32)
    errors = {}
    for name, ranges in (
        ("plain", LinearRanges(float(np.abs(x).max()), None, None, None)),
        ("smooth", LinearRanges(float(np.abs(x).max()), smooth, float(np.abs(x * smooth).max()), None)),
    ):
        quantized, made = quantize(*detach(product()), {"p.weight": "int8"}, {"p": ranges})
        errors[name] = np.linalg.norm(run(quantized, made, x) - x @ w)
    assert errors["smooth"] < 0.5 * errors["plain"]


def test_int4_is_packed_in_blocks_of_128_or_64_and_else_left_alone_with_a_warning() -> None:
    for inner, block in ((256, 128), (192, 64)):
        quantized, made = quantize(*detach(product(shape=(inner, N))), {"p.weight": "int4"}, None)
        node = next(node for node in quantized.graph.node if node.op_type == "DequantizeLinear")
        assert {entry.name: entry.i for entry in node.attribute} == {"axis": 0, "block_size": block}
        assert made["p.weight.int4"].nbytes == inner * N // 2
        assert made["p.weight.int4_scale"].shape == (inner // block, N)
        assert "p.weight" not in made
    graph, weights = detach(product(shape=(96, N)))
    assert list(fallbacks(graph, weights, {"p.weight": "int4"})) == ["p.weight"]
    with pytest.warns(UserWarning, match="96 inputs"):
        same, made = quantize(graph, weights, {"p.weight": "int4"}, None)
    assert list(made) == ["p.weight"]
    assert same.SerializeToString() == graph.SerializeToString()


def test_nothing_is_read_before_it_is_wanted_and_nothing_twice_in_memory() -> None:
    graph, weights = detach(product())
    reads = []

    def read() -> np.ndarray:
        reads.append(1)
        return W

    lazy = {"p.weight": Weight(TensorProto.FLOAT, (K, N), read)}
    for kind in ("int8", "int4", "fp8"):
        _, made = quantize(graph, lazy, {"p.weight": kind}, {"p": RANGES})
        assert not reads
        for weight in made.values():
            assert np.ascontiguousarray(weight.read()).nbytes == weight.nbytes
        reads.clear()
    assert set(weights) == set(lazy)


def test_columns_of_zeros_and_of_tiny_values_stay_finite() -> None:
    graph, _ = detach(product(dtype=TensorProto.FLOAT16))
    values = W.copy()
    values[:, 0] = 0
    values[:, 1] *= 1e-5
    small = {"p.weight": Weight(TensorProto.FLOAT16, (K, N), lambda: values.astype(np.float16))}
    for kind in ("int8", "int4", "fp8"):
        quantized, made = quantize(graph, small, {"p.weight": kind}, {"p": LinearRanges(0.0, None, None, None)})
        found = run(quantized, made, np.zeros_like(X))
        assert (found == 0).all()
        quantized, made = quantize(graph, small, {"p.weight": kind}, {"p": LinearRanges(9.0, None, None, None)})
        found = run(quantized, made)
        assert np.isfinite(found).all()
        assert (found[:, 0] == 0).all(), kind


def test_what_cannot_be_quantized_is_refused() -> None:
    graph, weights = detach(product())
    with pytest.raises(BadInput, match="int8 needs the range of what enters p"):
        quantize(graph, weights, {"p.weight": "int8"}, None)
    with pytest.raises(BadInput, match="fp8 needs the range"):
        quantize(graph, weights, {"p.weight": "fp8"}, {"q": RANGES})
    with pytest.raises(ValueError, match="no product of this graph has a weight called q"):
        quantize(graph, weights, {"q.weight": "int4"}, None)
    with pytest.raises(ValueError, match="no format nvfp4"):
        quantize(graph, weights, {"p.weight": "nvfp4"}, None)


@cache
def whole() -> tuple[Any, ModelProto, Weights, dict[str, LinearRanges]]:
    """A decoder wide enough for blocks, its graph, and the ranges of its linear modules on what the tests feed."""
    decoder = small_decoder(
        "qwen2", hidden_size=128, intermediate_size=192, num_attention_heads=4, num_key_value_heads=2
    )
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.Linear):
                module.weight *= 0.5
    graph, weights = detach(export_decoder(decoder, reallocation=Reallocation(0.5, 0.35)))
    seen: dict[str, LinearRanges] = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, given: Any) -> None:
            x = given[0].detach().reshape(-1, given[0].shape[-1]).abs()
            smooth = ((module.weight.abs().amax(0) / x.amax(0)).clamp_min(1e-4) ** 0.5).detach()
            seen[name] = LinearRanges(float(x.max()), smooth.numpy(), float((x * smooth).max()), None)

        return hook

    handles = [
        module.register_forward_pre_hook(look(name))
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear)
    ]
    torch_logits(decoder)
    for handle in handles:
        handle.remove()
    return decoder, graph, weights, seen


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    modality = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 0, 0]])
    return {
        "inputs_embeds": torch.randn(1, 9, 128, generator=generator),
        "position_ids": torch.arange(9)[None],
        "key_modality": modality,
    }


def torch_logits(decoder: Any) -> np.ndarray:
    feeds = inputs()
    with torch.no_grad():
        return decoder(
            inputs_embeds=feeds["inputs_embeds"],
            position_ids=feeds["position_ids"],
            attention_mask=torch.ones(1, 9, dtype=torch.long),
            key_modality=feeds["key_modality"],
            reallocation=Reallocation(0.5, 0.35),
            logits_to_keep=1,
        ).logits.numpy()


@pytest.mark.parametrize("kind", ["int8", "int4", "fp8"])
def test_a_whole_decoder_is_pytorch_with_its_linear_modules_fake_quantized(kind: str) -> None:
    from mosear.export.lowering.tensorrt import lower

    decoder, graph, weights, ranges = whole()
    exact = torch_logits(decoder)
    formats = {f"{name}.weight": kind for name in ranges}
    model, made = quantize(lower(graph, "prefill", (), 16), weights, formats, ranges)
    runner = exact_session(attach(model, made))
    feeds = {name: tensor.numpy() for name, tensor in inputs().items()}
    feeds |= {
        each.name: np.zeros((1, each.shape[1], 16, each.shape[3]), np.float32)
        for each in runner.get_inputs()
        if each.name.startswith("past_")
    }
    found = runner.run(["logits"], feeds)[0]

    def faked(name: str) -> Any:
        def forward(module: nn.Module, given: Any, output: torch.Tensor) -> torch.Tensor:
            flat = given[0].reshape(-1, given[0].shape[-1]).numpy()
            y = torch.from_numpy(fake(kind, flat, module.weight.detach().T.numpy().copy(), ranges[name]))
            y = y.reshape(*given[0].shape[:-1], -1)
            return y if module.bias is None else y + module.bias

        return forward

    handles = [
        module.register_forward_hook(faked(name))
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        expected = torch_logits(decoder)
    finally:
        for handle in handles:
            handle.remove()
    moved = np.linalg.norm(expected - exact)
    # Single values may round the other way; what quantization does as a whole must be the same.
    assert np.linalg.norm(found - expected) < 0.2 * moved
    assert 0.001 < moved / np.linalg.norm(exact) < 0.6
