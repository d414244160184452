"""The engine builder with the real TensorRT-RTX, which needs no GPU to build: what it makes, and what it refuses."""

import gc
import traceback
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from runtime_fakes import MULTI, open_bundle

from mosear.runtime.engines.builder import PhaseFractions, build_engine
from mosear.runtime.engines.library import Library, numbers, open_library
from mosear.runtime.engines.profiles import Limits, limits_of, profiles_for
from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.manifest import Manifest

LIMITS = Limits(clips=8, prompt=20, capacity=32, decode_rows=6)


@pytest.fixture(scope="module")
def library() -> Library:
    pytest.importorskip("tensorrt_rtx")
    return open_library("tensorrt_rtx")


def encoder(path: Path, kind: str = "fp16", op: str = "MatMul", size: int = 128) -> Path:
    """An encoder of one product, with its weight in the type of ``kind`` and in a file beside it."""
    weight = np.random.default_rng(0).normal(size=(size, size)).astype(np.float16)
    nodes = [helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT16)]
    tensors = [numpy_helper.from_array(weight, "w")]
    if kind != "fp16":
        dtype = {"int4": TensorProto.INT4, "fp8": TensorProto.FLOAT8E4M3FN}[kind]
        raw = weight.astype(ml_dtypes.float8_e4m3fn).tobytes() if kind == "fp8" else bytes(size * size // 2)
        scale = np.ones((1, size) if kind == "int4" else (), np.float16)
        tensors = [
            TensorProto(name="q", data_type=dtype, dims=[size, size], raw_data=raw),
            numpy_helper.from_array(scale, "s"),
        ]
        block = {"axis": 0, "block_size": size} if kind == "int4" else {}
        nodes.append(helper.make_node("DequantizeLinear", ["q", "s"], ["w"], **block))
    nodes.append(helper.make_node(op, ["x", "w"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", size])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.weights", size_threshold=100)
    return path


def test_an_engine_for_several_gpus_with_progress_and_timing(tmp_path: Path, library: Library) -> None:
    seen: list[tuple[str, float]] = []
    built = build_engine(
        library,
        encoder(tmp_path / "vision.onnx"),
        LIMITS,
        ["7.5", "8.6", "8.9", "12.0"],
        progress=lambda stage, done: seen.append((stage, done)),
    )
    assert len(memoryview(built.engine)) > 128 * 128 * 2
    assert {stage for stage, _ in seen} == {"vision.onnx"}
    assert seen[-1][1] == 1.0
    assert all(before <= after for (_, before), (_, after) in pairwise(seen))
    assert built.timing_cache == b""  # TensorRT-RTX times nothing when it builds


def test_the_same_builder_drives_a_library_that_builds_for_the_gpu_that_is_here(
    tmp_path: Path, library: Library
) -> None:
    class Jetson(SimpleNamespace):
        """TensorRT's package as far as the builder sees it: the same, without a choice of GPUs."""

        def __getattr__(self, name: str) -> Any:
            if name == "ComputeCapability":
                raise AttributeError(name)
            return getattr(library.module, name)

    here = Library("tensorrt", Jetson())
    assert not here.cross_compiles
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorRT-RTX says that it keeps no times
        built = build_engine(here, encoder(tmp_path / "vision.onnx"), LIMITS, ["8.7"], timing_cache=b"")
    assert memoryview(built.engine)


@pytest.mark.parametrize(("kind", "early", "enough"), [("fp8", "8.6", "8.9"), ("int4", "7.5", "8.6")])
def test_a_type_that_a_gpu_lacks_is_refused_before_the_builder_starts(
    tmp_path: Path, library: Library, kind: str, early: str, enough: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encoder(tmp_path / "vision.onnx", kind)
    assert memoryview(build_engine(library, path, LIMITS, [enough]).engine)
    with monkeypatch.context() as patch:
        patch.setattr(library.module.Builder, "build_serialized_network", lambda *_: pytest.fail("the builder started"))
        with pytest.raises(UsageError, match=f"is in {kind}, which GPUs of compute capability {early}") as error:
            build_engine(library, path, LIMITS, [enough, early])
    assert "or later" in error.value.remedy


def test_a_gpu_that_the_library_does_not_know(tmp_path: Path, library: Library) -> None:
    with pytest.raises(UsageError, match=r"can't build for compute capability 8\.7") as error:
        build_engine(library, encoder(tmp_path / "vision.onnx"), LIMITS, ["8.6", "8.7"])
    assert "8.6" in error.value.remedy
    assert "12.0" in error.value.remedy


def test_what_is_no_graph_for_it_is_refused(tmp_path: Path, library: Library) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    encoder(tmp_path / "op.onnx", op="NoSuchOperator")
    encoder(tmp_path / "lost.onnx")
    (tmp_path / "lost.weights").unlink()
    for name in ("broken.onnx", "op.onnx", "lost.onnx", "missing.onnx"):
        with pytest.raises(BadInput, match=f"{name.split('.')[0]}.onnx can't be parsed by TensorRT-RTX"):
            build_engine(library, tmp_path / name, LIMITS, ["8.6"])


def test_builders_of_failed_builds_are_never_freed_while_the_library_logs(tmp_path: Path, library: Library) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    freed_in_a_call: list[str] = []
    thresholds = gc.get_threshold()

    def watch(phase: str, info: dict[str, int]) -> None:
        names = [frame.name for frame in traceback.extract_stack()]
        if phase == "start" and "log" in names:  # ours, which the library calls under its lock
            freed_in_a_call.append(names[-2])

    gc.callbacks.append(watch)
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(5):
            with pytest.raises(BadInput) as caught:
                build_engine(library, tmp_path / "broken.onnx", LIMITS, ["8.6"])
            caught.value.held = caught.value  # type: ignore[attr-defined]  # with its traceback, and in that the builder
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(watch)
    assert gc.isenabled()
    assert not freed_in_a_call


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_the_progress_raises_ends_the_build(tmp_path: Path, library: Library, error: type[BaseException]) -> None:
    def stop(stage: str, done: float) -> None:
        raise error

    with pytest.raises(error):
        build_engine(library, encoder(tmp_path / "vision.onnx"), LIMITS, ["8.6"], progress=stop)


def test_phases_in_one_another_are_one_fraction() -> None:
    phases, seen = PhaseFractions(), []

    def note() -> None:
        seen.append(phases.total)

    phases.start("build", None, 2)
    phases.start("one", "build", 4)
    for step in range(4):
        phases.step("one", step)
        note()
    phases.finish("one")
    phases.step("build", 0)
    note()
    phases.start("two", "build", 0)
    phases.step("two", 0)
    note()
    phases.step("unknown", 3)
    phases.finish("two")
    phases.finish("build")
    note()
    assert seen == [0.125, 0.25, 0.375, 0.5, 0.5, 1.0, 1.0]


def test_a_library_that_is_missing_or_old() -> None:
    with pytest.raises(Failed, match="TensorRT can't be imported"):
        open_library("tensorrt")
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(Failed, match=r"needs 99\.1 or later"):
        open_library("tensorrt_rtx", "99.1")
    assert open_library("tensorrt_rtx", "1.0").cross_compiles
    assert numbers("10.13.3.9") > numbers("10.3") > numbers("8.6.1.post12") == (8, 6, 1)


DECODER = [
    ("inputs_embeds", (-1, -1, 64)),
    ("position_ids", (-1, -1)),
    ("key_modality", (-1, -1)),
    ("past_key_0", (-1, 2, 32, 16)),
]


def test_a_decoder_has_two_profiles_and_an_encoder_one() -> None:
    prefill, decode = profiles_for(DECODER, LIMITS)
    assert prefill["inputs_embeds"] == ((1, 1, 64), (3, 20, 64), (3, 32, 64))
    assert decode["inputs_embeds"] == ((1, 1, 64), (3, 1, 64), (6, 1, 64))
    assert decode["key_modality"] == ((1, 1), (3, 20), (6, 32))
    assert decode["past_key_0"] == ((1, 2, 32, 16), (3, 2, 32, 16), (6, 2, 32, 16))
    single = [
        (name, (-1, 1, *shape[2:]) if name in ("inputs_embeds", "position_ids") else shape) for name, shape in DECODER
    ]
    assert profiles_for(single, LIMITS) == [decode]
    assert profiles_for([("frames", (-1, 4, 8, 8, 3))], LIMITS) == [
        {"frames": ((1, 4, 8, 8, 3), (8, 4, 8, 8, 3), (8, 4, 8, 8, 3))}
    ]
    assert profiles_for([("samples", (-1, 16000))], LIMITS) == [{"samples": ((1, 16000),) * 3}]
    with pytest.raises(ValueError, match="free size on axis 1"):
        profiles_for([("samples", (-1, -1))], LIMITS)


def test_limits_cover_what_the_runtime_asks_for(tmp_path: Path) -> None:
    manifest: Manifest = open_bundle(tmp_path / "b", label_ids=MULTI).manifest
    limits = limits_of(manifest)
    long = sum(len(ids) > 1 for ids in MULTI.values())
    assert long >= 2
    assert limits.decode_rows == 3 * long  # three prompts, each continued by every label of several tokens
    assert limits.clips == manifest.preprocessing.frames
    assert limits.prompt <= limits.capacity == manifest.decoder.capacity
