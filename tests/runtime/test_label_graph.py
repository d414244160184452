"""A bundle with a graph of the labels' logits alone: the same answers, the whole decoder only when it is needed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import runtime_fakes
from onnx import numpy_helper
from runtime_fakes import IDS

from mosear.runtime.bundle import Bundle, file_entry
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Manifest, write_manifest
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.sessions.onnxruntime import OnnxRuntime
from mosear.runtime.windows import Window

SPELLINGS = {"single": runtime_fakes.SINGLE, "multi": runtime_fakes.MULTI}


def with_label_graph(folder: Path, spelled: dict[str, list[int]]) -> Path:
    """The toy bundle with a third decoder graph, whose head is cut in NumPy to the labels' first tokens."""
    runtime_fakes.make_bundle(folder, label_ids=spelled)
    tokens = sorted({ids[0] for ids in spelled.values()}, reverse=True)
    model = onnx.load(str(folder / "decoder_prefill.onnx"))
    for tensor in model.graph.initializer:
        if tensor.name == "OUT":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, tokens], "OUT"))
    for output in model.graph.output:
        if output.name == "logits":
            output.type.tensor_type.shape.dim[2].dim_value = len(tokens)
    onnx.save(model, folder / "decoder_labels.onnx")
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    fields["graphs"]["labels"] = "decoder_labels.onnx"
    fields["label_tokens"] = tokens
    fields["files"]["decoder_labels.onnx"] = file_entry(folder / "decoder_labels.onnx").model_dump()
    write_manifest(folder, Manifest.model_validate(fields))
    return folder


@pytest.fixture(scope="module", params=SPELLINGS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_label_graph(tmp_path_factory.mktemp(request.param) / "bundle", SPELLINGS[request.param])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the graphs that ONNX Runtime makes a session of."""
    import onnxruntime

    names: list[str] = []
    real = onnxruntime.InferenceSession

    def watched(path: str, *rest: Any, **options: Any) -> Any:
        names.append(Path(path).name)
        return real(path, *rest, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    return names


def window(**changes: Any) -> Window:
    random = np.random.default_rng(3)
    frames = random.integers(0, 256, (8, 64, 64, 3), np.uint8)
    samples = random.normal(size=48000).astype(np.float32) * 0.3
    return replace(Window(0.0, 3.0, frames, samples, "hello"), **changes)


@pytest.mark.parametrize("changes", [{}, {"samples": None}, {"frames": None}])
def test_scores_are_those_of_the_whole_vocabulary(bundle: Path, changes: dict[str, None]) -> None:
    cut, whole = (Pipeline(Bundle.open(bundle), threads=1, whole_vocabulary=flag) for flag in (False, True))
    found, expected = (pipeline.analyse(window(**changes)) for pipeline in (cut, whole))
    assert found.label == expected.label
    assert list(found.scores.values()) == pytest.approx(list(expected.scores.values()), abs=1e-6)
    assert found.conflict == pytest.approx(expected.conflict, abs=1e-6)
    assert found.by_modality.keys() == expected.by_modality.keys()
    for kind, scores in found.by_modality.items():
        assert scores == pytest.approx(expected.by_modality[kind], abs=1e-6)
    assert max(found.scores.values()) - min(found.scores.values()) > 0.05


def test_logits_stand_for_the_tokens_that_the_pipeline_names(bundle: Path) -> None:
    cut, whole = (Pipeline(Bundle.open(bundle), threads=1, whole_vocabulary=flag) for flag in (False, True))
    assert whole.logit_tokens is None
    assert cut.logit_tokens == Bundle.open(bundle).manifest.label_tokens
    logits = whole.forward(window()).logits
    np.testing.assert_allclose(cut.forward(window()).logits, logits[:, cut.logit_tokens], atol=1e-5)


def test_the_whole_prefill_is_loaded_for_a_reason_and_not_before(bundle: Path, loaded: list[str]) -> None:
    pipeline = Pipeline(Bundle.open(bundle), threads=1)
    first = pipeline.analyse(window())
    assert "decoder_prefill.onnx" not in loaded
    words = pipeline.analyse(window(), reason=True).reason
    assert (
        words == Pipeline(Bundle.open(bundle), threads=1, whole_vocabulary=True).analyse(window(), reason=True).reason
    )
    assert pipeline.analyse(window()).scores == first.scores


def test_no_graph_is_loaded_twice(tmp_path: Path, loaded: list[str]) -> None:
    pipeline = Pipeline(Bundle.open(with_label_graph(tmp_path / "b", runtime_fakes.MULTI)), threads=1)
    pipeline.analyse(window(), reason=True)
    pipeline.analyse(window(), reason=True)
    assert sorted(loaded) == [
        "audio.onnx", "decoder_decode.onnx", "decoder_labels.onnx", "decoder_prefill.onnx", "vision.onnx"
    ]  # fmt: skip


def test_a_backend_loads_a_graph_once(bundle: Path) -> None:
    backend = OnnxRuntime(1)
    assert backend.load(bundle / "vision.onnx") is backend.load(bundle / "vision.onnx")
    assert backend.load(bundle / "vision.onnx") is not backend.load(bundle / "audio.onnx")


FIRST = [ids[0] for ids in runtime_fakes.SINGLE.values()]


@pytest.mark.parametrize(
    ("graph", "tokens", "says"),
    [
        ("decoder_decode.onnx", None, "go together"),
        (None, FIRST, "go together"),
        ("decoder_decode.onnx", FIRST[1:], "first tokens of the labels"),
        ("decoder_decode.onnx", [*FIRST, IDS["why"]], "first tokens of the labels"),
        ("decoder_decode.onnx", [*FIRST, FIRST[0]], "first tokens of the labels"),
        ("nowhere.onnx", FIRST, "not listed under files"),
    ],
)
def test_manifests_that_contradict_themselves(
    tmp_path: Path, graph: str | None, tokens: list[int] | None, says: str
) -> None:
    folder = runtime_fakes.make_bundle(tmp_path / "b")
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    fields["graphs"]["labels"], fields["label_tokens"] = graph, tokens
    with pytest.raises(ValueError, match=says):
        Manifest.model_validate(fields)
    (folder / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(BadInput):
        Bundle.open(folder)
