"""The decoder session with a growing cache, on a toy graph whose truth is one line of NumPy without any cache."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.manifest import Decoder
from mosear.runtime.sessions.growing import GrowingDecoderSession, GrowingOnnxRuntime

D, V = 4, 5
OUT = np.random.default_rng(0).normal(size=(D, V)).astype(np.float32)
SHAPE = Decoder(layers=2, hidden_size=D, heads=1, kv_heads=1, head_dim=D, vocab_size=V, capacity=9, eos_token_ids=[])


def toy(path: Path, kind: int, without: str = "") -> Path:
    """Keys and values are the embeddings, doubled in layer 1; logits are the projected sum of all that was seen."""
    names = [f"{part}_{layer}" for layer in (0, 1) for part in ("key", "value")]
    nodes = [
        helper.make_node("Cast", ["inputs_embeds"], ["small"], to=kind),
        helper.make_node("Unsqueeze", ["small", "one"], ["new_0"]),
        helper.make_node("Add", ["new_0", "new_0"], ["new_1"]),
        *(helper.make_node("Concat", [f"past_{n}", f"new_{n[-1]}"], [f"present_{n}"], axis=2) for n in names),
        helper.make_node("Sum", [f"present_{name}" for name in names], ["all"]),
        helper.make_node("Cast", ["all"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["wide", "axes"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "out"], ["logits"]),
        helper.make_node("Cast", ["key_modality"], ["modality"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["position_ids"], ["positions"], to=TensorProto.FLOAT),
    ]
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    make = helper.make_tensor_value_info
    inputs = [
        make("inputs_embeds", floats, ["b", "s", D]),
        make("position_ids", ints, ["b", "s"]),
        make("key_modality", ints, ["b", "t"]),
        *(make(f"past_{name}", kind, ["b", 1, "p", D]) for name in names),
    ]
    outputs = [
        make("modality", floats, ["b", "t"]),
        *(make(f"present_{name}", kind, ["b", 1, "t", D]) for name in names if name != without),
        make("logits", floats, ["b", 1, V]),
        make("positions", floats, ["b", "s"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([2], np.int64), "axes"),
        numpy_helper.from_array(OUT, "out"),
    ]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    return path


def step(embeds: np.ndarray, seen: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batch, rows, _ = embeds.shape
    positions = np.repeat(np.arange(seen, seen + rows)[None], batch, axis=0)
    return embeds, positions, np.repeat(np.arange(seen + rows)[None], batch, axis=0)


def truth(embeds: np.ndarray) -> np.ndarray:
    return 6 * embeds.sum(axis=1, keepdims=True) @ OUT


def opened(folder: Path, kind: int = TensorProto.FLOAT) -> GrowingDecoderSession:
    return GrowingOnnxRuntime(1).decoder(toy(folder / "p.onnx", kind), toy(folder / "d.onnx", kind), SHAPE)


@pytest.mark.parametrize(("kind", "tolerance"), [(TensorProto.FLOAT, 1e-5), (TensorProto.FLOAT16, 0.05)])
def test_prompt_steps_and_a_new_prompt(kind: int, tolerance: float, tmp_path: Path) -> None:
    session, random = opened(tmp_path, kind), np.random.default_rng(1)
    for batch in (1, 3):
        embeds = random.normal(size=(batch, 7, D)).astype(np.float32)
        found = session.prefill(*step(embeds[:, :4], 0))
        assert set(found) == {"logits", "modality", "positions"}, "the cache stays inside"
        np.testing.assert_allclose(found["logits"], truth(embeds[:, :4]), atol=tolerance)
        for seen in range(4, 7):
            found = session.decode(*step(embeds[:, seen : seen + 1], seen))
            np.testing.assert_allclose(found["logits"], truth(embeds[:, : seen + 1]), atol=tolerance)
            assert found["modality"].shape == (batch, seen + 1)
            np.testing.assert_array_equal(found["positions"], np.full((batch, 1), seen))


def test_prompts_go_on_behind_what_is_held(tmp_path: Path) -> None:
    session, random = opened(tmp_path), np.random.default_rng(5)
    beginning = random.normal(size=(1, 2, D)).astype(np.float32)
    session.hold(*step(beginning, 0))
    for batch in (3, 1, 3):
        rest = random.normal(size=(batch, 4, D)).astype(np.float32)
        whole = np.concatenate([np.repeat(beginning, batch, axis=0), rest], axis=1)
        found = session.prefill(*step(rest[:, :3], 2))
        np.testing.assert_allclose(found["logits"], truth(whole[:, :5]), atol=1e-5)
        found = session.decode(*step(rest[:, 3:], 5))
        np.testing.assert_allclose(found["logits"], truth(whole), atol=1e-5)


def test_rows_are_repeated_side_by_side(tmp_path: Path) -> None:
    session, random = opened(tmp_path), np.random.default_rng(2)
    embeds, more = random.normal(size=(2, 3, D)).astype(np.float32), random.normal(size=(6, 1, D)).astype(np.float32)
    session.prefill(*step(embeds, 0))
    session.repeat(3)
    found = session.decode(*step(more, 3))
    together = np.concatenate([np.repeat(embeds, 3, axis=0), more], axis=1)
    np.testing.assert_allclose(found["logits"], truth(together), atol=1e-5)


def test_a_graph_that_is_not_the_manifests_decoder(tmp_path: Path) -> None:
    path = toy(tmp_path / "p.onnx", TensorProto.FLOAT, without="value_1")
    with pytest.raises(BadInput, match="present_value_1"):
        GrowingOnnxRuntime(1).decoder(path, path, SHAPE)


def test_a_step_that_does_not_fit(tmp_path: Path) -> None:
    session = opened(tmp_path)
    embeds: Any = np.zeros((2, 3, D), np.float32)
    session.prefill(*step(embeds, 0))
    with pytest.raises(Failed, match=r"d\.onnx failed to run"):
        session.decode(*step(embeds[:1, :1], 3))
