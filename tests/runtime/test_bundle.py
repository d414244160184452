"""Opening a bundle: what is checked, and that each failure says what is wrong and what to do."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import runtime_fakes
from pydantic import ValidationError

from mosear.runtime.bundle import Bundle, file_entry, sha256_file
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Manifest, write_manifest


@pytest.fixture
def bundle(toy_bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(toy_bundle, tmp_path / "bundle"))


def _edit(bundle: Path, **changes) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _refused(bundle: Path, match: str) -> BadInput:
    with pytest.raises(BadInput, match=match) as caught:
        Bundle.open(bundle)
    assert caught.value.exit_code == 3
    assert caught.value.remedy
    return caught.value


def test_a_good_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.manifest.name == "toy"
    assert opened.file("vision.onnx").is_file()
    table = opened.embedding()
    assert isinstance(table, np.memmap)
    assert np.array_equal(table, runtime_fakes.EMBEDDING)
    assert opened.tokenizer().token_to_id("hello") == runtime_fakes.IDS["hello"]


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "million").write_bytes(b"a" * 3_000_000)
    assert file_entry(tmp_path / "million").size == 3_000_000


def test_writing_and_reading_a_manifest_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    changed = manifest.model_copy(update={"verification": {"worst": np.float32(0.5), "ok": np.bool_(True)}})
    again = Manifest.model_validate_json(write_manifest(tmp_path, changed).read_text())
    assert again.model_dump() == {**manifest.model_dump(), "verification": {"worst": 0.5, "ok": True}}


def test_missing_bundle(tmp_path: Path) -> None:
    _refused(tmp_path / "nope", "no such bundle")


def test_a_file_for_a_bundle(bundle: Path) -> None:
    _refused(bundle / "manifest.json", "is a file")


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    _refused(tmp_path, "has no manifest.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"nonsense"])
def test_a_manifest_that_is_no_json(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    _refused(bundle, "not valid JSON")


@pytest.mark.parametrize("content", [b"[]", b"3", b"{}", b'{"schema_version": "1"}', b'{"schema_version": true}'])
def test_a_manifest_without_a_schema(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    _refused(bundle, "no schema_version")


def test_a_newer_schema_says_to_upgrade(bundle: Path) -> None:
    _edit(bundle, schema_version=2, something_new=1)
    assert "upgrade" in _refused(bundle, "newer than").remedy


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"labels": []}, "labels"),
        ({"labels": [{"name": "a", "token_ids": [1]}] * 2}, "stands twice"),
        ({"labels": [{"name": "a", "token_ids": [1]}, {"name": "b", "token_ids": [4000]}]}, "outside the vocabulary"),
        ({"embedding": "other.npy"}, "not listed"),
        ({"prompt": {"template": "{visual}", "tasks": {"emotion": ""}, "no_transcript": ""}}, "each once"),
        (
            {"prompt": {"template": runtime_fakes.TEMPLATE, "tasks": {"x": ""}, "no_transcript": ""}},
            "task named emotion",
        ),
        ({"reallocation": {"rate": 0.3, "threshold": 0.5, "rows": "text", "layers": [9]}}, "outside the decoder"),
        ({"reallocation": {"rate": 0.3, "threshold": 0.5, "rows": "some", "layers": [0]}}, "rows"),
    ],
)
def test_a_manifest_that_does_not_hold(bundle: Path, changes: dict, match: str) -> None:
    _edit(bundle, **changes)
    assert "\n" not in _refused(bundle, match).what


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a\\b", "C:x", "", ".", "./x", "a//b", "manifest.json"]
)
def test_file_names_that_leave_the_bundle(bundle: Path, name: str) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    _edit(bundle, files={**files, name: {"sha256": "0" * 64, "size": 1}})
    _refused(bundle, "not a file name inside")


def test_a_link_that_leaves_the_bundle(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(bundle / "weights.bin", outside)
    os.symlink(outside, bundle / "weights.bin")
    _refused(bundle, "leads out of the bundle")


@pytest.mark.parametrize("name", ["vision.onnx", "weights.bin", "embedding.npy", "tokenizer.json"])
def test_every_file_is_checked(bundle: Path, name: str) -> None:
    data = (bundle / name).read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    (bundle / name).write_bytes(flipped)
    _refused(bundle, f"{name} was changed")
    (bundle / name).write_bytes(data[:-1])
    _refused(bundle, f"{name} has {len(data) - 1} bytes instead of {len(data)}")
    (bundle / name).unlink()
    _refused(bundle, f"{name} is missing")


def test_without_verification_only_the_hash_is_skipped(bundle: Path) -> None:
    data = (bundle / "weights.bin").read_bytes()
    (bundle / "weights.bin").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    Bundle.open(bundle, verify=False)
    (bundle / "weights.bin").write_bytes(data[:-1])
    with pytest.raises(BadInput, match="bytes instead of"):
        Bundle.open(bundle, verify=False)


def test_a_backend_that_is_not_here_is_refused_and_any_target_name_is_taken(bundle: Path) -> None:
    _edit(bundle, backend="coreml", target="phone")
    assert "cpu" in _refused(bundle, "backend coreml").remedy
    _edit(bundle, backend="onnxruntime", target="a kiosk of our own")
    assert Bundle.open(bundle).manifest.target == "a kiosk of our own"


@pytest.mark.parametrize(
    "table", [np.zeros((3, 3), np.float32), runtime_fakes.EMBEDDING.astype(np.float64), np.array([{"a": 1}], object)]
)
def test_an_embedding_of_another_kind(bundle: Path, table: np.ndarray) -> None:
    np.save(bundle / "embedding.npy", table, allow_pickle=True)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    _edit(bundle, files={**files, "embedding.npy": file_entry(bundle / "embedding.npy").model_dump()})
    with pytest.raises(BadInput, match=r"embedding\.npy is not"):
        Bundle.open(bundle).embedding()


def test_frames_must_fill_the_clips_of_the_encoder() -> None:
    fields = runtime_fakes.manifest_fields()
    fields["preprocessing"]["frames_per_clip"] = 3
    with pytest.raises(ValidationError, match="multiple"):
        Manifest.model_validate({**fields, "files": {}})
