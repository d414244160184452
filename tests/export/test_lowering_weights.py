"""Two graphs, one file of weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_decoders import PADDED, PROMPTS, StaticCache, exported, feeds_of, run_canonical, session

from mosear.export.lowering.onnxruntime import lower
from mosear.export.lowering.weights import (
    DECODE,
    INLINE_BYTES,
    PAGE,
    PREFILL,
    WEIGHTS,
    save_decoder,
    save_sharing_weights,
)


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
    written = save_decoder(graphs[PREFILL], graphs[DECODE], tmp_path)
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
    save_sharing_weights({"decoder.onnx": graph}, tmp_path, "weights.bin")
    feeds = feeds_of(PROMPTS, PADDED, 12)
    found, expected = (run_canonical(session(source), feeds) for source in (str(tmp_path / "decoder.onnx"), graph))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8, np.int64])
def test_equal_bytes_are_stored_once_and_small_tensors_inline(tmp_path: Path, kind: type) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "a": random.integers(-9, 9, (40, 40)).astype(kind),
        "other": random.integers(-9, 9, (40, 41)).astype(kind),
        "small": np.arange(INLINE_BYTES // np.dtype(kind).itemsize - 1).astype(kind),
    }
    arrays["same"] = arrays["a"].copy()

    def model(*names: str) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(arrays[name], name) for name in names]
        typed = helper.make_tensor(
            "typed", helper.np_dtype_to_tensor_dtype(arrays["a"].dtype), [40, 40], arrays["a"].flatten().tolist()
        )
        return helper.make_model(helper.make_graph([], "g", [], [], [*tensors, typed]))

    save_sharing_weights({"1.onnx": model("a", "small"), "2.onnx": model("same", "other")}, tmp_path, "w")
    first, second = external(tmp_path / "1.onnx"), external(tmp_path / "2.onnx")
    assert first["a"] == second["same"] == first["typed"] == second["typed"] != second["other"]
    assert "small" not in first
    for file in ("1.onnx", "2.onnx"):
        for tensor in onnx.load(str(tmp_path / file)).graph.initializer:
            expected = arrays["a" if tensor.name == "typed" else tensor.name]
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), expected)
