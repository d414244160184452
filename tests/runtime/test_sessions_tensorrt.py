"""The TensorRT session up to the device: a GPU in host memory, and engines that are graphs, against ONNX Runtime."""

import dataclasses
import gc
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import FakeDriver, at, fake_tensorrt
from rich.console import Console
from runtime_fakes import MULTI, open_bundle

import mosear.runtime.engines.provide as provide
import mosear.runtime.pipeline as pipeline_module
from mosear.runtime.bundle import Bundle
from mosear.runtime.engines.bar import CompileBar
from mosear.runtime.engines.builder import Built
from mosear.runtime.engines.cache import EngineCache
from mosear.runtime.engines.device import CudaDevice
from mosear.runtime.engines.entry import EngineFile
from mosear.runtime.engines.library import Library
from mosear.runtime.engines.profiles import limits_of
from mosear.runtime.engines.provide import EngineProvider, provider_for
from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.sessions.onnxruntime import OnnxRuntime
from mosear.runtime.sessions.tensorrt import TensorRT, open_tensorrt
from mosear.runtime.windows import Window


def engines_in(bundle: Bundle, version: str = "10.16.1") -> list[EngineFile]:
    """An engine for every graph of the bundle, as the fake library reads them."""
    entries = []
    for graph in sorted({*bundle.manifest.graphs.model_dump(exclude_none=True).values()}):
        file = f"{graph}.engine"
        (bundle.path / file).write_text(str(bundle.file(graph)))
        entries.append(
            EngineFile(file=file, graph=graph, library="tensorrt", version=version, compute_capabilities=["8.6"])
        )
    return entries


def backend_for(bundle: Bundle, driver: FakeDriver, cache: Path, in_place: bool = True) -> TensorRT:
    library = Library("tensorrt", fake_tensorrt(limits_of(bundle.manifest), in_place))
    device = CudaDevice(driver)
    provider = provider_for(
        bundle.manifest, engines_in(bundle), library, device.capability, device.name, EngineCache(cache)
    )
    return TensorRT(provider, device)


def window() -> Window:
    random = np.random.default_rng(3)
    return Window(
        start=0.0,
        end=3.0,
        frames=random.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8),
        samples=random.normal(size=48000).astype(np.float32),
        transcript="hello",
        states=(),
    )


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("labels", ["single", "multi"])
def test_the_whole_pipeline_is_equal_to_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool, labels: str
) -> None:
    bundle = open_bundle(tmp_path / "b", **({"label_ids": MULTI} if labels == "multi" else {}))
    driver = FakeDriver()
    expected = Pipeline(bundle)
    kept = [backend_for(bundle, driver, tmp_path / "cache", in_place)]
    monkeypatch.setattr(pipeline_module, "open_backend", lambda *_: kept[0])
    found = Pipeline(bundle)
    for _ in range(2):  # the second window runs over the buffers of the first
        mine, theirs = found.forward(window()), expected.forward(window())
        np.testing.assert_allclose(mine.label_log_probs, theirs.label_log_probs, atol=1e-5)
        np.testing.assert_allclose(mine.logits, theirs.logits, atol=1e-5)
        np.testing.assert_array_equal(mine.selected, theirs.selected)
        np.testing.assert_allclose(mine.modality_mass, theirs.modality_mass, atol=1e-6)
    ours, his = (each.analyse(window(), reason=True).reason for each in (found, expected))
    assert ours == his
    held = len(driver.live)
    for _ in range(3):
        found.forward(window())
    assert len(driver.live) == held  # no memory grows from window to window
    del found
    kept.clear()
    monkeypatch.undo()
    gc.collect()
    assert not driver.live


def test_the_cache_keeps_its_place_while_decoding(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "b")
    driver = FakeDriver()
    manifest = bundle.manifest
    paths = bundle.file(manifest.graphs.prefill), bundle.file(manifest.graphs.decode)
    session = backend_for(bundle, driver, tmp_path / "c", in_place=False).decoder(*paths, manifest.decoder)
    other = OnnxRuntime(1).decoder(*paths, manifest.decoder)
    random = np.random.default_rng(0)
    width = manifest.decoder.hidden_size
    modality = np.zeros((2, 5), np.int64)
    step: tuple[np.ndarray, ...] = (
        random.normal(size=(2, 5, width)).astype(np.float32),
        np.arange(5)[None].repeat(2, 0),
    )
    np.testing.assert_allclose(
        session.prefill(*step, modality)["logits"], other.prefill(*step, modality)["logits"], atol=1e-5
    )
    addresses = dict(session._cache)
    for position in range(5, 9):
        modality = np.pad(modality, ((0, 0), (0, 1)))
        step = random.normal(size=(2, 1, width)).astype(np.float32), np.full((2, 1), position)
        found, expected = session.decode(*step, modality), other.decode(*step, modality)
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
    assert session._cache == addresses
    shape = (2, manifest.decoder.kv_heads, manifest.decoder.capacity, manifest.decoder.head_dim)
    keys = at(addresses["key_0"], shape, np.float32)
    np.testing.assert_allclose(keys[:, :, :9], other._cache["key_0"].numpy()[:, :, :9], atol=1e-6)
    assert (keys[:, :, 9:] == 0).all()  # nothing was written behind the last token


def test_what_an_engine_was_not_compiled_for_is_refused(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "b")
    backend = backend_for(bundle, FakeDriver(), tmp_path / "c")
    vision = backend.session(bundle.file("vision.onnx"))
    frames = np.zeros((9, 1, 64, 64, 3), np.uint8)
    with pytest.raises(BadInput, match=r"compiled for frames up to \[8, 1, 64, 64, 3\], this is \[9"):
        vision.run({"frames": frames})
    with pytest.raises(BadInput, match="takes frames and not pictures"):
        vision.run({"pictures": frames})
    with pytest.raises(BadInput, match="not the decoder"):
        backend.decoder(bundle.file("vision.onnx"), bundle.file("vision.onnx"), bundle.manifest.decoder)


def test_an_engine_that_does_not_load_says_how_to_make_one(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "b")
    backend = backend_for(bundle, FakeDriver(), tmp_path / "c")
    (bundle.path / "vision.onnx.engine").write_bytes(b"engine of another world")
    with pytest.raises(BadInput, match=r"does not load in TensorRT 10\.16\.1 on Fake GPU") as error:
        backend.session(bundle.file("vision.onnx"))
    assert "mosear-export engine" in error.value.remedy


def provider_of(bundle: Bundle, cache: Path, **changes: Any) -> EngineProvider:
    library = Library("tensorrt", fake_tensorrt(limits_of(bundle.manifest), True))
    provider = provider_for(bundle.manifest, engines_in(bundle), library, "8.6", "Fake GPU", EngineCache(cache))
    return dataclasses.replace(provider, **changes)


def test_only_an_engine_for_this_version_and_gpu_is_used_and_else_one_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(tmp_path / "b")
    graph = bundle.file("vision.onnx")
    built = []

    def build(library: Library, onnx: Path, limits: Any, capabilities: list[str], **options: Any) -> Built:
        built.append((onnx.name, capabilities, options["timing_cache"]))
        return Built(b"built " + str(len(built)).encode(), b"times")

    monkeypatch.setattr(provide, "build_engine", build)
    cache = tmp_path / "cache"
    fitting = provider_of(bundle, cache)
    assert bytes(fitting.engine(graph)).decode() == str(graph)
    assert not built
    other_gpu = provider_of(bundle, cache, capability="8.9", device="Another")
    assert bytes(other_gpu.engine(graph)) == b"built 1"
    assert bytes(other_gpu.engine(graph)) == b"built 1"
    assert built == [("vision.onnx", ["8.9"], b"")]
    other_version = dataclasses.replace(fitting, engines=engines_in(bundle, "10.16.0"))
    assert bytes(other_version.engine(graph)) == b"built 2"
    assert bytes(dataclasses.replace(other_gpu, engines=[]).engine(bundle.file("audio.onnx"))) == b"built 3"
    assert built[2] == ("audio.onnx", ["8.9"], b"times")  # kernel times of the same GPU and version are used again


def test_whatever_an_engine_is_made_from_is_in_its_key(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "b")
    one = provider_of(bundle, tmp_path / "c")
    content = dict(one.content)
    assert {"vision.onnx", "weights.bin"} <= set(content)
    assert not {"embedding.npy", "tokenizer.json"} & set(content)
    changed = [
        one,
        dataclasses.replace(one, device="Another"),
        dataclasses.replace(one, capability="8.9"),
        dataclasses.replace(one, limits=dataclasses.replace(one.limits, capacity=7)),
        dataclasses.replace(one, content={**content, "weights.bin": "1" * 64}),
        dataclasses.replace(one, content={**content, "vision.onnx": "1" * 64}),
        dataclasses.replace(one, library=Library("tensorrt", fake_tensorrt(one.limits, True, version="10.17"))),
    ]
    assert len({each.key("vision.onnx") for each in changed}) == len(changed)
    unrelated = dataclasses.replace(one, content={**content, "audio.onnx": "1" * 64})
    assert unrelated.key("vision.onnx") == one.key("vision.onnx")


def test_a_machine_without_a_gpu_or_with_a_full_one_is_told_so() -> None:
    with pytest.raises(Failed, match="no NVIDIA GPU here") as error:
        CudaDevice(FakeDriver(gpus=0))
    assert "target cpu" in error.value.remedy
    device = CudaDevice(FakeDriver(full_above=100))
    assert (device.name, device.capability) == ("Fake GPU", "8.6")
    with pytest.raises(Failed, match="out of memory") as error:
        device.allocate(101)
    assert "smaller capacity" in error.value.remedy


def test_rows_are_copied_between_pitches() -> None:
    device = CudaDevice(FakeDriver())
    source, target = device.allocate(24), device.allocate(60)
    device.upload(source, np.arange(24, dtype=np.uint8))
    device.copy_rows(target + 4, 20, source, 8, 8, 3)
    found = np.empty(60, np.uint8)
    device.download(found, target)
    expected = np.zeros(60, np.uint8)
    for row in range(3):
        expected[row * 20 + 4 : row * 20 + 12] = np.arange(row * 8, row * 8 + 8)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="contiguous"):
        device.upload(source, np.zeros((4, 4), np.uint8)[:, ::2])


def test_without_library_or_gpu_a_bundle_does_not_open(tmp_path: Path) -> None:
    manifest = open_bundle(tmp_path / "b").manifest
    with pytest.raises(Failed, match="TensorRT can't be imported"):
        open_tensorrt(manifest.model_copy(update={"backend": "tensorrt"}), [])
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(Failed, match=r"needs 99\.0 or later"):
        open_tensorrt(manifest.model_copy(update={"backend": "tensorrt_rtx", "tensorrt_version": "99.0"}), [])
    if not any(Path("/dev").glob("nvidia*")):
        with pytest.raises(Failed, match=r"no NVIDIA (driver|GPU) here"):
            open_tensorrt(manifest.model_copy(update={"backend": "tensorrt_rtx"}), [])


def test_a_bar_is_drawn_for_what_is_compiled_and_only_then() -> None:
    text = io.StringIO()
    bar = CompileBar(Console(file=text, force_terminal=True, width=80))
    assert text.getvalue() == ""
    for stage in ("vision.onnx", "decoder.onnx"):
        for done in (0.0, 0.5, 1.0):
            bar(stage, done)
    assert "compile vision.onnx" in text.getvalue()
    assert "compile decoder.onnx" in text.getvalue()
