"""The decoder that is lowered for TensorRT against PyTorch's probability form: every form, type, phase and cache."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from small_decoders import LAYERS, PADDED, PROMPTS, Reference, compare, exported, exported_plain, feeds_of
from tensorrt_decoders import FORMS, DeviceCache, canonical, lowered, runner_of

from mosear.export.lowering.tensorrt import lower
from mosear.export.tensors import attach, detach
from mosear.model.reallocation import Reallocation
from mosear.runtime.manifest import Decoder
from mosear.runtime.sessions.without_gpu import WithoutGpu

SETTINGS = {
    "text": Reallocation(0.5, 0.35, layers=LAYERS),
    "last": Reallocation(0.3, 0.2, rows="last", layers=LAYERS),
    "all": Reallocation(0.9, 0.0, rows="all", layers=LAYERS),
}


def reference_of(family: str, rows: str) -> Reference:
    return Reference(exported(family).decoder, exported(family).holder, SETTINGS[rows])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_prefill_and_decode_over_one_buffer(form: str, half: bool) -> None:
    # One graph does both phases, as one engine with two profiles does.
    model, weights = lowered("qwen3", half, form, "prefill", SETTINGS["text"], capacity=18)
    runner, reference = runner_of(model, weights), reference_of("qwen3", "text")
    buffers, modality, chosen = DeviceCache(model, 4), PROMPTS, []
    for step in range(7):
        rows = 1 if step else modality.shape[1]
        feeds = feeds_of(modality, PADDED, rows, seed=step)
        found, expected = buffers.run(runner, feeds), reference.run(feeds)
        if half:
            agree_in_half(found, expected)
        else:
            compare(found, expected)
        chosen.append(expected["selected"])
        modality = torch.cat([modality, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
    assert 0.05 < np.mean(np.concatenate(chosen)) < 0.95


def agree_in_half(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """What float16 can be held to: heads alike but for those on the threshold, and logits in one direction."""
    assert all(found[name].dtype == np.float32 for name in expected)
    near = np.abs(expected["audio_share"] - SETTINGS["text"].threshold) < 0.01
    np.testing.assert_array_equal(found["selected"][~near], expected["selected"][~near])
    assert near.mean() < 0.1
    np.testing.assert_allclose(found["audio_share"], expected["audio_share"], atol=0.02)
    np.testing.assert_allclose(found["modality_mass"], expected["modality_mass"], atol=0.02)
    for mine, theirs in zip(found["logits"], expected["logits"], strict=True):
        cosine = (mine * theirs).sum() / np.linalg.norm(mine) / np.linalg.norm(theirs)
        assert cosine > 0.999


@pytest.mark.parametrize("form", ["native", "plain"])
def test_half_precision_selects_the_heads_that_pytorch_selects(form: str) -> None:
    model, weights = lowered("qwen3", True, form, "prefill", SETTINGS["text"], capacity=12)
    runner = runner_of(model, weights)
    alike, chosen = [], []
    for seed in range(40):
        feeds = feeds_of(PROMPTS, PADDED, 12, seed=seed)
        expected = reference_of("qwen3", "text").run(feeds)["selected"]
        alike.append(DeviceCache(model, 4).run(runner, feeds)["selected"] == expected)
        chosen.append(expected)
    assert np.mean(alike) >= 0.995
    assert 0.05 < np.mean(chosen) < 0.95


@pytest.mark.parametrize("form", ["native", "plain"])
@pytest.mark.parametrize("rows", SETTINGS)
def test_several_rows_on_top_of_a_past(rows: str, form: str) -> None:
    model, weights = lowered("qwen2", False, form, "prefill", SETTINGS[rows], capacity=12)
    runner, reference = runner_of(model, weights), reference_of("qwen2", rows)
    buffers = DeviceCache(model, 4)
    for start, end in ((0, 2), (2, 7), (7, 12)):
        modality = PROMPTS[:, :end].clone()
        modality[:, 0] = 0
        chunk = feeds_of(modality, torch.zeros(4, dtype=torch.int64), rows=end - start, seed=end)
        compare(buffers.run(runner, chunk), reference.run(chunk))


@pytest.mark.parametrize("form", ["native", "plain"])
def test_the_decode_graph_takes_one_row_and_is_equal(form: str) -> None:
    prefill, weights = lowered("qwen3", False, form, "prefill", SETTINGS["text"], capacity=13)
    decode, _ = lowered("qwen3", False, form, "decode", SETTINGS["text"], capacity=13)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in decode.graph.input}
    assert shapes["inputs_embeds"][1] == shapes["position_ids"][1] == 1
    buffers = DeviceCache(prefill, 4)
    buffers.run(runner_of(prefill, weights), feeds_of(PROMPTS, PADDED, 12))
    before = {name: buffer.copy() for name, buffer in buffers.buffers.items()}
    step = feeds_of(torch.cat([PROMPTS, torch.zeros(4, 1, dtype=torch.int64)], dim=1), PADDED, 1, seed=5)
    by_prefill = buffers.run(runner_of(prefill, weights), step)
    buffers.buffers = before
    by_decode = buffers.run(runner_of(decode, weights), step)
    for name, value in by_prefill.items():
        np.testing.assert_allclose(by_decode[name], value, atol=1e-6)


def test_the_half_precision_graph_names_its_layers_and_agrees_in_each() -> None:
    graph, weights = canonical("qwen3", True)
    tapped = {"hidden_0", "hidden_1", "hidden_2", "hidden_3"}
    values = {}
    for form in ("native", "plain"):
        model = lower(graph, "prefill", FORMS[form], 12)
        for name in sorted(tapped):
            model.graph.output.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", "sequence", 48])
            )
        runner = runner_of(model, weights)
        values[form] = DeviceCache(model, 4).run(runner, feeds_of(PROMPTS, PADDED, 12))
    seen = PROMPTS.numpy() >= 0
    for name in tapped:
        native, plain = (values[form][name][seen].astype(np.float32) for form in ("native", "plain"))
        cosine = (native * plain).sum(-1) / np.linalg.norm(native, axis=-1) / np.linalg.norm(plain, axis=-1)
        assert cosine.min() > 0.999, name


@pytest.mark.parametrize("form", ["native", "plain"])
def test_the_runtime_runs_the_graphs_without_a_gpu(tmp_path: Path, form: str) -> None:
    model, weights = lowered("qwen3", False, form, "prefill", SETTINGS["text"], capacity=16)
    path = tmp_path / "decoder.onnx"
    onnx.save(attach(model, weights), path)
    shape = Decoder(
        layers=3, hidden_size=48, heads=6, kv_heads=2, head_dim=16, vocab_size=61, capacity=16, eos_token_ids=[]
    )
    running, reference = WithoutGpu(1).decoder(path, path, shape), reference_of("qwen3", "text")
    feeds = feeds_of(PROMPTS, PADDED, 12)
    compare(running.prefill(**{name: tensor.numpy() for name, tensor in feeds.items()}), reference.run(feeds))
    reference.cache.batch_repeat_interleave(2)
    running.repeat(2)
    modality, padded = PROMPTS.repeat_interleave(2, 0), PADDED.repeat_interleave(2, 0)
    for step in range(3):
        modality = torch.cat([modality, torch.zeros(8, 1, dtype=torch.int64)], dim=1)
        feeds = feeds_of(modality, padded, 1, seed=step)
        compare(running.decode(**{name: tensor.numpy() for name, tensor in feeds.items()}), reference.run(feeds))


def test_an_empty_cache_slot_beyond_the_past_is_never_read_and_a_full_one_is_used() -> None:
    for form in FORMS:
        model, weights = lowered("qwen2", False, form, "prefill", SETTINGS["text"], capacity=12)
        assert np.isfinite(
            DeviceCache(model, 4).run(runner_of(model, weights), feeds_of(PROMPTS, PADDED, 12))["logits"]
        ).all()


def test_plain_attention_is_lowered_too() -> None:
    decoder, whole = exported_plain()
    graph, weights = detach(whole)
    feeds = feeds_of(PROMPTS, PADDED, 12)
    with torch.no_grad():
        expected = decoder(
            inputs_embeds=feeds["inputs_embeds"],
            attention_mask=(PROMPTS >= 0).long(),
            position_ids=feeds["position_ids"],
            logits_to_keep=1,
        ).logits.numpy()
    for form in FORMS:
        model = lower(graph, "prefill", FORMS[form], 12)
        found = DeviceCache(model, 4).run(runner_of(model, weights), feeds)["logits"]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_each_form_holds_the_operators_of_its_versions_and_no_large_weight_was_read() -> None:
    graph, _ = canonical("qwen3", True)
    kinds = {}
    for form, features in FORMS.items():
        model = lower(graph, "prefill", features, 32)
        kinds[form] = {node.op_type for node in model.graph.node}
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert [opset.version for opset in model.opset_import] == [{"plain": 21, "old_cache": 23}.get(form, 24)]
        assert any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)
    newer = {"Attention", "RotaryEmbedding", "RMSNormalization", "TensorScatter"}
    assert kinds["native"] & newer == newer
    assert not kinds["plain"] & newer
    assert kinds["old_cache"] & newer == newer - {"TensorScatter"}
    assert kinds["old_attention"] & newer == newer - {"Attention"}
    assert kinds["old_attention"] & {"Softmax"}


def test_attention_is_written_out_where_its_own_layer_has_no_kernel() -> None:
    for family, half in (("qwen3", False), ("qwen2", True)):  # float32; heads of eight
        model = lower(canonical(family, half)[0], "prefill", FORMS["native"], 32)
        assert "Attention" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("paired", [0, 1])
@pytest.mark.parametrize("size", [0, 8])
def test_rotary_embedding_written_out_is_the_operator(paired: int, size: int) -> None:
    from mosear.export.lowering.rewriting import Emitter
    from mosear.export.lowering.tensorrt.primitives import write_out_rotary

    width = (size or 12) // 2
    node = helper.make_node("RotaryEmbedding", ["x", "c", "s"], ["y"], interleaved=paired, rotary_embedding_dim=size)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, 3, 5, 12]), ("c", [2, 5, width]), ("s", [2, 5, width]), ("y", [2, 3, 5, 12]))
    ]
    graph = helper.make_graph([node], "g", values[:3], values[3:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    random = np.random.default_rng(0)
    feeds = {v.name: random.normal(size=[d.dim_value for d in v.type.tensor_type.shape.dim]) for v in values[:3]}
    feeds = {name: value.astype(np.float32) for name, value in feeds.items()}
    expected = onnx.reference.ReferenceEvaluator(model).run(None, feeds)[0]
    emit = Emitter("t/")
    write_out_rotary(graph.node, emit)
    graph.node.extend(emit.nodes)
    graph.initializer.extend(emit.constants)
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    np.testing.assert_allclose(onnx.reference.ReferenceEvaluator(plain).run(None, feeds)[0], expected, atol=1e-6)


def test_what_cannot_be_lowered_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [])
    with pytest.raises(ValueError, match="no attention"):
        lower(helper.make_model(graph), "prefill", (), 8)
    with pytest.raises(ValueError, match="no feature called flash"):
        lower(canonical("qwen3", True)[0], "prefill", ("flash",), 8)
    assert attach(*canonical("qwen3", True)).graph.initializer  # the graph itself is untouched and whole
