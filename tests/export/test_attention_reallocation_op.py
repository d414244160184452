"""The operator's body on standard ops, in two runtimes, against the probability form."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from small_decoders import session

from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE, VERSION, function, schema
from mosear.model.reallocation import MASKED, Reallocation, probability_attention

ROWS = ("text", "last", "all")
SCALE = 8**-0.5


def single_node(reallocation: Reallocation, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    def value(name: str, *shape: Any, kind: int = kind) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, list(shape))

    node = helper.make_node(
        OP_TYPE,
        ["query", "key", "value", "mask", "key_modality"],
        ["output", "audio_share", "selected", "modality_mass"],
        domain=DOMAIN,
        scale=SCALE,
        rate=reallocation.rate,
        threshold=reallocation.threshold,
        rows=reallocation.rows,
    )
    graph = helper.make_graph(
        [node],
        "one",
        [
            value("query", "B", "Hq", "S", 8),
            value("key", "B", "Hkv", "T", 8),
            value("value", "B", "Hkv", "T", 8),
            value("mask", "B", 1, "S", "T"),
            value("key_modality", "B", "T", kind=TensorProto.INT64),
        ],
        [
            value("output", "B", "Hq", "S", 8),
            value("audio_share", "B", "Hq", kind=TensorProto.FLOAT),
            value("selected", "B", "Hq", kind=TensorProto.FLOAT),
            value("modality_mass", "B", "Hq", 3, kind=TensorProto.FLOAT),
        ],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, functions=[function(reallocation.rows)], opset_imports=opsets, ir_version=10)


def inputs(seed: int, heads: tuple[int, int], rows: int, modality: list[list[int]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(modality)
    batch, keys = ids.shape
    causal = torch.arange(keys)[None] <= torch.arange(rows)[:, None] + keys - rows
    visible = causal[None] & (ids >= 0)[:, None]
    return {
        "query": torch.randn(batch, heads[0], rows, 8, generator=generator) * 2,
        "key": torch.randn(batch, heads[1], keys, 8, generator=generator),
        "value": torch.randn(batch, heads[1], keys, 8, generator=generator),
        "mask": torch.where(visible, 0.0, MASKED)[:, None],
        "key_modality": ids,
    }


def check(found: list[np.ndarray], feeds: dict[str, torch.Tensor], reallocation: Reallocation) -> None:
    ids = feeds["key_modality"]
    output, decision = probability_attention(
        feeds["query"], feeds["key"], feeds["value"], feeds["mask"], ids, SCALE, reallocation
    )
    if ((decision.audio_share - reallocation.threshold).abs() < 1e-4).any():
        return
    real = (ids[:, -output.shape[2] :] >= 0)[:, None, :, None].expand_as(output).numpy()
    np.testing.assert_allclose(found[0][real], output.numpy()[real], atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(found[1], decision.audio_share.numpy(), atol=1e-5)
    np.testing.assert_array_equal(found[2], decision.selected.float().numpy())
    np.testing.assert_allclose(found[3], decision.modality_mass.numpy(), atol=1e-5)


RUNNERS = {
    (rate, rows): session(single_node(Reallocation(rate, 0.4, rows=rows)))  # type: ignore[arg-type]
    for rate in (0.0, 0.7)
    for rows in ROWS
}


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_onnxruntime_runs_the_body(data: st.DataObject) -> None:
    (rate, rows), runner = data.draw(st.sampled_from(list(RUNNERS.items())))
    key_heads, keys = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    kinds = st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=keys - 1, max_size=keys - 1)
    modality = [[*data.draw(kinds), data.draw(st.sampled_from([0, 1]))] for _ in range(data.draw(st.integers(1, 3)))]
    heads = (key_heads * data.draw(st.integers(1, 3)), key_heads)
    feeds = inputs(data.draw(st.integers(0, 1000)), heads, data.draw(st.integers(1, keys)), modality)
    found = runner.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})
    check(found, feeds, Reallocation(rate, 0.4, rows=rows))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", ROWS)
def test_the_reference_evaluator_runs_the_body(rows: Any) -> None:
    reallocation = Reallocation(0.6, 0.4, rows=rows)
    evaluator = ReferenceEvaluator(single_node(reallocation))
    for heads, count in (((4, 2), 3), ((3, 3), 6), ((4, 1), 1)):
        feeds = inputs(count, heads, count, [[0, 1, 2, 1, 0, 0], [-1, 2, 0, 1, 0, 0], [0, 1, -1, 1, 0, 0]])
        check(evaluator.run(None, {name: tensor.numpy() for name, tensor in feeds.items()}), feeds, reallocation)


def test_half_precision_keeps_its_telemetry_in_float32() -> None:
    reallocation = Reallocation(0.6, 0.4)
    feeds = inputs(3, (4, 2), 3, [[0, 1, 2, 1, 0, 0]])
    halves = {name: t.half() if t.is_floating_point() else t for name, t in feeds.items()}
    model = single_node(reallocation, TensorProto.FLOAT16)
    found = ReferenceEvaluator(model).run(None, {name: tensor.numpy() for name, tensor in halves.items()})
    assert found[0].dtype == np.float16
    assert found[3].dtype == np.float32
    exact, decision = probability_attention(
        *(halves[name].float() for name in ("query", "key", "value", "mask")),
        feeds["key_modality"],
        SCALE,
        reallocation,
    )
    np.testing.assert_allclose(found[0], exact.numpy(), atol=2e-2)
    np.testing.assert_allclose(found[3], decision.modality_mass.numpy(), atol=1e-5)


def test_the_model_passes_the_checker_and_names_no_string_inside() -> None:
    onnx.checker.check_model(single_node(Reallocation(0.5, 0.5)), full_check=True)
    for rows in ROWS:
        body = function(rows)  # type: ignore[arg-type]
        assert not [node for node in body.node if any(entry.name == "value_string" for entry in node.attribute)]
        assert {opset.version for opset in body.opset_import} == {23}


def test_the_schema_fits_the_body() -> None:
    found = schema()
    body = function("text")
    assert [entry.name for entry in found.inputs] == list(body.input)
    assert [entry.name for entry in found.outputs] == list(body.output)
    assert set(found.attributes) == set(body.attribute)
    assert (found.domain, found.name, found.since_version) == (body.domain, body.name, VERSION)
