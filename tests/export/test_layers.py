"""The comparison layer by layer: it finds a damaged layer and no other, on every backend's graph."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from small_decoders import FAMILIES, LAYERS, PADDED, PROMPTS, exported, feeds_of

from mosear.export.graphs.half import half_weights, to_half
from mosear.export.layers import LayerRow, compare_accumulated, compare_head, compare_layers
from mosear.export.layers.running import run_reference
from mosear.export.layers.segments import count_layers, cut
from mosear.export.layers.torch_layers import TorchLayers
from mosear.export.lowering import onnxruntime, standard, tensorrt
from mosear.export.lowering.standard_weights import quantize
from mosear.export.lowering.tensorrt.decoder import FEATURES
from mosear.export.tensors import Weight, Weights, detach, is_placeholder
from mosear.model.reallocation import Reallocation

REALLOCATION = Reallocation(0.5, 0.35, layers=LAYERS)
CAPACITY = 16

Feeds = dict[str, NDArray]


@cache
def lowered(family: str, backend: str, phase: Any = "prefill", half: bool = False) -> tuple[onnx.ModelProto, Weights]:
    structure, weights = detach(exported(family).graph)
    if half:
        structure, weights = to_half(structure), half_weights(weights)
    lower: Callable[..., onnx.ModelProto] = {
        "canonical": lambda model, phase: model,
        "standard": standard.lower,
        "onnxruntime": onnxruntime.lower,
    }[backend]
    return lower(structure, phase), weights


def feeds(model: onnx.ModelProto, past: int, rows: int, batch: int = 4, room: bool = False) -> Feeds:
    """The last ``rows`` of the prompts on a random past; with ``room``, in buffers with space for more."""
    values: Feeds = {name: t.numpy() for name, t in feeds_of(PROMPTS[:batch], PADDED[:batch], rows).items()}
    values["key_modality"] = values["key_modality"][:, 12 - rows - past :]
    random = np.random.default_rng(3)
    for value in model.graph.input:
        if value.name.startswith("past_"):
            _, heads, _, size = (d.dim_value for d in value.type.tensor_type.shape.dim)
            cache = random.normal(size=(batch, heads, past, size)).astype(np.float16).astype(np.float32)
            if room:
                cache = np.concatenate([cache, np.zeros((batch, heads, CAPACITY - past, size), np.float32)], axis=2)
            values[value.name] = cache
    return values


def torch_layers(family: str, given: Feeds) -> TorchLayers:
    decoder, holder, _ = exported(family)
    return TorchLayers(
        lambda layer: decoder.model.layers[layer], decoder.model.rotary_emb, given, 3, REALLOCATION, [holder]
    )


def rows_of(family: str, backend: str, past: int, rows: int, how: Any = compare_layers, **kind: Any) -> list[LayerRow]:
    phase = "decode" if rows == 1 else "prefill"
    model, weights = lowered(family, backend, phase, **kind)
    given = feeds(model, past, rows, room=backend == "onnxruntime")
    return list(how(model, weights, given, torch_layers(family, given)))


@pytest.mark.parametrize(("past", "rows"), [(0, 12), (5, 7), (11, 1)], ids=["prompt", "chunk", "step"])
@pytest.mark.parametrize("backend", ["canonical", "standard", "onnxruntime"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_every_backend(family: str, backend: str, past: int, rows: int) -> None:
    for how in (compare_layers, compare_accumulated):
        found = rows_of(family, backend, past, rows, how)
        assert [row.layer for row in found] == [0, 1, 2]
        for row in found:
            assert row.cosine > 1 - 1e-9
            assert row.max_difference < 1e-3
            assert row.relative < 1e-5
            if row.layer in LAYERS:
                assert row.heads_agree == 1.0
                assert row.telemetry_difference is not None
                assert row.telemetry_difference < 1e-5
            else:
                assert row.heads_agree is row.telemetry_difference is None


@pytest.mark.parametrize(("past", "rows"), [(0, 12), (5, 7), (11, 1)], ids=["prompt", "chunk", "step"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float16(family: str, past: int, rows: int) -> None:
    alone = rows_of(family, "standard", past, rows, half=True)
    together = rows_of(family, "standard", past, rows, compare_accumulated, half=True)
    for row in alone:
        assert row.cosine > 0.9999
        assert 1e-6 < row.relative < 0.005
        assert row.heads_agree is None or row.heads_agree >= 0.995
    assert together[0].relative == pytest.approx(alone[0].relative, rel=0.2)
    assert together[2].cosine > 0.999


@pytest.mark.parametrize(("past", "rows"), [(0, 12), (5, 7), (11, 1)], ids=["prompt", "chunk", "step"])
@pytest.mark.parametrize("features", [(), FEATURES], ids=["plain", "native"])
@pytest.mark.parametrize("half", [False, True])
def test_graphs_for_tensorrt(half: bool, features: tuple[str, ...], past: int, rows: int) -> None:
    structure, weights = detach(exported("qwen3").graph)
    if half:
        structure, weights = to_half(structure), half_weights(weights)
    model = tensorrt.lower(structure, "decode" if rows == 1 else "prefill", features, CAPACITY)
    given = feeds(model, past, rows, room=True)
    for how in (compare_layers, compare_accumulated):
        for row in how(model, weights, given, torch_layers("qwen3", given)):
            assert row.relative < (0.005 if half else 1e-5)
            assert row.heads_agree is None or row.heads_agree >= 0.995


def test_small_weights_are_compared_as_the_graph_says() -> None:
    model, weights = lowered("qwen2", "standard")
    kinds = {name: "int4" for name in weights if "layers.1" in name and "proj.weight" in name}
    model, weights = quantize(model, weights, kinds)
    given = feeds(model, 0, 12)
    by_library = list(compare_layers(model, weights, given, torch_layers("qwen2", given)))
    by_definition = list(compare_layers(model, weights, given, torch_layers("qwen2", given), run_reference))
    for row, other in zip(by_library, by_definition, strict=True):
        assert row.max_difference == pytest.approx(other.max_difference, rel=1e-2, abs=1e-4)
    assert [row.layer for row in by_library if row.relative > 1e-3] == [1]


@pytest.mark.parametrize("backend", ["standard", "onnxruntime"])
@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_a_damaged_weight_shows_in_its_layer_alone(backend: str, damaged: int) -> None:
    model, weights = lowered("qwen2", backend)
    name = f"model.layers.{damaged}.mlp.up_proj.weight"
    healthy = weights[name]

    def read() -> NDArray:
        values = healthy.read().copy()
        values[:, 7] *= -1
        return values

    broken = weights | {name: Weight(healthy.dtype, healthy.shape, read)}
    given = feeds(model, 0, 12, room=backend == "onnxruntime")
    alone = compare_layers(model, broken, given, torch_layers("qwen2", given))
    assert [row.layer for row in alone if row.max_difference > 1e-3] == [damaged]
    together = compare_accumulated(model, broken, given, torch_layers("qwen2", given))
    assert [row.layer for row in together if row.max_difference > 1e-3] == list(range(damaged, 3))


def test_heads_that_select_otherwise_are_counted() -> None:
    model, weights = lowered("qwen2", "standard")
    given = feeds(model, 0, 12)
    decoder, holder, _ = exported("qwen2")
    eager = Reallocation(0.5, 0.0, layers=LAYERS)
    other = TorchLayers(lambda layer: decoder.model.layers[layer], decoder.model.rotary_emb, given, 3, eager, [holder])
    row = next(iter(compare_layers(model, weights, given, other)))
    share = torch_layers("qwen2", given)(0, given["inputs_embeds"]).telemetry["audio_share"]
    between = ((share > 0.0) & (share <= 0.35) & (share < 1.0)).mean()
    assert row.heads_agree == pytest.approx(1 - between)
    assert row.heads_agree < 0.995
    assert row.telemetry_difference is not None
    assert row.telemetry_difference < 1e-5, "shares are measured before anything moves"


def test_rows_of_hidden_tokens_do_not_count() -> None:
    model, weights = lowered("qwen2", "standard")
    given = feeds(model, 0, 12)
    reference = torch_layers("qwen2", given)

    def other(layer: int, hidden: NDArray) -> Any:
        output = reference(layer, hidden)
        changed = output.hidden.copy()
        changed[given["key_modality"] < 0] = 1e6
        return output._replace(hidden=changed) if layer == 2 else output

    assert all(row.max_difference < 1e-3 for row in compare_layers(model, weights, given, other))


@pytest.mark.parametrize("backend", ["standard", "onnxruntime"])
def test_the_head(backend: str) -> None:
    model, weights = lowered("qwen2", backend)
    given = feeds(model, 0, 12, room=backend == "onnxruntime")
    decoder = exported("qwen2").decoder
    hidden = np.random.default_rng(5).normal(size=(4, 12, 48)).astype(np.float32)
    with torch.no_grad():
        logits = decoder.lm_head(decoder.model.norm(torch.from_numpy(hidden[:, -1:]))).numpy()
    row = compare_head(model, weights, given, hidden, logits)
    assert row.layer == 3
    assert row.max_difference < 1e-4
    logits[2, 0, 5] += 1
    assert compare_head(model, weights, given, hidden, logits).max_difference > 0.9


def test_only_one_layer_of_weights_is_read_at_a_time() -> None:
    model, weights = lowered("qwen2", "standard")
    read: list[str] = []

    def watched(name: str, weight: Weight) -> Weight:
        return Weight(weight.dtype, weight.shape, lambda: (read.append(name), weight.read())[1])

    given = feeds(model, 0, 12)
    watching = {name: watched(name, weight) for name, weight in weights.items()}
    rows = compare_layers(model, watching, given, torch_layers("qwen2", given))
    for layer in range(3):
        read.clear()
        next(rows)
        mine = {name for name in weights if name.startswith(f"model.layers.{layer}.")}
        assert mine
        assert set(read) == mine
        assert len(read) == len(mine)


def test_onnx_reference_evaluator_runs_the_pieces_too() -> None:
    model, weights = lowered("qwen3", "standard")
    given = feeds(model, 5, 7, batch=2)
    rows = list(compare_layers(model, weights, given, torch_layers("qwen3", given), run_reference))
    assert all(row.relative < 1e-5 for row in rows)
    assert [row.heads_agree for row in rows] == [1.0, None, 1.0]


def test_pieces_hold_nothing_else() -> None:
    model, _ = lowered("qwen2", "onnxruntime")
    piece = cut(model, "hidden_1", ["hidden_2"])
    weights = {tensor.name for tensor in piece.graph.initializer if is_placeholder(tensor)}
    assert weights
    # The shape of the first layer's query is taken for all layers.
    assert all("layers.1." in name or "layers.0.self_attn.q_proj" in name for name in weights), weights
    assert {value.name for value in piece.graph.input} >= {"hidden_1", "past_key_1", "past_value_1"}
    assert "past_key_0" not in {value.name for value in piece.graph.input}
    kinds = [node.op_type for node in piece.graph.node]
    norms = [node for node in piece.graph.node if node.op_type == "SimplifiedLayerNormalization"]
    assert "hidden_1" in {norm.input[0] for norm in norms}, "the norm at the cut no longer makes the residual sum"
    assert "SkipSimplifiedLayerNormalization" in kinds


def test_graphs_that_cannot_be_cut_are_refused() -> None:
    model, _ = lowered("qwen2", "standard")
    with pytest.raises(ValueError, match="hidden_1 is read too"):
        cut(model, "hidden_2", ["hidden_3", "present_key_0", "present_key_1"])
    nameless = onnx.ModelProto()
    nameless.CopyFrom(model)
    for node in nameless.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("hidden_", "state_") for name in names]
    with pytest.raises(ValueError, match="no value hidden_1"):
        count_layers(nameless)
