"""What each part's precision costs, against PyTorch with the same weights rounded."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from scipy.special import softmax
from scipy.stats import entropy
from verification_fakes import random_examples

from mosear.export.checks.prompts import prompt_feeds
from mosear.export.checks.reference import Tokens, encode
from mosear.export.checks.sensitivity import Part, encoder_sensitivity, sensitivity
from mosear.export.graphs.decoder import export_decoder
from mosear.export.graphs.encoders import export_audio, export_vision
from mosear.export.lowering.onnxruntime import lower
from mosear.export.quantization.quantize import quantize
from mosear.export.tensors import Weight, Weights, detach

STEPS = {"int4": 7.0, "int8": 127.0}


def rounded(array: np.ndarray, kind: str) -> np.ndarray:
    """To a grid over the whole tensor: coarse on purpose."""
    scale = np.abs(array).max() / STEPS[kind]
    return (np.round(array / scale) * scale).astype(np.float32)


def round_weights(
    model: ModelProto, weights: Weights, formats: Mapping[str, str], ranges: Any
) -> tuple[ModelProto, Weights]:
    """A quantizer that rounds in place: structure and names stay."""

    def made(weight: Weight, kind: str) -> Weight:
        return Weight(weight.dtype, weight.shape, lambda: rounded(weight.read(), kind))

    changed = {name: made(weights[name], kind) for name, kind in formats.items() if kind in STEPS and name in weights}
    return model, {**weights, **changed}


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., Any]) -> Any:
    torch.set_num_threads(1)
    model = tiny_model(mose=None)
    with torch.no_grad():
        for parameter in model.decoder.model.layers.parameters():
            if parameter.dim() == 2:  # fresh weights are so small that hardly anything reaches the logits
                parameter.normal_(0, 0.25)
    return model


@pytest.fixture(scope="module")
def examples(model: Any) -> Any:
    return random_examples(model, 10)


@pytest.fixture(scope="module")
def canonical(model: Any) -> ModelProto:
    return export_decoder(model.decoder, reallocation=model.reallocation)


@pytest.fixture(scope="module")
def graph(canonical: ModelProto) -> tuple[ModelProto, Weights]:
    return detach(lower(canonical, "prefill"))


@torch.no_grad()
def label_logits(model: Any, tokens: Tokens) -> np.ndarray:
    logits = model(model.sequence(tokens.transcripts, "emotion", tokens.visual, tokens.audio), keep=1)[:, 0]
    return np.asarray(logits[:, [ids[0] for ids in model.label_token_ids()]].double().numpy())


def formats_of(weights: Weights, **kinds: str) -> dict[str, str]:
    """Formats of all matrices, by a part of their name; fp32 for the rest."""
    matrices = [name for name, weight in weights.items() if len(weight.shape) == 2]
    return {name: next((kind for part, kind in kinds.items() if part in name), "fp32") for name in matrices}


def expected_row(exact: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    p, q = softmax(exact, axis=-1), softmax(found, axis=-1)
    return float(np.mean([entropy(*pair) for pair in zip(p, q, strict=True)])), float(np.abs(found - exact).max())


def test_each_layer_alone_is_pytorch_with_that_layer_rounded(model: Any, examples: Any, graph: Any) -> None:
    proto, weights = graph
    formats = formats_of(weights, gate_proj="int8", q_proj="int4")
    feeds = [prompt_feeds(model, examples[:6]), prompt_feeds(model, examples[6:])]
    labels = [ids[0] for ids in model.label_token_ids()]
    done: list[float] = []
    rows = sensitivity(proto, weights, formats, round_weights, feeds, labels, progress=done.append)
    assert {row.part for row in rows} == {"layer 0", "layer 1"}
    assert [row.label_kl for row in rows] == sorted((row.label_kl for row in rows), reverse=True)
    assert done[-1] == 1.0
    tokens = encode(model, examples)
    exact = label_logits(model, tokens)
    for row in rows:
        changed = copy.deepcopy(model)
        layer = changed.decoder.model.layers[int(row.part.split()[1])]
        with torch.no_grad():
            for module, kind in ((layer.mlp.gate_proj, "int8"), (layer.self_attn.q_proj, "int4")):
                module.weight.copy_(torch.from_numpy(rounded(module.weight.numpy(), kind)))
        damage, difference = expected_row(exact, label_logits(changed, tokens))
        assert row.label_kl == pytest.approx(damage, rel=0.02, abs=1e-9)
        assert row.logits_difference == pytest.approx(difference, rel=0.02)
        assert row.format == "int4+int8"
        assert row.weights == layer.mlp.gate_proj.weight.numel() + layer.self_attn.q_proj.weight.numel()
        assert damage > 1e-7, "rounding so coarsely shows"


def test_the_damaged_part_comes_first(model: Any, examples: Any, graph: Any) -> None:
    """Layer 1's weights get an outlier, so that their grid is useless; layer 0 stays well rounded."""
    proto, weights = graph

    def with_outlier(weight: Weight) -> Weight:
        def read() -> np.ndarray:
            array = np.array(weight.read())
            array.flat[0] = 40 * np.abs(array).max()
            return array

        return Weight(weight.dtype, weight.shape, read)

    damaged = {name: with_outlier(weight) if ".1.mlp.down" in name else weight for name, weight in weights.items()}
    feeds = [prompt_feeds(model, examples)]
    formats = formats_of(weights, **{"mlp.down": "int8", "lm_head": "int8"})
    rows = sensitivity(proto, damaged, formats, round_weights, feeds, [10, 11, 12])
    assert rows[0].part == "layer 1"
    assert rows[0].label_kl > 10 * rows[1].label_kl


def test_nothing_to_quantize(model: Any, examples: Any, graph: Any) -> None:
    proto, weights = graph
    feeds = [prompt_feeds(model, examples)]
    assert sensitivity(proto, weights, formats_of(weights), round_weights, feeds, [1, 2]) == ()
    foreign = {"not.in.this.graph": "int8"}
    assert sensitivity(proto, weights, foreign, round_weights, feeds, [1, 2]) == ()

    def leaves_all(proto: Any, weights: Any, formats: Any, ranges: Any) -> Any:
        return proto, dict(weights)

    kept = formats_of(weights, q_proj="int8")
    assert sensitivity(proto, weights, kept, leaves_all, feeds, [1, 2]) == (), "no row for what was left alone"


def test_canonical_and_lowered_graphs_agree(model: Any, examples: Any, graph: Any, canonical: ModelProto) -> None:
    feeds, labels = [prompt_feeds(model, examples)], [20, 21, 22]
    tables = []
    for proto, weights in (graph, detach(canonical)):
        formats = formats_of(weights, up_proj="int4")
        tables.append(sensitivity(proto, weights, formats, round_weights, feeds, labels))
    for ours, theirs in zip(*tables, strict=True):
        assert ours.part == theirs.part
        assert ours.label_kl == pytest.approx(theirs.label_kl, rel=0.02)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_real_quantizer(model: Any, examples: Any, graph: Any, kind: str) -> None:
    """The float weight goes and others come: the whole graph quantized costs about what its parts cost together."""
    proto, weights = graph
    formats = dict.fromkeys(formats_of(weights), kind)
    every = partial(quantize, minimum_size=1)
    feeds = [prompt_feeds(model, examples)]
    rows = {row.part: row for row in sensitivity(proto, weights, formats, every, feeds, [20, 21, 22])}
    assert set(rows) == {"layer 0", "layer 1", "lm_head"}
    assert all(row.format == kind and 0 < row.label_kl < 0.5 for row in rows.values())
    assert rows["layer 0"].weights == sum(w.numel() for w in model.decoder.model.layers[0].parameters() if w.dim() == 2)
    only = {name: kind if ".layers.1." in name else "fp32" for name in formats}
    (alone,) = sensitivity(proto, weights, only, every, feeds, [20, 21, 22])
    assert alone == rows["layer 1"], "what the other parts' formats are does not matter"
    # Weights below the quantizer's own minimum stay float, and then there is nothing to report.
    assert sensitivity(proto, weights, formats, partial(quantize, minimum_size=10**9), feeds, [20, 21, 22]) == ()


@pytest.mark.parametrize("name", ["vision", "audio"])
def test_an_encoder_alone_is_pytorch_with_it_rounded(model: Any, examples: Any, graph: Any, name: str) -> None:
    proto, weights = detach((export_vision if name == "vision" else export_audio)(model))
    projector = model.visual_projector if name == "vision" else model.audio_projector
    matrix = projector.weight.detach().numpy()
    target = [n for n, w in weights.items() if any(np.array_equal(w.read(), m) for m in (matrix, matrix.T))]
    assert len(target) == 1, list(weights)
    encoder = Part(proto, weights, {target[0]: "int4"})
    (row,) = encoder_sensitivity(name, encoder, Part(*graph, {}), round_weights, model, examples)
    changed = copy.deepcopy(model)
    module = changed.visual_projector if name == "vision" else changed.audio_projector
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(rounded(module.weight.numpy(), "int4")))
    exact, found = (label_logits(each, encode(each, examples)) for each in (model, changed))
    damage, difference = expected_row(exact, found)
    assert (row.part, row.format, row.weights) == (name, "int4", projector.weight.numel())
    assert row.label_kl == pytest.approx(damage, rel=0.02)
    assert row.logits_difference == pytest.approx(difference, rel=0.02)
    untouched = Part(proto, weights, {target[0]: "fp32"})
    assert encoder_sensitivity(name, untouched, Part(*graph, {}), round_weights, model, examples) == ()
