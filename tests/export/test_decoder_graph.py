"""The canonical decoder graph: its contract, and its equality with PyTorch."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
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
    run_canonical,
    session,
    small_decoder,
    with_settings,
)
from torch import nn

from mosear.export.graphs.decoder import export_decoder
from mosear.export.graphs.low_rank import VisualLowRankLinear
from mosear.model.experts import TokenModality
from mosear.model.reallocation import Reallocation

SETTINGS = Reallocation(0.5, 0.35, layers=LAYERS)


def sites(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node if node.op_type in ("AttentionReallocation", "Attention")]


@pytest.mark.parametrize("family", FAMILIES)
def test_prefill_and_steps_equal_pytorch(family: str) -> None:
    decoder, holder, graph = exported(family)
    onnx.checker.check_model(graph)
    runner, reference = session(graph), Reference(decoder, holder, SETTINGS)
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found = run_canonical(runner, feeds)
    compare(found, reference.run(feeds))
    modality = PROMPTS
    for step in range(3):
        modality = torch.cat([modality, torch.zeros(4, 1, dtype=torch.int64)], dim=1)
        feeds = feeds_of(modality, PADDED, 1, seed=step + 1)
        found = run_canonical(runner, feeds, found)
        compare(found, reference.run(feeds))


def test_one_sample_one_token_and_no_past() -> None:
    decoder, holder, graph = exported("qwen2")
    feeds = feeds_of(torch.tensor([[0]]), torch.tensor([0]), 1)
    compare(run_canonical(session(graph), feeds), Reference(decoder, holder, SETTINGS).run(feeds))


def test_the_decode_graph_has_the_same_weights_and_no_low_rank_node() -> None:
    prefill, decode = exported("qwen2").graph, exported("qwen2", low_rank=False).graph
    weights = [
        {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
        for graph in (prefill, decode)
    ]
    named = [{name for name, array in group.items() if array.ndim} for group in weights]
    assert named[1] < named[0]
    assert {name.split(".")[-2] for name in named[0] - named[1]} == {"down", "up"}
    for name in named[1]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    feeds = feeds_of(torch.where(PROMPTS == 1, 0, PROMPTS), PADDED, 12)
    on_text = [run_canonical(session(graph), feeds)["logits"] for graph in (prefill, decode)]
    np.testing.assert_allclose(on_text[0], on_text[1], atol=1e-4)
    feeds = feeds_of(PROMPTS, PADDED, 12)
    with_video = [run_canonical(session(graph), feeds)["logits"] for graph in (prefill, decode)]
    assert np.abs(with_video[0] - with_video[1]).max() > 0.01


def test_the_contract_of_names_and_shapes() -> None:
    graph = exported("qwen2").graph.graph

    def shapes(values: object) -> dict[str, list]:
        return {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in values  # type: ignore[attr-defined]
        }

    cache = [f"{kind}_{layer}" for layer in range(3) for kind in ("key", "value")]
    assert shapes(graph.input) == {
        "inputs_embeds": ["batch", "sequence", 48],
        "position_ids": ["batch", "sequence"],
        "key_modality": ["batch", "total"],
    } | {f"past_{name}": ["batch", 2, "past", 8] for name in cache}
    assert shapes(graph.output) == {
        "logits": ["batch", 1, 61],
        "audio_share": ["batch", 2, 6],
        "selected": ["batch", 2, 6],
        "modality_mass": ["batch", 2, 6, 3],
    } | {f"present_{name}": ["batch", 2, "total", 8] for name in cache}
    assert sites(exported("qwen2").graph) == ["AttentionReallocation", "Attention", "AttentionReallocation"]


def test_weights_have_the_names_of_parameters() -> None:
    decoder, _, graph = exported("qwen2")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for name, parameter in decoder.named_parameters():
        if name == "model.embed_tokens.weight":
            assert name not in stored
            continue
        expected = parameter.detach().numpy()
        np.testing.assert_array_equal(stored[name], expected.T if expected.ndim == 2 else expected, err_msg=name)


def test_nothing_of_the_exporting_machine_is_left_in_the_graph() -> None:
    blob = exported("qwen2").graph.SerializeToString()
    assert b"site-packages" not in blob
    assert b".py" not in blob


@pytest.mark.parametrize("rows", ["text", "last", "all"])
def test_the_reference_evaluator_runs_the_whole_graph(rows: str) -> None:
    graph = with_settings(exported("qwen2").graph, Reallocation(0.7, 0.2, rows=rows))  # type: ignore[arg-type]
    feeds = {name: tensor.numpy() for name, tensor in feeds_of(PROMPTS, PADDED, 12).items()}
    empty = {v.name: np.zeros((4, 2, 0, 8), np.float32) for v in graph.graph.input if v.name.startswith("past")}
    names = [value.name for value in graph.graph.output]
    found = dict(zip(names, ReferenceEvaluator(graph).run(None, feeds | empty), strict=True))
    compare(found, run_canonical(session(graph), feeds_of(PROMPTS, PADDED, 12)))


def test_export_leaves_the_decoder_as_it_was() -> None:
    decoder, _, _ = exported("qwen2", low_rank=False)
    assert decoder.config._attn_implementation == "mosear"
    assert all(parameter.untyped_storage().size() >= parameter.nbytes for parameter in decoder.parameters())


def test_a_tied_vocabulary_is_stored_once() -> None:
    decoder, graph = exported_plain()
    assert "audio_share" not in {value.name for value in graph.graph.output}
    assert sites(graph) == ["Attention", "Attention"]
    table = decoder.model.embed_tokens.weight.detach().numpy()
    matching = [t.name for t in graph.graph.initializer if sorted(t.dims) == sorted(table.shape)]
    assert matching == ["lm_head.weight"]


def test_decoders_that_cannot_be_exported_are_refused() -> None:
    with pytest.raises(ValueError, match="sliding_attention"):
        export_decoder(small_decoder("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1))
    with pytest.raises(ValueError, match="layer 7 does not exist"):
        export_decoder(small_decoder("llama"), reallocation=Reallocation(0.5, 0.5, layers=(7,)))


def test_low_rank_rows() -> None:
    base, holder = nn.Linear(6, 4), TokenModality()
    weight, down, up = torch.randn(4, 6), torch.randn(2, 6), torch.randn(4, 2)
    module = VisualLowRankLinear(base, weight, down, up, holder)
    x = torch.randn(1, 3, 6)
    holder.value = torch.tensor([[0, 1, 2]])
    plain = x @ weight.T + base.bias
    expected = plain.clone()
    expected[:, 1] += x[:, 1] @ down.T @ up.T
    torch.testing.assert_close(module(x), expected)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    with pytest.raises(ValueError, match="shapes"):
        VisualLowRankLinear(base, weight, up, down, holder)
