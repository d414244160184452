"""TensorRT's layer profiler on a stand-in for the library, and its own names as its documents show them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_gpu import LAYER_MS, FakeDriver, fake_tensorrt
from runtime_fakes import MULTI, make_bundle

import mosear.runtime.sessions.tensorrt as tensorrt_module
from mosear.runtime.bundle import Bundle, file_entry
from mosear.runtime.engines.device import CudaDevice
from mosear.runtime.engines.entry import EngineFile
from mosear.runtime.engines.library import Library
from mosear.runtime.engines.profiles import limits_of
from mosear.runtime.manifest import Manifest, write_manifest
from mosear.runtime.profiling.operators import profile_operators
from mosear.runtime.profiling.operators_fold import layer_of
from mosear.runtime.profiling.operators_tensorrt import _listener, operator_of
from mosear.runtime.windows import Window

STEPS = max(map(len, MULTI.values())) - 1


def window() -> Window:
    frames = np.full((8, 64, 64, 3), 90, np.uint8)
    return Window(0.0, 3.0, frames, np.full(48000, 0.25, np.float32), "hello")


def gpu_bundle(folder: Path, one_graph: bool) -> Bundle:
    """The toy bundle for TensorRT, with labels of several tokens; a node in three belongs to layer 1."""
    make_bundle(folder, label_ids=MULTI)
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    fields |= {"backend": "tensorrt", "target": "jetson-orin-nano", "tensorrt_version": "10.16.1"}
    if one_graph:
        fields["graphs"]["decode"] = fields["graphs"]["prefill"]
    for graph in sorted({*fields["graphs"].values()} - {None}):
        model = onnx.load(folder / graph, load_external_data=False)
        for place, node in enumerate(model.graph.node):
            node.name = f"{'shared' if place % 3 else 'layers.1'}/{node.op_type}_{place}"
        (folder / graph).write_bytes(model.SerializeToString())
        (folder / f"{graph}.engine").write_text(str(folder / graph))
        entry = EngineFile(
            file=f"{graph}.engine", graph=graph, library="tensorrt", version="10.16.1", compute_capabilities=["8.6"]
        )
        fields.setdefault("engines", []).append(entry.model_dump())
        for name in (graph, f"{graph}.engine"):
            fields["files"][name] = file_entry(folder / name).model_dump()
    write_manifest(folder, Manifest.model_validate(fields))
    return Bundle.open(folder)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """The GPU, replaced."""
    driver = FakeDriver()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tensorrt_module, "CudaDevice", lambda: CudaDevice(driver))
    return driver


def use(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    module = fake_tensorrt(limits_of(bundle.manifest), True)
    monkeypatch.setattr(tensorrt_module, "open_library", lambda *_: Library("tensorrt", module))


@pytest.mark.parametrize("one_graph", [True, False], ids=["one engine", "two engines"])
def test_layers_are_counted_by_graph_and_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeDriver, one_graph: bool
) -> None:
    bundle = gpu_bundle(tmp_path / "b", one_graph)
    use(monkeypatch, bundle)
    found, method = profile_operators(bundle, [window()], 3, None, None)
    assert found is not None, method
    assert method == "TensorRT's own profile, 3 runs after 2 for warming up"
    for graph, file, times in (
        ("vision", "vision.onnx", 1),
        ("audio", "audio.onnx", 1),
        ("prefill", "decoder_prefill.onnx", 1),
        ("decode", "decoder_decode.onnx", STEPS),
    ):
        nodes = onnx.load(bundle.path / file, load_external_data=False).graph.node
        expected = Counter((None if place % 3 else 1, node.op_type) for place, node in enumerate(nodes))
        mine = {(each.layer, each.operator): each for each in found if each.graph == graph}
        assert {key: each.calls for key, each in mine.items()} == {key: n * times for key, n in expected.items()}
        for each in mine.values():
            assert each.ms == pytest.approx(each.calls * LAYER_MS)
    assert {each.graph for each in found} == {"vision", "audio", "prefill", "decode"}


def test_a_library_that_reports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeDriver) -> None:
    bundle = gpu_bundle(tmp_path / "b", True)
    use(monkeypatch, bundle)
    monkeypatch.setattr("fake_gpu.FakeContext.profiler", property(lambda _: None, lambda *_: None), raising=False)
    assert profile_operators(bundle, [window()], 3, None, None) == (
        None,
        "TensorRT: its profiler reported no layer",
    )


@pytest.mark.parametrize(
    ("layer", "operator", "place"),
    [
        ("layers.3/MatMul_12", "MatMul", 3),
        ("layers.3/MatMul_12 + layers.3/Add_4", "MatMul+Add", 3),
        ("PWN(PWN(layers.0/Sigmoid_0), layers.0/Mul_7)", "Sigmoid+Mul", 0),
        ("layers.2/Add_1 + layers.3/RMSNormalization_0", "Add+RMSNormalization", None),
        ("layers.3/MatMul_12_myl0_7", "MatMul", 3),
        ("{ForeignNode[shared/Cast_0...head/MatMul_0]}", "ForeignNode", None),
        ("Reformatting CopyNode for Input Tensor 0 to layers.4/Conv_0", "Reformatting CopyNode", 4),
        ("__myl_MulAddFc_myl3_5", "MulAddFc", None),
        ("__myl_Fc_12", "Fc", None),
        ("lowered/node_MatMul_17", "lowered/node_MatMul", None),
        ("head/Slice_0", "Slice", None),
        ("17", "17", None),
        ("copy", "copy", None),
    ],
)
def test_operators_as_far_as_names_tell(layer: str, operator: str, place: int | None) -> None:
    assert (operator_of(layer), layer_of(layer)) == (operator, place)


def test_the_real_library_takes_the_listener() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    told: list[Any] = []
    listener = _listener(trt, lambda name, ms: told.append((name, ms)))
    assert isinstance(listener, trt.IProfiler)
    listener.report_layer_time("layers.0/MatMul_0", 0.5)
    assert told == [("layers.0/MatMul_0", 0.5)]
    assert trt.IExecutionContext.profiler.fset is not None
