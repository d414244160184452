"""Two graphs, one file of weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_decoders import PADDED, PROMPTS, StaticCache, exported, feeds_of, run_canonical, session

from mosear.export.lowering.onnxruntime import lower
from mosear.export.lowering.weights import DECODE, PAGE, PREFILL, WEIGHTS, save_sharing_weights
from mosear.export.tensors import INLINE_BYTES, Weight, attach, detach, float_weight, placeholder


def external(path: Path) -> dict[str, dict[str, str]]:
    model = onnx.load(str(path), load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }


def test_a_decoder_is_saved_once_and_runs(tmp_path: Path) -> None:
    graphs = {
        PREFILL: lower(exported("qwen2").graph, "prefill"),
        DECODE: lower(exported("qwen2", low_rank=False).graph, "decode"),
    }
    before = {name: graph.SerializeToString(deterministic=True) for name, graph in graphs.items()}
    parts = {name: detach(graph) for name, graph in graphs.items()}
    weights = {name: weight for _, found in parts.values() for name, weight in found.items()}
    written = save_sharing_weights({name: graph for name, (graph, _) in parts.items()}, weights, tmp_path, WEIGHTS)
    assert written == [tmp_path / name for name in (PREFILL, DECODE, WEIGHTS)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((PREFILL, DECODE, WEIGHTS))
    assert {name: graph.SerializeToString(deterministic=True) for name, graph in graphs.items()} == before

    prefill, decode = external(tmp_path / PREFILL), external(tmp_path / DECODE)
    assert decode.items() <= prefill.items()
    assert {name.split(".")[-2] for name in prefill.keys() - decode.keys()} <= {"down", "up"}
    places = {(int(entry["offset"]), int(entry["length"])) for entry in prefill.values()}
    assert all(offset % PAGE == 0 for offset, _ in places)
    assert all(entry["location"] == WEIGHTS for entry in prefill.values())
    assert (tmp_path / WEIGHTS).stat().st_size == max(offset + length for offset, length in places)

    feeds = feeds_of(PROMPTS, PADDED, 12)
    saved, kept = session(str(tmp_path / PREFILL)), session(graphs[PREFILL])
    for left, right in zip(*(StaticCache(s, 4, 12).run(s, feeds).values() for s in (saved, kept)), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_canonical_graph_keeps_its_function(tmp_path: Path) -> None:
    graph = exported("qwen2").graph
    structure, weights = detach(graph)
    save_sharing_weights({"decoder.onnx": structure}, weights, tmp_path, "weights.bin")
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found, expected = (run_canonical(session(source), feeds) for source in (str(tmp_path / "decoder.onnx"), graph))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def structure(*tensors: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], tensors))


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8, np.int64])
def test_weights_come_back_as_they_were_and_small_tensors_stay_inline(tmp_path: Path, kind: type) -> None:
    random = np.random.default_rng(0)
    arrays = {"a": random.integers(-9, 9, (40, 40)).astype(kind), "b": random.integers(-9, 9, (40, 41)).astype(kind)}
    small = np.arange(INLINE_BYTES // np.dtype(kind).itemsize - 1).astype(kind)
    whole = structure(*(numpy_helper.from_array(array, name) for name, array in (arrays | {"small": small}).items()))
    graph, weights = detach(whole)
    assert set(weights) == {"a", "b"}
    assert attach(graph, weights).SerializeToString() == whole.SerializeToString()
    save_sharing_weights({"1.onnx": graph, "2.onnx": graph}, weights, tmp_path, "w")
    assert external(tmp_path / "1.onnx") == external(tmp_path / "2.onnx")
    assert (tmp_path / "w").stat().st_size < PAGE * 8
    for tensor in onnx.load(str(tmp_path / "2.onnx")).graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), (arrays | {"small": small})[tensor.name])


def test_a_weight_is_read_once_and_its_size_is_known_before(tmp_path: Path) -> None:
    read: list[str] = []

    def weight(name: str) -> Weight:
        def values() -> np.ndarray:
            read.append(name)
            return np.full((64, 8), ord(name[0]), np.float32)

        return float_weight((64, 8), values)

    weights = {name: weight(name) for name in ("x", "y", "unused")}
    packed = Weight(TensorProto.INT4, (65, 3), lambda: np.zeros((65 * 3 + 1) // 2, np.uint8))
    weights["packed"] = packed
    assert (weights["x"].nbytes, packed.nbytes) == (64 * 8 * 4, 98)
    graphs = {
        f"{number}.onnx": structure(*(placeholder(name, weights[name]) for name in names))
        for number, names in enumerate([("x", "packed"), ("y", "x")])
    }
    fractions: list[float] = []
    save_sharing_weights(graphs, weights, tmp_path, "w", fractions.append)
    assert read == ["x", "y"]
    assert fractions == sorted(fractions)
    assert external(tmp_path / "0.onnx")["packed"]["length"] == "98"


def test_one_name_for_two_weights_is_refused(tmp_path: Path) -> None:
    weights = {"x": float_weight((64, 8), lambda: np.zeros((64, 8), np.float32))}
    turned = placeholder("x", float_weight((8, 64), lambda: np.zeros((8, 64), np.float32)))
    with pytest.raises(ValueError, match="x"):
        save_sharing_weights(
            {"1": structure(placeholder("x", weights["x"])), "2": structure(turned)}, weights, tmp_path, "w"
        )
