"""What a bundle may be used for, and lengths of time as people write them."""

from pathlib import Path

import pytest
import runtime_fakes
from runtime_commands import mosear, two_lines

from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import Manifest
from mosear.runtime.privacy.duration import parse_duration
from mosear.runtime.privacy.intended_use import check_live_use, is_restricted, stated_use

RESTRICTED = [
    "workplace",
    "Workplaces",
    "WORK PLACE",
    "work-place",
    "work_place",
    "workplace_monitoring",
    "calls at the work\u00adplace",
    "ｗｏｒｋｐｌａｃｅ",
    "education",
    "Educational games",
    "special-education",
    "e-education",
    "educators",
]
ALLOWED = [
    "not stated",
    "",
    "a museum's exhibit",
    "a robot in people's homes",
    "work in many places",
    "firework places",
    "research",
    "workplacement",
    "reducation",
]


def manifest(use: str) -> Manifest:
    files = (
        "vision.onnx",
        "audio.onnx",
        "decoder_prefill.onnx",
        "decoder_decode.onnx",
        "embedding.npy",
        "tokenizer.json",
    )
    entries = {name: {"sha256": "0" * 64, "size": 1} for name in files}
    return Manifest.model_validate({**runtime_fakes.manifest_fields(intended_use=use), "files": entries})


@pytest.mark.parametrize("use", RESTRICTED)
def test_a_restricted_use_needs_a_medical_or_safety_reason(use: str) -> None:
    assert is_restricted(use)
    for reason in (None, "", "  ", "because we can", "unsafety"):
        with pytest.raises(UsageError, match="medical or safety"):
            stated_use(use, reason)
    for bad in (use, f"{use} ()", f"{use} (Berlin)", f"(safety) {use}"):
        with pytest.raises(UsageError, match="medical or safety"):
            check_live_use(manifest(bad))
    for reason in ("safety: drowsy drivers", "Medical: pain of patients"):
        check_live_use(manifest(stated_use(use, reason)))


@pytest.mark.parametrize("use", ALLOWED)
def test_other_uses_need_none_and_take_none(use: str) -> None:
    check_live_use(manifest(use))
    assert stated_use(use, None) == (use or "not stated")
    with pytest.raises(UsageError, match="use reason"):
        stated_use(use, "safety: x")


def test_a_bundle_changed_by_hand_opens_no_camera(tmp_path: Path) -> None:
    bundle = runtime_fakes.make_bundle(tmp_path / "toy", intended_use="workplace")
    done = mosear("watch", bundle, "--camera", tmp_path / "not-looked-for.mp4")
    ((what, remedy),) = two_lines(done.stderr)
    assert done.returncode == 2
    assert "workplace" in what
    assert "legal advice" in remedy


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), (" 15 m ", 900), ("1.5h", 5400), ("7D", 604_800), ("366d", 31_622_400)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-1h", "0s", "1e3s", "nan s", "367d", "1h30m", "9" * 400 + "s", "5ſ", "٣h"]
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)
