"""Executions folded by graph, layer and operator, by hand."""

from pathlib import Path

import pytest
from runtime_fakes import open_bundle

from mosear.runtime.profiling.operators_fold import Totals, graph_names, layer_of
from mosear.runtime.profiling.record import Operator


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("layers.3/MatMul_0", 3),
        ("layers.12/Mul_0/QuickGeluFusion/", 12),
        ("MatMul_With_Transpose_FusedMatMul(layers.0/MatMul_1)", 0),
        ("layers.1/MatMul_0 + layers.1/Add_0", 1),
        ("layers.1/Add_2 + layers.2/SimplifiedLayerNormalization_0", None),
        ("{ForeignNode[layers.0/MatMul_0...layers.7/Add_1]}", None),
        ("Reformatting CopyNode for Input Tensor 0 to layers.4/Conv_0", 4),
        ("shared/Cos_0", None),
        ("head/MatMul_0", None),
        ("lowered/node_Reshape_102", None),
        ("conv_layers.3/Conv_0", None),
        ("encoder.layers.3.fc1", None),
        ("", None),
    ],
)
def test_the_layer_is_what_the_name_tells(node: str, layer: int | None) -> None:
    assert layer_of(node) == layer


def test_sums_are_a_run_and_the_most_expensive_comes_first() -> None:
    totals = Totals()
    for execution in (
        ("prefill", "layers.0/MatMul_0", "MatMul", 1.0),
        ("prefill", "layers.0/MatMul_1", "MatMul", 2.0),
        ("prefill", "layers.0/MatMul_0", "MatMul", 5.0),
        ("prefill", "layers.1/MatMul_0", "MatMul", 30.0),
        ("decode", "layers.0/MatMul_0", "MatMul", 0.5),
        ("decode", "shared/Cos_0", "Cos", 0.25),
        ("decode", "anything", "Cos", 0.25),
    ):
        totals.add(*execution)
    assert totals.operators(4) == [
        Operator("prefill", 1, "MatMul", calls=0.25, ms=7.5),
        Operator("prefill", 0, "MatMul", calls=0.75, ms=2.0),
        Operator("decode", None, "Cos", calls=0.5, ms=0.125),
        Operator("decode", 0, "MatMul", calls=0.25, ms=0.125),
    ]
    assert Totals().operators(3) == []


def test_one_file_for_both_phases_has_two_names(tmp_path: Path) -> None:
    apart = open_bundle(tmp_path / "apart")
    assert {path.name: names for path, names in graph_names(apart).items()} == {
        "vision.onnx": ("vision", "vision"),
        "audio.onnx": ("audio", "audio"),
        "decoder_prefill.onnx": ("prefill", "prefill"),
        "decoder_decode.onnx": ("decode", "decode"),
    }
    graphs = apart.manifest.graphs.model_copy(update={"decode": "decoder_prefill.onnx", "labels": "labels.onnx"})
    object.__setattr__(apart, "manifest", apart.manifest.model_copy(update={"graphs": graphs}))
    names = graph_names(apart)
    assert names[apart.path / "decoder_prefill.onnx"] == ("prefill", "decode")
    assert names[apart.path / "labels.onnx"] == ("prefill", "prefill")
