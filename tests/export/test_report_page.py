"""The report as JSON and as a page: everything is in both, nothing comes from elsewhere, and a phone can show it."""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_layout import CHROMIUM, layout
from report_examples import full_report
from strict_page import Page, assert_alone

from mosear.export.checks.reading import read_report
from mosear.export.checks.record import Check, Report
from mosear.export.report.page import page
from mosear.export.report.write import write_report
from mosear.runtime.errors import BadInput, Failed

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, f"{path}.{key}")
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from leaves(entry, f"{path}[{place}]")
    else:
        yield path, value


def missing(report: Report, source: str) -> list[str]:
    """Paths of the JSON whose value is nowhere on the page, as a number to four digits, in percent, or as words."""
    words = Page(source).words
    figures = [float(text) for text in NUMBER.findall(words)]
    absent = []
    for path, value in leaves(json.loads(json.dumps(report.as_dict()))):
        if isinstance(value, str):
            there = {"<=": "≤", ">=": "≥"}.get(value, value) in words
        elif isinstance(value, bool) or value is None:
            there = True
        else:
            there = any(math.isclose(f, wanted, rel_tol=6e-4) for wanted in (value, 100 * value) for f in figures)
        if not there:
            absent.append(path)
    return absent


@pytest.mark.parametrize("layers", [3, 24])
def test_every_figure_and_word_of_the_json_is_on_the_page(layers: int) -> None:
    report = full_report(layers)
    assert missing(report, page(report)) == []


def test_a_figure_or_a_word_that_is_not_on_the_page_is_missed() -> None:
    """The test above can fail: on another report's page, what was changed is not found."""
    report, other = full_report(), full_report()
    assert other.latency is not None
    other = dataclasses.replace(
        other,
        identity=dataclasses.replace(other.identity, intended_use="toys"),
        latency=dataclasses.replace(other.latency, bundle={**other.latency.bundle, "total": 31.3}),
    )
    assert missing(report, page(other)) == [".identity.intended_use", ".latency.bundle.total"]


def test_page_needs_nothing_from_elsewhere() -> None:
    source = page(full_report())
    shown = Page(source)
    assert_alone(source)
    assert "prefers-color-scheme: dark" in source
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in shown.tags
    assert source.startswith("<!DOCTYPE html>")


def test_hostile_text_stays_text() -> None:
    evil = "\"><script>alert(1)</script><img src=x onerror='x'>&lt;"
    report = full_report(name=evil)
    report = dataclasses.replace(
        report,
        identity=dataclasses.replace(report.identity, notice=evil, intended_use=evil, calibration_source=evil),
        checks=(*report.checks, Check(evil, 1.0, "<=", 0.5, evil, evil)),
        accuracy={evil: report.accuracy["video_aligned"]},
        sensitivity=tuple(dataclasses.replace(row, part=evil) for row in report.sensitivity),
        gates=tuple(dataclasses.replace(row, module=evil, projection=evil) for row in report.gates),
    )
    shown = Page(page(report))
    assert {tag for tag, _ in shown.tags} & {"script", "img"} == set()
    assert shown.words.count(" ".join(evil.split())) >= 8


def test_verdict_and_failures_are_said_first() -> None:
    failed = full_report()
    words = Page(page(failed)).words
    assert words.index("failed: 1 of 3 checks") < words.index("vision tokens, cosine: 0.9999, must be ≥ 0.9999")
    # A loss within the noise of its clips passes, and the page says what the noise adds.
    assert "≤ 0.01 + 0.0287 = 0.0387" in words
    assert not failed.passed
    good = dataclasses.replace(failed, checks=failed.checks[1:])
    assert good.passed
    assert "passed: 2 checks" in Page(page(good)).words


def test_sections_without_figures_are_left_out() -> None:
    full = full_report()
    bare = Report(full.identity, full.checks[:1], examples=0)
    words = Page(page(bare)).words
    for title in ("Accuracy by subset", "Experts", "Heads", "Layer by layer", "Size and latency", "part's precision"):
        assert title in Page(page(full)).words
        assert title not in words.replace("Experts merged", "")


def test_json_reads_back_as_the_same_report(tmp_path: Path) -> None:
    report = full_report()
    write_report(tmp_path / "r.html", tmp_path / "r.json", report)
    content = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert read_report(content) == report
    assert page(read_report(content)) == (tmp_path / "r.html").read_text(encoding="utf-8")
    assert content["passed"] is False
    assert [check["passed"] for check in content["checks"]] == [False, True, True, True]
    assert content["checks"][2]["bound"] == pytest.approx(0.0387)


def test_figures_that_are_not_finite_are_null_and_fail() -> None:
    report = dataclasses.replace(
        full_report(),
        checks=(Check("a", math.inf, "<=", 1.0), Check("b", math.nan, ">=", 0.5), Check("c", math.nan, ">=", None)),
    )
    content = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert [(c["measured"], c["passed"]) for c in content["checks"]] == [(None, False), (None, False), (None, True)]
    assert [check.passed for check in read_report(content).checks] == [False, False, True]
    assert "not a number" in Page(page(report)).words


@pytest.mark.parametrize("damage", [{}, {"checks": 3}, [], None, "text"])
def test_what_is_no_report_is_refused(damage: Any) -> None:
    content = {**full_report().as_dict(), **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(BadInput, match="no verification report"):
        read_report(content)


def test_report_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="absent"):
        write_report(tmp_path / "absent" / "r.html", tmp_path / "r.json", full_report())


@pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium to lay the page out")
@pytest.mark.parametrize("width", [320, 360, 1200])
@pytest.mark.parametrize("layers", [3, 32])
def test_page_fits_its_window(tmp_path: Path, width: int, layers: int) -> None:
    """Laid out by a browser: no sideways scrolling, nothing sticks out, and the plots' type stays readable."""
    report = full_report(layers, heads=32, name="a-name-without-any-blank-" * 4)
    report = dataclasses.replace(report, accuracy={"x" * 70: report.accuracy["video_aligned"]})
    measured = layout(page(report), width, tmp_path)
    assert measured["client"] > width - 30
    assert measured["scroll"] <= measured["client"]
    assert measured["wide"] == []
    assert measured["type"] >= 8.5
