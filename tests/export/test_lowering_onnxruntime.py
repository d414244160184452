"""The lowered decoder against PyTorch's probability form, over caches, batches, padding and phases."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small_decoders import (
    FAMILIES,
    LAYERS,
    PADDED,
    PROMPTS,
    Reference,
    StaticCache,
    compare,
    exported,
    exported_plain,
    feeds_of,
    session,
    with_settings,
)

from mosear.export.graphs.half import half_weights, to_half
from mosear.export.lowering.onnxruntime import lower
from mosear.export.tensors import attach, detach
from mosear.model.reallocation import Reallocation

SETTINGS = {
    "text": Reallocation(0.5, 0.35, layers=LAYERS),
    "last": Reallocation(0.3, 0.2, rows="last", layers=LAYERS),
    "all": Reallocation(0.9, 0.0, rows="all", layers=LAYERS),
}

BLOCKS = {"text": 3, "last": 2, "all": 4}
"""Rows that can't change are attended to in so many blocks, some of them empty."""


@cache
def built(family: str, rows: str) -> dict[str, onnxruntime.InferenceSession]:
    # Only one family gets a decode graph of its own: on text rows the low-rank term is zero anyway.
    graphs = {"prefill": exported(family).graph, "decode": exported(family, low_rank=family != "qwen2").graph}
    chosen = {phase: with_settings(graph, SETTINGS[rows]) for phase, graph in graphs.items()}
    return {phase: session(lower(graph, phase, blocks=BLOCKS[rows])) for phase, graph in chosen.items()}


def reference_of(family: str, rows: str) -> Reference:
    return Reference(exported(family).decoder, exported(family).holder, SETTINGS[rows])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 4])
def test_twenty_decode_steps_on_one_buffer(family: str, batch: int) -> None:
    sessions, reference = built(family, "text"), reference_of(family, "text")
    buffers = StaticCache(sessions["prefill"], batch, capacity=40)
    modality, padded = PROMPTS[:batch], PADDED[:batch]
    addresses = {name: buffer.data_ptr() for name, buffer in buffers.buffers.items()}

    prompt = feeds_of(modality, padded, rows=modality.shape[1])
    expected = reference.run(prompt)
    compare(buffers.run(sessions["prefill"], prompt), expected)
    assert expected["selected"].any()
    assert not expected["selected"].all()
    for step in range(20):
        modality = torch.cat([modality, torch.zeros(batch, 1, dtype=torch.int64)], dim=1)
        token = feeds_of(modality, padded, rows=1, seed=step + 1)
        compare(buffers.run(sessions["decode"], token), reference.run(token))
    assert {name: buffer.data_ptr() for name, buffer in buffers.buffers.items()} == addresses


@pytest.mark.parametrize("rows", SETTINGS)
@pytest.mark.parametrize("batch", [1, 4])
def test_several_rows_on_top_of_a_past(rows: str, batch: int) -> None:
    sessions, reference = built("qwen2", rows), reference_of("qwen2", rows)
    buffers = StaticCache(sessions["prefill"], batch, capacity=12)
    for start, end in ((0, 2), (2, 7), (7, 12)):
        modality = PROMPTS[:batch, :end].clone()
        # A prompt that is cut inside the padding has rows without any visible key in both worlds: leave it out here.
        modality[:, 0] = 0
        chunk = feeds_of(modality, torch.zeros(batch, dtype=torch.int64), rows=end - start, seed=end)
        compare(buffers.run(sessions["prefill"], chunk), reference.run(chunk))


@pytest.mark.parametrize("rows", SETTINGS)
def test_one_pass_and_then_a_step_for_every_choice_of_rows(rows: str) -> None:
    sessions, reference = built("qwen2", rows), reference_of("qwen2", rows)
    buffers = StaticCache(sessions["prefill"], 4, capacity=13)
    compare(
        buffers.run(sessions["prefill"], feeds_of(PROMPTS, PADDED, 12)), reference.run(feeds_of(PROMPTS, PADDED, 12))
    )
    modality = torch.cat([PROMPTS, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
    step = feeds_of(modality, PADDED, 1, seed=5)
    compare(buffers.run(sessions["decode"], step), reference.run(step))


def test_a_full_buffer_is_used_to_its_last_position() -> None:
    sessions = built("qwen2", "text")
    buffers = StaticCache(sessions["prefill"], 4, capacity=12)
    found = buffers.run(sessions["prefill"], feeds_of(PROMPTS, PADDED, 12))
    assert np.isfinite(found["logits"]).all()
    modality = torch.cat([PROMPTS, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
    with pytest.raises(Exception, match="indice = 12"):
        buffers.run(sessions["decode"], feeds_of(modality, PADDED, 1))


def test_without_the_shared_binding_the_result_is_the_same() -> None:
    sessions = built("qwen2", "text")
    feeds = feeds_of(PROMPTS, PADDED, 12)
    bound = StaticCache(sessions["prefill"], 4, capacity=16).run(sessions["prefill"], feeds)
    runner = sessions["prefill"]
    plain = {name: tensor.numpy() for name, tensor in feeds.items()} | {
        value.name: np.zeros((4, value.shape[1], 16, value.shape[3]), np.float32)
        for value in runner.get_inputs()
        if value.name.startswith("past_")
    }
    outputs = dict(zip([o.name for o in runner.get_outputs()], runner.run(None, plain), strict=True))
    for name, value in bound.items():
        np.testing.assert_array_equal(outputs[name], value)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_lowered_graph_holds_only_what_old_runtimes_know(phase: str) -> None:
    model = lower(exported("qwen2", low_rank=phase == "prefill").graph, phase)
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 21), ("com.microsoft", 1)}
    assert not model.functions
    kinds = {(node.domain, node.op_type) for node in model.graph.node}
    assert not kinds & {("", "Attention"), ("", "RMSNormalization"), ("", "RotaryEmbedding")}
    assert {domain for domain, _ in kinds} <= {"", "com.microsoft"}
    assert any("q_proj.down" in tensor.name for tensor in model.graph.initializer) == (phase == "prefill")


def test_plain_attention_is_lowered_too() -> None:
    decoder, graph = exported_plain()
    model = lower(graph, "prefill")
    assert "audio_share" not in {output.name for output in model.graph.output}
    runner = session(model)
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found = StaticCache(runner, 4, 12).run(runner, feeds)["logits"]
    with torch.no_grad():
        expected = decoder(
            inputs_embeds=feeds["inputs_embeds"],
            attention_mask=(PROMPTS >= 0).long(),
            position_ids=feeds["position_ids"],
            logits_to_keep=1,
        ).logits
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("rows", SETTINGS)
def test_blocks_of_rows_change_nothing(rows: str) -> None:
    graph = with_settings(exported("qwen3").graph, SETTINGS[rows])
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found = []
    for blocks in (1, 2, 5, 20):
        runner = session(lower(graph, "prefill", blocks=blocks))
        found.append(StaticCache(runner, 4, 12).run(runner, feeds))
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_allclose(other[name], value, atol=1e-5)


def shapes(model: onnx.ModelProto, feeds: dict[str, torch.Tensor], *names: str) -> dict[str, tuple[int, ...]]:
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    for name in names:
        tapped.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    runner = session(tapped)
    found = StaticCache(runner, 4, 12).run(runner, feeds)
    return {name: found[name].shape for name in names}


def test_the_last_layer_works_for_the_last_row_alone() -> None:
    feeds = feeds_of(PROMPTS, PADDED, 12)
    taps = [f"hidden_{layer}" for layer in range(4)]
    found = shapes(lower(exported("qwen2").graph, "prefill"), feeds, *taps)
    assert found == dict.fromkeys(taps[:3], (4, 12, 48)) | {"hidden_3": (4, 1, 48)}


def test_where_rows_meet_behind_the_last_attention_all_are_computed() -> None:
    """A sum over rows of what leaves the last layer: it may not be cut before that sum."""
    graph = onnx.ModelProto()
    graph.CopyFrom(exported("qwen2").graph)
    (norm,) = (n for n in graph.graph.node if n.op_type == "RMSNormalization" and n.input[0] == "hidden_3")
    norm.input[0] = "summed"
    graph.graph.node.append(onnx.helper.make_node("CumSum", ["hidden_3", "row_axis"], ["summed"]))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "row_axis"))
    feeds = feeds_of(PROMPTS[:, 2:], PADDED - PADDED, 10)
    feeds["key_modality"] = feeds["key_modality"].clamp_min(0)
    assert shapes(lower(graph, "prefill"), feeds, "hidden_3") == {"hidden_3": (4, 10, 48)}


def cache_of(kind: type, runner: onnxruntime.InferenceSession) -> StaticCache:
    cache = StaticCache(runner, 4, 16)
    for name, buffer in cache.buffers.items():
        empty = np.full(buffer.shape(), np.nan, kind)
        cache.buffers[name] = onnxruntime.OrtValue.ortvalue_from_numpy(empty)
    return cache


@pytest.mark.parametrize("rows", SETTINGS)
def test_a_half_precision_graph(rows: str) -> None:
    """As CUDA runs it; here ONNX Runtime casts where it has no float16 kernel, so the arithmetic is float16's."""
    structure, weights = detach(with_settings(exported("qwen2").graph, SETTINGS[rows]))
    longer = torch.cat([PROMPTS, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
    steps = ((PROMPTS, 12, "prefill"), (longer, 1, "decode"))
    results = []
    for graph, held, kind in (
        (structure, weights, np.float32),
        (to_half(structure), half_weights(weights), np.float16),
    ):
        cache, found = None, []
        for modality, count, phase in steps:
            lowered = lower(graph, phase, blocks=2)
            runner = session(attach(lowered, held))
            cache = cache or cache_of(kind, runner)
            found.append(cache.run(runner, feeds_of(modality, PADDED, count)))
        results.append(found)
    for exact, half in zip(*results, strict=True):
        assert half["logits"].dtype == half["modality_mass"].dtype == np.float32
        np.testing.assert_array_equal(half["selected"], exact["selected"])
        np.testing.assert_allclose(half["modality_mass"], exact["modality_mass"], atol=0.02)
        for row in range(4):
            left, right = exact["logits"][row, 0], half["logits"][row, 0]
            assert left @ right / np.sqrt((left @ left) * (right @ right)) > 0.999


def test_a_foreign_graph_is_refused() -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [value], [])
    with pytest.raises(ValueError, match="no attention"):
        lower(onnx.helper.make_model(graph), "prefill")
