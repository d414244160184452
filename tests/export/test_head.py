"""The head that is cut down to the labels' first tokens: the same logits, the same label scores, far fewer weights."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from small_decoders import PADDED, PROMPTS, StaticCache, exported, exported_plain, feeds_of, session

from mosear.export.lowering.head import prune_head
from mosear.export.lowering.onnxruntime import lower
from mosear.export.quantization.quantize import quantize
from mosear.export.tensors import Weight, attach, detach
from mosear.runtime.decoder import Decoder, PromptRows
from mosear.runtime.manifest import Decoder as Shape
from mosear.runtime.manifest import Label
from mosear.runtime.scores import label_scores

TOKENS = [17, 3, 60, 0]


@pytest.mark.parametrize("lowered_first", [True, False])
def test_the_columns_of_the_whole_head(lowered_first: bool) -> None:
    structure, weights = detach(exported("qwen2").graph)
    if lowered_first:
        pruned, fewer = prune_head(lower(structure, "prefill"), weights, TOKENS)
    else:
        pruned, fewer = prune_head(structure, weights, TOKENS)
        pruned = lower(pruned, "prefill")
    feeds = feeds_of(PROMPTS, PADDED, 12)
    whole, cut = (
        session(attach(model, held)) for model, held in ((lower(structure, "prefill"), weights), (pruned, fewer))
    )
    expected = StaticCache(whole, 4, 16).run(whole, feeds)
    found = StaticCache(cut, 4, 16).run(cut, feeds)
    assert found["logits"].shape == (4, 1, len(TOKENS))
    np.testing.assert_allclose(found["logits"], expected["logits"][..., TOKENS], atol=1e-5)
    np.testing.assert_array_equal(found["selected"], expected["selected"])
    assert "lm_head.weight" not in fewer
    assert "lm_head.weight" in weights


def test_a_tied_head_is_cut_too_and_stays_float_in_an_int8_graph() -> None:
    structure, weights = detach(exported_plain()[1])
    pruned, fewer = prune_head(lower(structure, "prefill"), weights, TOKENS)
    quantized, left = quantize(pruned, fewer, dict.fromkeys(weights, "int8"), minimum_size=1000)
    heads = [tensor for tensor in quantized.graph.initializer if tensor.name.endswith(".labels")]
    assert [(list(tensor.dims), tensor.data_type) for tensor in heads] == [([48, 4], TensorProto.FLOAT)]
    assert sum(name.endswith(".int8") for name in left) > 4


def projection(kind: str) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    random = np.random.default_rng(0)
    weight, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((300, 8), (300,)))
    if kind == "gemm":
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["logits"], transB=1)]
    else:
        weight = weight.T
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["b", "product"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["logits"], to=TensorProto.FLOAT),
        ]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(weight), "w"), numpy_helper.from_array(bias, "b")]
    shape = [1, 8] if kind == "gemm" else ["B", 1, 8]
    outputs = [value("logits", TensorProto.FLOAT, [*shape[:-1], 300] if kind != "gemm" else [1, 1, 300])]
    if kind == "gemm":
        nodes[0].output[0] = "flat"
        nodes.append(helper.make_node("Cast", ["flat"], ["logits"], to=TensorProto.FLOAT))
        outputs = [value("logits", TensorProto.FLOAT, ["B", "S", 300])]
    graph = helper.make_graph(nodes, "head", [value("x", TensorProto.FLOAT, shape)], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("kind", ["matmul", "gemm"])
def test_a_bias_is_cut_with_it_and_only_what_is_wanted_is_read(kind: str) -> None:
    model = projection(kind)
    structure, weights = detach(model)
    read: list[str] = []

    def watched(name: str, weight: Weight) -> Weight:
        return Weight(weight.dtype, weight.shape, lambda: (read.append(name), weight.read())[1])

    seen = {name: watched(name, weight) for name, weight in weights.items()}
    pruned, fewer = prune_head(structure, seen, [299, 5])
    assert not read
    x = np.random.default_rng(1).standard_normal((1, 8) if kind == "gemm" else (3, 1, 8)).astype(np.float32)
    found, expected = (session(each).run(["logits"], {"x": x})[0] for each in (attach(pruned, fewer), model))
    np.testing.assert_allclose(found, expected[..., [299, 5]], atol=1e-6)


@pytest.mark.parametrize("tokens", [[], [61], [-1], [4, 4]])
def test_tokens_that_cannot_be(tokens: list[int]) -> None:
    structure, weights = detach(exported("qwen2").graph)
    with pytest.raises(ValueError, match="label tokens must differ and lie in the vocabulary of 61"):
        prune_head(structure, weights, tokens)


def test_a_graph_that_ends_otherwise_is_refused() -> None:
    value = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, 2])
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["logits"])], "g", [taken], [value])
    with pytest.raises(ValueError, match="no product with a constant weight"):
        prune_head(helper.make_model(graph), {}, [0])


class Graphs:
    """A decoder session over two lowered graphs that share one cache, as the runtime's, without its files."""

    def __init__(self, prefill: onnx.ModelProto, decode: onnx.ModelProto) -> None:
        self.graphs = {"prefill": session(prefill), "decode": session(decode)}
        self.cache: StaticCache

    def prefill(self, embeds: np.ndarray, positions: np.ndarray, modality: np.ndarray) -> dict[str, np.ndarray]:
        self.cache = StaticCache(self.graphs["prefill"], len(embeds), 24)
        return self._run("prefill", embeds, positions, modality)

    def decode(self, embeds: np.ndarray, positions: np.ndarray, modality: np.ndarray) -> dict[str, np.ndarray]:
        return self._run("decode", embeds, positions, modality)

    def repeat(self, times: int) -> None:
        old = self.cache.buffers
        self.cache = StaticCache(self.graphs["decode"], len(next(iter(old.values())).numpy()) * times, 24)
        for name, buffer in self.cache.buffers.items():
            buffer.update_inplace(np.repeat(old[name].numpy(), times, axis=0))

    def _run(self, phase: str, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        names = ("inputs_embeds", "position_ids", "key_modality")
        feeds = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in zip(names, arrays, strict=True)}
        return self.cache.run(self.graphs[phase], feeds)


LABELS = {
    "one token each": [[17], [3], [60], [0]],
    "longer ones": [[17, 5, 9], [3], [60, 2], [0, 1, 7]],
    "the same first token": [[17, 5], [3], [17, 9, 4], [60], [0]],
}


@pytest.mark.parametrize("spelled", LABELS.values(), ids=LABELS)
def test_label_scores_are_those_of_the_whole_head(spelled: list[list[int]]) -> None:
    structure, weights = detach(exported("qwen2").graph)
    plain, decode_weights = detach(exported("qwen2", low_rank=False).graph)
    whole, decode = attach(lower(structure, "prefill"), weights), attach(lower(plain, "decode"), decode_weights)
    cut = attach(*prune_head(lower(structure, "prefill"), weights, TOKENS))
    shape = Shape(
        layers=3, hidden_size=48, heads=6, kv_heads=2, head_dim=8, vocab_size=61, capacity=24, eos_token_ids=[]
    )
    embedding = np.random.default_rng(5).standard_normal((61, 48)).astype(np.float32)
    rows = PromptRows(feeds_of(PROMPTS[:3], PADDED[:3], 12)["inputs_embeds"].numpy(), PROMPTS[:3].numpy())
    labels = [Label(name=str(place), token_ids=ids) for place, ids in enumerate(spelled)]
    scores = []
    for prefill, columns in ((whole, None), (cut, TOKENS)):
        decoder = Decoder(Graphs(prefill, decode), shape, embedding, columns)
        logits = decoder.prefill(rows)["logits"]
        scores.append(label_scores(decoder.score_labels(rows, logits, labels), 1.3))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)
    assert np.ptp(scores[0], axis=1).min() > 0.01
