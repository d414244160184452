"""Decoders in float16, and decoders without the terms of visual rows."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper, shape_inference
from small_decoders import (
    FAMILIES,
    LAYERS,
    PADDED,
    PROMPTS,
    Reference,
    add_low_rank,
    compare,
    exported,
    feeds_of,
    run_canonical,
    session,
    small_decoder,
)

from mosear.export.graphs.decoder import decoder_weights, trace_decoder
from mosear.export.graphs.half import half_weights, to_half
from mosear.export.graphs.text_only import text_only
from mosear.export.lowering import onnxruntime, standard, tensorrt
from mosear.export.tensors import Weight, Weights, attach, detach, is_placeholder
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import BadInput

SETTINGS = Reallocation(0.5, 0.35, layers=LAYERS)
EPSILON = 2.0**-11
"""Half a unit in the last place of float16, relative."""


@cache
def traced() -> tuple[Any, Any, ModelProto, Weights]:
    """A decoder with low-rank terms as the build has it: every parameter is a placeholder, however small."""
    decoder = small_decoder("qwen3")
    holder = add_low_rank(decoder)
    structure = trace_decoder(decoder, reallocation=SETTINGS)
    return decoder, holder, structure.graph, decoder_weights(decoder, structure)


@cache
def halves(family: str) -> tuple[ModelProto, Weights]:
    graph, weights = detach(exported(family).graph)
    return to_half(graph), half_weights(weights)


def run_half(
    runner: Any, feeds: dict[str, torch.Tensor], cache: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """As `run_canonical`, with a cache in float16."""
    values = {name: tensor.numpy() for name, tensor in feeds.items()}
    for value in runner.get_inputs():
        if value.name.startswith("past_"):
            empty = np.zeros((len(feeds["inputs_embeds"]), value.shape[1], 0, value.shape[3]), np.float16)
            values[value.name] = cache[value.name.replace("past", "present")] if cache else empty
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(None, values), strict=True))


def test_every_weight_is_float16() -> None:
    _, _, graph, weights = traced()
    half, halved = to_half(graph), half_weights(weights)
    stored = {t.name: t.data_type for t in half.graph.initializer if is_placeholder(t)}
    assert stored.keys() == weights.keys() == halved.keys()
    assert len(stored) > 40
    assert set(stored.values()) == {TensorProto.FLOAT16}
    for name, weight in halved.items():
        assert (weight.dtype, weight.shape) == (TensorProto.FLOAT16, weights[name].shape)
        assert weight.read().dtype == np.float16
        np.testing.assert_array_equal(weight.read(), weights[name].read().astype(np.float16))
    inline = [t for t in half.graph.initializer if not is_placeholder(t) and t.data_type == TensorProto.FLOAT]
    readers = {node.op_type for node in half.graph.node for t in inline if t.name in node.input}
    assert [list(t.dims) for t in inline if numpy_helper.to_array(t).size > 1] == [[8]], "the rotary frequencies"
    assert readers <= {"MatMul", "Mul"}, "the way to the angles"


def test_types_fit_and_only_what_must_is_float32() -> None:
    """ONNX's own inference types every value; what it calls float32 lies before the rotary tables or is reported."""
    for family in FAMILIES:
        graph, weights = halves(family)
        whole = attach(graph, weights)
        onnx.checker.check_model(whole)
        inferred = shape_inference.infer_shapes(whole, check_type=True, strict_mode=True)
        types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
        made = {name: node for node in whole.graph.node for name in node.output}
        assert types["hidden_0"] == types["hidden_3"] == TensorProto.FLOAT16
        wide = {name for name, kind in types.items() if kind == TensorProto.FLOAT and name in made}
        angles: set[str] = set()
        waiting = [node.output[0] for node in whole.graph.node if node.op_type in ("Cos", "Sin")]
        assert waiting
        while waiting:
            name = waiting.pop()
            if name in made and name not in angles:
                angles.add(name)
                waiting.extend(made[name].input)
        reported = wide - angles
        assert reported
        for name in reported:
            node = made[name] if made[name].op_type != "Unsqueeze" else made[made[name].input[0]]
            assert node.op_type == "AttentionReallocation", name
            assert name != node.output[0], "what attention puts out is float16"
        ports = {v.name: v.type.tensor_type.elem_type for v in [*whole.graph.input, *whole.graph.output]}
        for name, kind in ports.items():
            if name.startswith(("past_", "present_")):
                assert kind == TensorProto.FLOAT16, name
            elif name in ("position_ids", "key_modality"):
                assert kind == TensorProto.INT64, name
            else:
                assert kind == TensorProto.FLOAT, name


@pytest.mark.parametrize("family", FAMILIES)
def test_close_to_pytorch(family: str) -> None:
    decoder, holder, _ = exported(family)
    graph, weights = halves(family)
    runner, reference = session(attach(graph, weights)), Reference(decoder, holder, SETTINGS)
    modality, cache_of, alike = PROMPTS, None, []
    for step, rows in enumerate((12, 1, 1)):
        if step:
            modality = torch.cat([modality, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
        feeds = feeds_of(modality, PADDED, rows, seed=step)
        expected = reference.run(feeds)
        cache_of = run_half(runner, feeds, cache_of)
        assert cache_of["logits"].dtype == np.float32
        assert cache_of["present_key_0"].dtype == np.float16
        # Rounding errors of the some twenty operations on the way of three layers, at most, add up.
        error = np.abs(cache_of["logits"] - expected["logits"]).max() / np.abs(expected["logits"]).max()
        assert EPSILON / 100 < error < 60 * EPSILON
        share = np.abs(cache_of["audio_share"] - expected["audio_share"]).max()
        assert share < 60 * EPSILON
        clear = np.abs(expected["audio_share"] - SETTINGS.threshold) > 60 * EPSILON
        np.testing.assert_array_equal(cache_of["selected"][clear], expected["selected"][clear])
        alike.append((cache_of["selected"] == expected["selected"]).mean())
        assert 0.05 < expected["selected"].mean() < 0.95
    assert np.mean(alike) > 0.98


def test_the_angles_of_far_positions_keep_float32() -> None:
    """At position 250 a float16 angle would be off by 0.06 radians, and the logits by far more than rounding."""
    decoder, holder, _ = exported("llama")
    graph, weights = halves("llama")
    feeds = feeds_of(PROMPTS, PADDED, 12)
    feeds["position_ids"] = feeds["position_ids"] * 20 + 3
    feeds["inputs_embeds"] = feeds["inputs_embeds"] * 0.5
    expected = Reference(decoder, holder, SETTINGS).run(feeds)["logits"]
    found = run_half(session(attach(graph, weights)), feeds)["logits"]
    assert np.abs(found - expected).max() < 60 * EPSILON * np.abs(expected).max()


@pytest.mark.parametrize("value", [65520.0, -1e6, np.inf, np.nan])
def test_a_weight_that_float16_does_not_hold_is_refused(value: float) -> None:
    _, _, _, weights = traced()
    name = "model.layers.1.mlp.down_proj.weight"

    def read() -> Any:
        values = weights[name].read().copy()
        values[3, 5] = value
        return values

    halved = half_weights(weights | {name: Weight(weights[name].dtype, weights[name].shape, read)})
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.down_proj\.weight holds values"):
        halved[name].read()
    halved["model.layers.0.mlp.down_proj.weight"].read()


def test_the_largest_and_smallest_values_are_kept() -> None:
    values = np.array([[65504.0, -65504.0, 6e-8, 1e-12]], np.float32)
    weight = half_weights({"w": Weight(TensorProto.FLOAT, (1, 4), lambda: values)})["w"]
    np.testing.assert_array_equal(weight.read(), np.array([[65504, -65504, 6e-8, 0]], np.float16))


def test_other_types_and_the_graph_itself_stay() -> None:
    _, _, graph, _ = traced()
    before = graph.SerializeToString(deterministic=True)
    to_half(graph)
    assert graph.SerializeToString(deterministic=True) == before
    packed = Weight(TensorProto.INT4, (4, 2), lambda: np.zeros(4, np.uint8))
    assert half_weights({"packed": packed}) == {"packed": packed}


def test_decoding_without_the_visual_terms() -> None:
    """A text-only graph is the merged model wherever no row is visual, on a past with visual rows too."""
    decoder, holder, graph, weights = traced()
    plain = text_only(graph)
    names = {tensor.name for tensor in plain.graph.initializer}
    assert not [name for name in names if (".down." in name and ".self_attn." in name) or ".up." in name]
    dropped = {tensor.name for tensor in graph.graph.initializer} - names
    terms = {f"model.layers.{layer}.self_attn.{p}_proj.{t}.weight" for layer in range(3) for p in "qv" for t in ("down", "up")}  # fmt: skip # noqa: E501
    assert {name for name in dropped if name in weights} == terms
    reference = Reference(decoder, holder, SETTINGS)
    prompt, step = session(attach(graph, weights)), session(attach(plain, weights))
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found = run_canonical(prompt, feeds)
    compare(found, reference.run(feeds))
    modality = PROMPTS
    for kind in (0, 2, 0):
        modality = torch.cat([modality, torch.full((4, 1), kind)], dim=1)
        feeds = feeds_of(modality, PADDED, 1, seed=kind + 1)
        found = run_canonical(step, feeds, found)
        compare(found, reference.run(feeds))


def test_a_visual_row_would_need_them() -> None:
    decoder, holder, graph, weights = traced()
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found = run_canonical(session(attach(text_only(graph), weights)), feeds)["logits"]
    expected = Reference(decoder, holder, SETTINGS).run(feeds)["logits"]
    with_video = (PROMPTS == 1).any(1).numpy()
    assert (np.abs(found - expected).max(axis=(1, 2)) > 0.01).tolist() == with_video.tolist()


def test_a_decoder_without_terms_stays_whole() -> None:
    plain = text_only(traced()[2])
    assert text_only(plain).SerializeToString(deterministic=True) == plain.SerializeToString(deterministic=True)


LOWERINGS: dict[str, Callable[[ModelProto, Any], ModelProto]] = {
    "standard": standard.lower,
    "onnxruntime": onnxruntime.lower,
    "tensorrt": lambda model, phase: tensorrt.lower(model, phase, tensorrt.decoder.FEATURES, 32),
    "tensorrt, plain": lambda model, phase: tensorrt.lower(model, phase, (), 32),
}


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("half", [False, True])
def test_hidden_states_keep_their_names(lowering: str, half: bool) -> None:
    _, _, graph, _ = traced()
    for phase, structure in (("prefill", graph), ("decode", text_only(graph))):
        lowered = LOWERINGS[lowering](to_half(structure) if half else structure, phase)
        names = [name for node in lowered.graph.node for name in node.output if name.startswith("hidden_")]
        assert sorted(names) == ["hidden_0", "hidden_1", "hidden_2", "hidden_3"]
        read = {name for node in lowered.graph.node for name in node.input}
        assert {"hidden_0", "hidden_1", "hidden_2"} <= read
