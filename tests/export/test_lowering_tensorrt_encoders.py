"""Encoders lowered for TensorRT: equal to the graphs they come from, and compiled by the real TensorRT-RTX."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tensorrt_decoders import FORMS, exact_session

from mosear.export.graphs.encoders import export_audio, export_vision
from mosear.export.lowering.tensorrt import lower_encoder
from mosear.runtime.engines.builder import build_engine
from mosear.runtime.engines.library import open_library
from mosear.runtime.engines.profiles import Limits


@cache
def model_of(make: Callable[..., Any]) -> Any:
    # Heads of 16: TensorRT's own attention has kernels for them.
    vision = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "hidden_size": 32}
    vision |= {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return make(vision=vision)


@cache
def graph_of(make: Callable[..., Any], which: str, half: bool) -> onnx.ModelProto:
    return {"vision": export_vision, "audio": export_audio}[which](model_of(make), half=half)


def media(graph: onnx.ModelProto) -> np.ndarray:
    random = np.random.default_rng(0)
    kind = graph.graph.input[0].type.tensor_type
    shape = [2, *(each.dim_value for each in kind.shape.dim[1:])]
    if kind.elem_type == TensorProto.UINT8:
        return random.integers(0, 256, shape, dtype=np.uint8)
    return (random.normal(size=shape) * 0.1).astype(np.float32)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("which", ["vision", "audio"])
def test_a_lowered_encoder_is_equal_and_builds(
    tmp_path: Path, tiny_model: Callable[..., Any], which: str, half: bool
) -> None:
    graph = graph_of(tiny_model, which, half)
    given = media(graph)
    name = graph.graph.input[0].name
    model = model_of(tiny_model)
    with torch.no_grad():
        encoder, projector = (
            (model.vision, model.visual_projector) if which == "vision" else (model.audio, model.audio_projector)
        )
        expected = projector(encoder(torch.from_numpy(given))).numpy()
    for form in ("native", "plain"):
        lowered = lower_encoder(graph, FORMS[form])
        onnx.checker.check_model(lowered, full_check=True)
        found = exact_session(lowered).run(None, {name: given})[0]
        assert np.abs(found - expected).max() < (0.02 if half else 1e-4) * np.abs(expected).max()
        kinds = {node.op_type for node in lowered.graph.node}
        assert ("Attention" in kinds) == (form == "native" and half and which == "vision")
        assert [opset.version for opset in lowered.opset_import] == [23 if "Attention" in kinds else 21]
        pytest.importorskip("tensorrt_rtx")
        onnx.save(lowered, tmp_path / f"{which}.onnx")
        # Turing has no product in float32: there, and only there, float16 is needed.
        capabilities = ["7.5", "8.6", "8.9", "12.0"] if half else ["8.6", "12.0"]
        built = build_engine(
            open_library("tensorrt_rtx"), tmp_path / f"{which}.onnx", Limits(4, 32, 64, 3), capabilities
        )
        assert len(memoryview(built.engine)) > 10_000


def test_frames_are_cast_before_they_are_moved(tiny_model: Callable[..., Any]) -> None:
    lowered = lower_encoder(graph_of(tiny_model, "vision", True), ())
    readers = [node.op_type for node in lowered.graph.node if "frames" in node.input]
    assert set(readers) <= {"Cast", "Shape"}
    assert lowered.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


@pytest.mark.parametrize("masked", [False, True])
def test_attention_written_out_is_the_operator(masked: bool) -> None:
    names = ["q", "k", "v"] + ["m"] * masked
    shapes = {"q": [2, 3, 5, 8], "k": [2, 3, 7, 8], "v": [2, 3, 7, 8], "m": [2, 1, 5, 7], "y": [2, 3, 5, 8]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    node = helper.make_node("Attention", names, ["y"], scale=0.7)
    graph = helper.make_graph([node], "g", [values[name] for name in names], [values["y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    random = np.random.default_rng(0)
    feeds = {name: random.normal(size=shapes[name]).astype(np.float32) for name in names}
    expected = onnx.reference.ReferenceEvaluator(model).run(None, feeds)[0]
    lowered = lower_encoder(model, ())
    np.testing.assert_allclose(onnx.reference.ReferenceEvaluator(lowered).run(None, feeds)[0], expected, atol=1e-5)
    causal = helper.make_node("Attention", names, ["y"], scale=0.7, is_causal=1)
    del model.graph.node[:]
    model.graph.node.append(causal)
    with pytest.raises(ValueError, match="not of the kind"):
        lower_encoder(model, ())
