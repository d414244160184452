"""The decoder on standard operators against PyTorch's probability form, over caches, batches, padding and types."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from small_decoders import (
    FAMILIES,
    LAYERS,
    PADDED,
    PROMPTS,
    Reference,
    compare,
    exported,
    exported_plain,
    feeds_of,
    session,
    with_settings,
)

from mosear.export.graphs.half import half_weights, to_half
from mosear.export.lowering.opsets import declare_opset, lowest_opset
from mosear.export.lowering.standard import lower, lower_encoder
from mosear.export.tensors import attach, detach
from mosear.model.reallocation import Reallocation
from mosear.runtime.manifest import Decoder
from mosear.runtime.sessions.growing import GrowingOnnxRuntime

SETTINGS = {
    "text": Reallocation(0.5, 0.35, layers=LAYERS),
    "last": Reallocation(0.3, 0.2, rows="last", layers=LAYERS),
    "all": Reallocation(0.9, 0.0, rows="all", layers=LAYERS),
}
TOO_NEW = {"Attention", "RMSNormalization", "RotaryEmbedding", "Gelu", "AttentionReallocation", "TensorScatter"}


def lowered(family: str, rows: str, phase: Any, half: bool = False) -> onnx.ModelProto:
    structure, weights = detach(with_settings(exported(family).graph, SETTINGS[rows]))
    if half:
        structure, weights = to_half(structure), half_weights(weights)
    return attach(lower(structure, phase), weights)


@cache
def built(family: str, rows: str = "text", half: bool = False) -> dict[str, onnxruntime.InferenceSession]:
    return {phase: session(lowered(family, rows, phase, half)) for phase in ("prefill", "decode")}


def reference_of(family: str, rows: str = "text") -> Reference:
    return Reference(exported(family).decoder, exported(family).holder, SETTINGS[rows])


class Growing:
    """A graph's cache: what came out goes in again."""

    def __init__(self) -> None:
        self.cache: dict[str, np.ndarray] = {}

    def run(self, runner: onnxruntime.InferenceSession, feeds: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        wanted = {value.name: value for value in runner.get_inputs()}
        values = {name: tensor.numpy() for name, tensor in feeds.items() if name in wanted}
        for name, value in wanted.items():
            if name.startswith("past_"):
                dtype = np.float16 if "float16" in value.type else np.float32
                empty = np.zeros((len(feeds["inputs_embeds"]), value.shape[1], 0, value.shape[3]), dtype)
                values[name] = self.cache.get(name, empty)
        names = [output.name for output in runner.get_outputs()]
        outputs = dict(zip(names, runner.run(None, values), strict=True))
        self.cache = {name.replace("present", "past"): outputs.pop(name) for name in names if "present" in name}
        return outputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_prompt_and_decode_steps(family: str, batch: int) -> None:
    sessions, reference, growing = built(family), reference_of(family), Growing()
    modality, padded = PROMPTS[:batch], PADDED[:batch]
    expected = reference.run(feeds_of(modality, padded, 12))
    compare(growing.run(sessions["prefill"], feeds_of(modality, padded, 12)), expected)
    assert expected["selected"].any()
    assert not expected["selected"].all()
    for step in range(6):
        modality = torch.cat([modality, torch.zeros(batch, 1, dtype=torch.int64)], dim=1)
        token = feeds_of(modality, padded, rows=1, seed=step + 1)
        compare(growing.run(sessions["decode"], token), reference.run(token))
    assert growing.cache["past_key_0"].shape[2] == 18


@pytest.mark.parametrize("rows", SETTINGS)
@pytest.mark.parametrize("batch", [1, 4])
def test_several_rows_on_top_of_a_past(rows: str, batch: int) -> None:
    sessions, reference, growing = built("qwen2", rows), reference_of("qwen2", rows), Growing()
    for start, end in ((0, 2), (2, 7), (7, 12)):
        modality = PROMPTS[:batch, :end].clone()
        # A prompt that is cut inside the padding has rows without any visible key in both worlds: leave it out here.
        modality[:, 0] = 0
        chunk = feeds_of(modality, torch.zeros(batch, dtype=torch.int64), rows=end - start, seed=end)
        compare(growing.run(sessions["prefill"], chunk), reference.run(chunk))
    modality = torch.cat([modality, torch.zeros(batch, 1, dtype=torch.int64)], dim=1)
    step = feeds_of(modality, torch.zeros(batch, dtype=torch.int64), 1, seed=5)
    compare(growing.run(sessions["decode"], step), reference.run(step))


def near(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal but for float16's rounding: shares to 1 %, logits to 2 % of the largest; heads wherever that decides."""
    assert found["logits"].dtype == found["audio_share"].dtype == np.float32
    scale = np.abs(expected["logits"]).max()
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=0.02 * scale, rtol=0)
    for name in ("audio_share", "modality_mass"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.01, rtol=0, err_msg=name)
    clear = np.abs(expected["audio_share"] - SETTINGS["text"].threshold) > 0.01
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found["selected"][clear], expected["selected"][clear])


@pytest.mark.parametrize("family", FAMILIES)
def test_float16(family: str) -> None:
    sessions, reference, growing = built(family, half=True), reference_of(family), Growing()
    modality, zeros = PROMPTS, torch.zeros(4, 1, dtype=torch.int64)
    near(
        growing.run(sessions["prefill"], feeds_of(modality, PADDED, 12)), reference.run(feeds_of(modality, PADDED, 12))
    )
    assert growing.cache["past_key_0"].dtype == np.float16
    for step in range(2):
        modality = torch.cat([modality, zeros], dim=1)
        token = feeds_of(modality, PADDED, 1, seed=step + 1)
        near(growing.run(sessions["decode"], token), reference.run(token))
    modality = torch.cat([modality, *[zeros] * 3], dim=1)
    chunk = feeds_of(modality, PADDED, 3, seed=9)
    near(growing.run(sessions["prefill"], chunk), reference.run(chunk))


@pytest.mark.parametrize("half", [False, True])
def test_the_runtime_runs_it(half: bool, tmp_path: Path) -> None:
    paths = {phase: tmp_path / f"{phase}.onnx" for phase in ("prefill", "decode")}
    for phase, path in paths.items():
        onnx.save(lowered("qwen2", "text", phase, half), path)
    shape = Decoder(
        layers=3, hidden_size=48, heads=6, kv_heads=2, head_dim=8, vocab_size=61, capacity=20, eos_token_ids=[]
    )
    decoder, reference = GrowingOnnxRuntime(1).decoder(*paths.values(), shape), reference_of("qwen2")
    check = near if half else compare
    for turn in range(2):  # the second prompt starts over
        reference.cache, modality = None, PROMPTS
        prompt = feeds_of(modality, PADDED, 12, seed=turn)
        check(decoder.prefill(*(tensor.numpy() for tensor in prompt.values())), reference.run(prompt))
        for step in range(3):
            modality = torch.cat([modality, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
            token = feeds_of(modality, PADDED, 1, seed=step + 7)
            check(decoder.decode(*(tensor.numpy() for tensor in token.values())), reference.run(token))


def test_large_logits_do_not_overflow_float16() -> None:
    sessions, feeds = built("qwen2", half=True), feeds_of(PROMPTS, PADDED, 12)
    structure, weights = detach(exported("qwen2").graph)
    structure, weights = to_half(structure), half_weights(weights)
    name = "model.layers.0.self_attn.k_proj.bias"
    raised = attach(lower(structure, "prefill"), weights)
    tensor = next(entry for entry in raised.graph.initializer if entry.name == name)
    bias = onnx.numpy_helper.to_array(tensor)
    # As in Qwen2's checkpoints: biases so large that q·k leaves float16 before it is scaled.
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(bias, 3e4), name))
    found = Growing().run(session(raised), feeds)
    assert np.isfinite(found["logits"]).all()
    assert np.abs(found["logits"] - Growing().run(sessions["prefill"], feeds)["logits"]).max() > 0


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("half", [False, True])
def test_only_old_standard_operators_are_left(family: str, phase: str, half: bool) -> None:
    model = lowered(family, "text", phase, half)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not TOO_NEW.intersection(node.op_type for node in model.graph.node)
    assert not model.functions
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 15)]
    assert model.ir_version == 8
    # One opset older, and the checker refuses.
    model.opset_import[0].version = 14
    with pytest.raises(Exception, match="Shape"):
        onnx.checker.check_model(model, full_check=True)


def test_names_and_weights_stay() -> None:
    structure, weights = detach(exported("qwen3").graph)
    model = lower(structure, "prefill")
    for field in ("input", "output"):
        before, after = (
            [(value.name, value.type.tensor_type.elem_type) for value in getattr(graph, field)]
            for graph in (structure.graph, model.graph)
        )
        assert after == before
    made = {name for node in model.graph.node for name in node.output}
    assert {f"hidden_{layer}" for layer in range(4)} <= made
    kept = {tensor.name for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL}
    assert kept == set(weights)


def test_keys_are_never_repeated_and_tables_made_once() -> None:
    kinds = [node.op_type for node in lowered("qwen2", "text", "decode").graph.node]
    assert not {"Expand", "Tile", "Gather"}.intersection(kinds)
    assert kinds.count("Cos") == kinds.count("Sin") == 1


def test_the_reference_evaluator_agrees() -> None:
    model, feeds = lowered("qwen3", "text", "prefill"), feeds_of(PROMPTS, PADDED, 12)
    values = {name: tensor.numpy() for name, tensor in feeds.items()}
    for value in model.graph.input:
        if value.name.startswith("past_"):
            _, heads, _, size = (d.dim_value for d in value.type.tensor_type.shape.dim)
            values[value.name] = np.zeros((4, heads, 0, size), np.float32)
    names = [value.name for value in model.graph.output]
    found = dict(zip(names, ReferenceEvaluator(model).run(None, values), strict=True))
    compare(found, reference_of("qwen3").run(feeds))


def test_a_decoder_without_reallocation() -> None:
    decoder, graph = exported_plain()
    model = lower(graph, "prefill")
    onnx.checker.check_model(model, full_check=True)
    assert not {"selected", "audio_share"}.intersection(value.name for value in model.graph.output)
    feeds = feeds_of(PROMPTS[:1], PADDED[:1], 12)
    found = Growing().run(session(model), feeds)["logits"]
    with torch.no_grad():
        expected = decoder(inputs_embeds=feeds["inputs_embeds"], attention_mask=(PROMPTS[:1] >= 0).long())
    np.testing.assert_allclose(found, expected.logits[:, -1:].numpy(), atol=1e-4)


def test_what_has_no_standard_form_is_refused() -> None:
    graph = exported("qwen2").graph
    strange = onnx.ModelProto()
    strange.CopyFrom(graph)
    next(node for node in strange.graph.node if node.op_type == "Sigmoid").domain = "com.example"
    with pytest.raises(ValueError, match=r"com\.example::Sigmoid"):
        lower(strange, "prefill")
    strange.CopyFrom(graph)
    rotary = next(node for node in strange.graph.node if node.op_type == "RotaryEmbedding")
    next(entry for entry in rotary.attribute if entry.name == "interleaved").i = 1
    with pytest.raises(ValueError, match="interleaved"):
        lower(strange, "prefill")
    with pytest.raises(ValueError, match="no attention"):
        lower(lower(graph, "prefill"), "prefill")


class Parts(torch.nn.Module):
    """What encoders are made of: norms, both kinds of GELU, attention, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rms = torch.nn.LayerNorm(8), torch.nn.RMSNorm(8, eps=1e-5)
        self.project = torch.nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(self.rms(self.norm(x))).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        curved = torch.nn.functional.gelu(mixed * 3) + torch.nn.functional.gelu(mixed, approximate="tanh")
        return curved - curved.mean(-1, keepdim=True)


def test_an_encoder() -> None:
    torch.manual_seed(0)
    module, x = Parts().eval(), torch.randn(3, 5, 8)
    shapes = {"x": {0: torch.export.Dim("N"), 1: torch.export.Dim("S")}}
    program = torch.onnx.export(module, (x,), dynamo=True, opset_version=23, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    before = program.model_proto
    assert {"Attention", "Gelu"} <= {node.op_type for node in before.graph.node}
    model = lower_encoder(before)
    onnx.checker.check_model(model, full_check=True)
    assert not TOO_NEW.intersection(node.op_type for node in model.graph.node)
    assert model.opset_import[0].version == 18, "the exporter's mean has its axes as an input"
    (found,) = session(model).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, module(x).detach().numpy(), atol=1e-5)


def test_older_forms_are_renewed_with_the_opset() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[-1], keepdims=1),
        helper.make_node("Split", ["x"], ["a", "b"], axis=-1),
        helper.make_node("Concat", ["b", "a", "m"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5])],
    )
    model = helper.make_model(graph)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    expected = np.concatenate([x[:, 2:], x[:, :2], x.mean(-1, keepdims=True)], axis=1)
    for at_least, version in ((13, 13), (17, 17), (18, 18), (21, 21)):
        declare_opset(model, at_least)
        assert model.opset_import[0].version == version
        onnx.checker.check_model(model, full_check=True)
        np.testing.assert_array_equal(session(model).run(None, {"x": x})[0], expected)
    with pytest.raises(ValueError, match="Nonsense"):
        lowest_opset([helper.make_node("Nonsense", ["x"], ["y"])])
