"""The reference bundle's report, as the build left it and as `verify --against` makes it again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mosear.export.checks.reading import read_report
from mosear.export.checks.rows import LayerRow
from mosear.export.report.page import page
from mosear.export.reverify import reverify
from mosear.export.verify import NUMERIC_EXAMPLES, verify_layers
from mosear.model.checkpoint import checkpoint_hash, resolve
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import UsageError


@pytest.mark.slow
def test_manifest_holds_all_that_the_page_is_drawn_from(reference_bundle: Callable[[str], Path]) -> None:
    manifest = Bundle.open(reference_bundle("int8")).manifest
    report = read_report(manifest.verification)
    assert report.passed
    assert report.identity.checkpoint == checkpoint_hash(resolve("reference"))
    assert report.identity.precisions == {"vision": "int8", "audio": "int8", "decoder": "int8"}
    assert report.numeric_examples == min(NUMERIC_EXAMPLES, report.examples)
    assert {row.clips for row in report.accuracy.values()} == {report.examples // 3}
    assert report.reliability is not None
    assert sum(row.count for row in report.reliability.bundle) == report.reliability.clips == report.examples
    assert report.divergence is not None
    assert report.divergence.windows == report.examples
    assert [row.layer for row in report.heads] == manifest.reallocation.layers  # type: ignore[union-attr]
    assert len(report.gates) == 4 * 2 * 2, "layers, projections, classes"
    assert all(sum(row.mean.values()) == pytest.approx(1, abs=1e-3) for row in report.gates)
    assert report.latency is not None
    assert all(value > 0 for value in report.latency.bundle.values())
    stored = {name: size for row in report.sizes for name, size in row.files.items()}
    assert stored == {name: entry.size for name, entry in manifest.files.items() if name != "report.html"}
    assert manifest.notice in page(report)


@pytest.mark.slow
def test_verifying_again_finds_the_same_and_obeys_tolerances(reference_bundle: Callable[[str], Path]) -> None:
    bundle = Bundle.open(reference_bundle("int8"))
    stages: list[str] = []
    strict = {"label_kl": 1e-9, "vision_cosine": 1.0, "heads_agreement": None}
    report = reverify(bundle, "reference", None, 18, 1, lambda stage, fraction: stages.append(stage), tolerances=strict)
    assert [check.name for check in report.failed] == [
        "vision tokens, cosine",
        "label distributions, mean KL (same gates)",
    ]
    assert report.examples == 18
    assert set(stages) == {"load", "verify"}
    by_name = {check.name: check for check in report.checks}
    assert by_name["heads selected alike"].tolerance is None
    with pytest.raises(UsageError, match="label_klx"):
        reverify(bundle, "reference", None, 18, 1, lambda *_: None, tolerances={"label_klx": 1.0})


@pytest.mark.slow
def test_report_of_a_model_that_is_too_large_to_run(reference_bundle: Callable[[str], Path]) -> None:
    bundle = reference_bundle("int8")
    rows = [LayerRow(0, 0.999, 0.1), LayerRow(1, 0.9, 0.5)]
    report = verify_layers(bundle, rows)
    assert [check.name for check in report.failed] == ["layer outputs, least cosine"]
    assert verify_layers(bundle, rows[:1]).passed
    assert report.examples == 0
    assert "decoder" in {row.component for row in report.sizes}
    assert "the least alike is layer 1" in page(report)
    with pytest.raises(ValueError, match="at least one"):
        verify_layers(bundle, [])
