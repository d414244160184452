"""The table of targets, and targets of one's own."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from mosear.export.targets import FEATURE_FLOORS, TARGETS, Target, find_target
from mosear.runtime.errors import BadInput, UsageError

NAMES = [
    *("cpu", "cuda", "standard", "rtx-20", "rtx-30", "rtx-40", "rtx-50"),
    *(f"jetson-{name}{form}" for name in ("orin-nano", "orin-nx", "agx-orin") for form in ("", "-jp6")),
    "jetson-thor",
]


def test_every_target_is_there_and_its_default_stands_first() -> None:
    assert list(TARGETS) == NAMES
    for name, target in TARGETS.items():
        assert find_target(name, None) == (target, target.precisions[0])
        assert target.description
        assert len(target.precisions) == len(set(target.precisions))


@pytest.mark.parametrize("name", NAMES)
def test_a_precision_that_a_target_lacks_is_refused_with_those_it_has(name: str) -> None:
    for precision in ("fp32", "fp16", "int8", "int4", "mixed", "fp8", "nvfp4", ""):
        if precision in TARGETS[name].precisions:
            assert find_target(name, precision)[1] == precision
            continue
        with pytest.raises(UsageError) as error:
            find_target(name, precision)
        assert all(each in error.value.remedy for each in TARGETS[name].precisions)


def test_what_devices_can_do() -> None:
    with_fp8 = {name for name, target in TARGETS.items() if "fp8" in target.precisions}
    assert with_fp8 == {"rtx-40", "rtx-50", "jetson-thor"}
    assert "int4" not in TARGETS["rtx-20"].precisions
    for name, target in TARGETS.items():
        native = bool(target.features)
        assert native == (target.backend in ("tensorrt", "tensorrt_rtx") and not name.endswith("-jp6"))
        assert (target.memory_gb is not None) == bool(target.compute_capabilities)


def test_a_record_that_contradicts_itself_cannot_be_made() -> None:
    orin = TARGETS["jetson-orin-nano-jp6"]
    for changes, message in (
        ({"precisions": ("fp8",)}, "compute capability 8.9"),
        ({"features": frozenset(["native_attention"])}, "10.3 has no native_attention"),
        ({"features": frozenset(["flash"])}, "native_kv_update"),
        ({"precisions": ("nvfp4",)}, "not nvfp4"),
        ({"precisions": ()}, "not none"),
        ({"provider": "cuda"}, "onnxruntime"),
        ({"compute_capabilities": ()}, "compute_capabilities"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(orin, **changes)
    replace(orin, tensorrt="10.15", features=frozenset(FEATURE_FLOORS))


def own(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_target_of_ones_own_takes_over_its_base(tmp_path: Path) -> None:
    target, precision = find_target(own(tmp_path, "base: rtx-40\nprecisions: [int8]\nmemory_gb: 12\n"), None)
    expected = replace(TARGETS["rtx-40"], name="mine", precisions=("int8",), memory_gb=12.0)
    assert replace(target, description=expected.description) == expected
    assert precision == "int8"
    with pytest.raises(UsageError, match="has no precision 'fp8'"):
        find_target(str(tmp_path / "mine.yaml"), "fp8")


def test_a_target_of_ones_own_without_a_base(tmp_path: Path) -> None:
    text = (
        "name: spark\nbackend: tensorrt_rtx\nprecisions: [fp16, fp8]\ndescription: d\n"
        "compute_capabilities: [8.9, '12.1']\ntensorrt: 1.7\nmemory_gb: 128\nfeatures: [native_attention]\n"
    )
    target, _ = find_target(own(tmp_path, text), "fp8")
    assert target == Target(
        name="spark",
        backend="tensorrt_rtx",
        precisions=("fp16", "fp8"),
        description="d",
        compute_capabilities=("8.9", "12.1"),
        tensorrt="1.7",
        memory_gb=128,
        features=frozenset(["native_attention"]),
    )
    stated = {line.split(":")[0] for line in text.splitlines()}
    assert {each.name for each in fields(Target)} - stated == {"provider"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: rtx-40\nprecison: [int8]\n", "mine.yaml:2: precison"),
        ("base: rtx-41\n", "mine.yaml:1: no target is called 'rtx-41'"),
        ("base: rtx-30\nprecisions: [fp16, fp8]\n", "compute capability 8.9"),
        ("base: jetson-orin-nx-jp6\nfeatures: [native_attention]\n", "10.3 has no native_attention"),
        ("base: rtx-40\nmemory_gb: plenty\n", "memory_gb"),
        ("base: rtx-40\ncompute_capabilities: [SM86]\n", "'SM86' is no version"),
        ("base: rtx-40\nbackend: coreml\n", "backend"),
        ("precisions: [fp16]\n", "states no backend"),
        ("base: cpu\nprecisions: [fp32]\nbackend: standard\n", "a provider belongs"),
        ("- rtx-40\n", "a mapping is needed"),
    ],
)
def test_a_wrong_target_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        find_target(own(tmp_path, text), None)
    assert message in error.value.what


def test_a_target_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        find_target(str(tmp_path / "none.yaml"), None)
