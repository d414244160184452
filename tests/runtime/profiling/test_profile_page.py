"""The page: the record's figures, nothing from elsewhere, names as text, a bounded size, and a phone can show it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_layout import CHROMIUM, layout
from profile_examples import full_profile
from strict_page import Page, assert_alone, tables

from mosear.runtime.profiling.page.axes import Scale, padded, thinned, ticks
from mosear.runtime.profiling.page.page import page
from mosear.runtime.profiling.page.timeline import bands
from mosear.runtime.profiling.record import Operator, Profile, Reading

BARE: dict[str, Any] = {
    "energy": None,
    "memory": [],
    "timeline": [],
    "operators": None,
    "operators_method": "no profiler here",
    "cold_start": {},
    "warnings": [],
    "context": {},
    "spans": [],
}


def section(source: str, title: str) -> str:
    found = re.search(rf"<section><h2>{re.escape(title)}</h2>(.*?)</section>", source, re.DOTALL)
    assert found, title
    return found.group(1)


def rects(source: str, class_: str) -> list[dict[str, float]]:
    found = re.findall(rf'<rect ([^>]*?) class="{class_}"/>', source)
    return [{key: float(value) for key, value in re.findall(r'(\w+)="([^"]*)"', each)} for each in found]


def fixed_rate() -> Profile:
    profile = full_profile(20)
    profile.samples["latency"] = [2 * value for value in profile.samples["end_to_end"]]
    profile.units["latency"] = "ms"
    told = {"kind": "fixed-rate", "hop_s": 0.05, "arrived": 40, "answered": 26, "dropped": 14}
    return dataclasses.replace(profile, scenario=told)


def test_tables_hold_the_record_s_figures() -> None:
    profile = full_profile()
    found = tables(page(profile))
    head, *lines = found[0]
    told = {line[0]: dict(zip(head[1:], map(float, line[1:]), strict=True)) for line in lines}
    for title, metric in (
        ("capture", "capture"),
        ("end to end", "end_to_end"),
        ("time a token", "inter_token_latency"),
    ):
        samples = profile.samples[metric]
        for at in (50, 90, 95, 99):
            assert told[title][f"p{at}"] == pytest.approx(np.percentile(samples, at), rel=6e-4)
        assert told[title]["mean"] == pytest.approx(np.mean(samples), rel=6e-4)
        assert told[title]["std"] == pytest.approx(np.std(samples, ddof=1), rel=6e-4)
        assert told[title]["count"] == len(samples)
    cells = {tuple(line[:2]) for table in found for line in table}
    assert ("peak memory, process", "812.3 MB") in cells
    assert ("energy a run", "0.7214 J") in cells
    heaviest = sorted(profile.operators or [], key=lambda each: -each.ms)
    operators = [line for table in found if table[0][0] == "Graph" and len(table[0]) == 6 for line in table[1:]]
    assert len(operators) == len(heaviest)
    assert [float(line[4]) for line in operators] == pytest.approx([each.ms for each in heaviest], rel=6e-4)
    assert sum(float(line[5].split()[0]) for line in operators) == pytest.approx(100, abs=2.5)


def test_idle_and_busy_are_told_apart() -> None:
    profile = full_profile()
    begins = min(span.start for span in profile.spans if span.run == 0)
    idle = [each.power_w["VDD_IN"] for each in profile.timeline if each.time < 2.0]
    busy = [each.power_w["VDD_IN"] for each in profile.timeline if each.time >= begins]
    table = next(each for each in tables(page(profile)) if "idle, mean" in each[0])
    row = next(line for line in table if line[1] == "VDD_IN")
    assert float(row[2]) == pytest.approx(np.mean(idle), rel=2e-3)
    # The two milliseconds between runs belong to no run; a reading that falls there is not counted.
    assert float(row[3]) == pytest.approx(np.mean(busy), rel=1e-2)
    assert [line[1] for line in table if line[0] == "Clocks, MHz"] == ["cpu0, cpu1, cpu2, cpu3, cpu4, cpu5", "gpu"]


def test_stages_follow_each_other_as_wide_as_their_medians() -> None:
    profile = full_profile()
    shown = section(page(profile), "Where the time goes")
    bars, whole = rects(shown, "a"), rects(shown, "c")[0]
    names = ["capture", "media_decode", "preprocess", "vision", "audio", "prefill", "label_scoring"]
    medians = [float(np.median(profile.samples[name])) for name in names]
    scale = whole["width"] / float(np.median(profile.samples["end_to_end"]))
    assert [bar["width"] / scale for bar in bars] == pytest.approx(medians, abs=0.05)
    starts = [(bar["x"] - whole["x"]) / scale for bar in bars]
    assert starts == pytest.approx([sum(medians[:place]) for place in range(len(names))], abs=0.1)


def test_the_histogram_holds_every_run() -> None:
    source = page(full_profile(57))
    first = section(source, "Latency").split("</figure>")[0]
    heights = [bar["height"] for bar in rects(first, "a")]
    most = 57 * max(heights) / sum(heights)
    assert most == pytest.approx(round(most), abs=0.02)
    counts = [height / max(heights) * most for height in heights]
    assert counts == pytest.approx([round(count) for count in counts], abs=0.02)
    assert "57 in all" in first


def test_page_needs_nothing_from_elsewhere_and_is_for_every_screen_and_paper() -> None:
    for profile in (full_profile(), fixed_rate(), dataclasses.replace(full_profile(1), **BARE)):
        source = page(profile)
        assert_alone(source)
        assert "prefers-color-scheme: dark" in source
        assert "@media print" in source
        assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Page(source).tags


def test_no_class_is_without_a_style_and_no_figure_is_not_a_number() -> None:
    source = page(full_profile())
    style = source[source.index("<style>") : source.index("</style>")]
    used = {name for _, attributes in Page(source).tags for name in (attributes.get("class") or "").split()}
    assert {name for name in used if f".{name}" not in style} <= {"number"}
    drawn = source[source.index("</style>") :]
    assert not re.search(r"\b(nan|inf|None)\b", drawn)


EVIL = "\"><script>alert(1)</script><img src=x onerror='x'>&lt;"


def test_hostile_text_stays_text() -> None:
    profile = full_profile(3, name=EVIL)
    energy = dataclasses.replace(profile.energy, rail=EVIL, rails_w={EVIL: 1.0}) if profile.energy else None
    profile.samples[EVIL] = [1.0, 2.0, 3.0]
    profile.units[EVIL] = EVIL
    readings = [Reading(each.time, {EVIL: 1.0}, {EVIL: 2.0}, {EVIL: 3.0}) for each in profile.timeline]
    changes: dict[str, Any] = {
        "clip": EVIL,
        "warnings": [EVIL],
        "operators": [dataclasses.replace(each, operator=EVIL, graph=EVIL) for each in profile.operators or []],
        "operators_method": EVIL,
        "memory": [dataclasses.replace(each, method=EVIL, what=EVIL) for each in profile.memory],
        "energy": energy,
        "context": {EVIL: {EVIL: EVIL}},
        "cold_start": {EVIL: [1.0, 2.0]},
        "timeline": readings,
        "scenario": {"kind": EVIL, EVIL: EVIL},
        "settings": {EVIL: EVIL},
        "created": EVIL,
    }
    shown = Page(page(dataclasses.replace(profile, **changes)))
    assert {tag for tag, _ in shown.tags} & {"script", "img"} == set()
    assert shown.words.count(EVIL) >= 20


def test_sections_without_data_say_so() -> None:
    words = Page(page(dataclasses.replace(full_profile(2), **BARE))).words
    assert "Cold start Not measured." in words
    assert "Energy was not measured: no power rail could be read. Memory was not measured." in words
    assert "Operators no profiler here" in words
    assert "Not measured: no sensor could be read." in words
    nothing = Page(page(dataclasses.replace(full_profile(1), **{**BARE, "samples": {}}))).words
    assert "Steady state Not measured." in nothing
    assert "Latency" not in nothing


def test_warnings_come_before_everything_else() -> None:
    profile = full_profile(2)
    words = Page(page(profile)).words
    told = [words.index(warning) for warning in profile.warnings]
    assert max(told) < words.index("precision")


def test_one_run_has_no_distribution() -> None:
    words = Page(page(full_profile(1))).words
    assert "One of the runs only" in words
    assert "1 measured run." in words


def test_a_fixed_rate_tells_its_drops_and_latency() -> None:
    words = Page(page(fixed_rate())).words
    assert "fixed-rate, a window every 0.05 s, 40 arrived, 26 answered, 14 dropped" in words
    assert "Arrival to answer, ms" in words


def test_a_run_that_took_very_long_is_told_and_does_not_squeeze_the_others() -> None:
    profile = full_profile(40)
    profile.samples["end_to_end"][7] = 5000.0
    source = page(profile)
    assert "1 of 40 runs took longer than the axis shows, up to 5000." in Page(source).words
    assert len(rects(section(source, "Latency").split("</figure>")[0], "a")) > 5


@pytest.mark.parametrize("value", [0.0, 5.0, 1e-7, 1e9])
def test_samples_that_are_all_alike_can_be_drawn(value: float) -> None:
    profile = full_profile(12)
    same = {metric: [value] * len(samples) for metric, samples in profile.samples.items()}
    still = [Reading(each.time, {"a": value}, {"b": value}, {"c": value}) for each in profile.timeline]
    source = page(dataclasses.replace(profile, samples=same, timeline=still, cold_start={"imports": [value]}))
    assert not re.search(r"\b(nan|inf)\b", source)
    assert Page(source).words


def test_the_page_does_not_grow_with_the_runs() -> None:
    few, many = page(full_profile(300)), page(full_profile(4000))
    assert len(many) < 1.25 * len(few)
    assert len(many) < 300_000


def test_many_operators_are_bounded_and_the_rest_is_summed() -> None:
    operators = [Operator("prefill", layer, f"op{kind}", 1, 1.0) for layer in range(32) for kind in range(20)]
    source = page(dataclasses.replace(full_profile(2), operators=operators))
    assert "240 more take 240.0 ms together" in Page(source).words
    assert source.count("<title>prefill, layer") == 32
    shown = [table for table in tables(source) if len(table[0]) == 6 and table[0][0] == "Graph"]
    assert sum(len(table) - 1 for table in shown) == 400


def test_peaks_outlive_the_thinning() -> None:
    points = [(place / 50, math.sin(place)) for place in range(5000)]
    points[2345] = (points[2345][0], 99.0)
    kept = thinned(points)
    assert (points[2345][0], 99.0) in kept
    assert len(kept) <= 2 * 101
    for column in range(100):
        heights = [y for x, y in points if column <= x < column + 1]
        assert {min(heights), max(heights)} <= {y for x, y in kept if column <= x < column + 1}
    assert kept == sorted(kept)
    assert set(kept) <= set(points)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.31, [0.15, 0.2, 0.25, 0.3]), (3, 3, [3]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_axes_have_round_numbers(low: float, high: float, told: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(told)


def test_what_is_counted_has_no_fractions_on_its_axis() -> None:
    assert ticks(0, 2, whole=True) == [0, 1, 2]


def test_scales_keep_to_their_plot() -> None:
    scale = Scale(0, 10, 100, 0)
    assert [scale(value) for value in (0, 5, 10, 20, -3)] == [100, 50, 0, 0, 100]
    low, high = padded([5.0, 5.0])
    assert low < 5 < high


def test_runs_that_follow_closely_are_one_band() -> None:
    profile = full_profile(10, warmup=2)
    assert Counter(band.kind for band in bands(profile, 0.01)) == {"band-warm": 1, "band": 1}
    assert Counter(band.kind for band in bands(profile, 0.0)) == {"band-warm": 2, "band": 10}


@pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium to lay the page out")
@pytest.mark.parametrize("width", [320, 1200])
def test_page_fits_its_window(tmp_path: Path, width: int) -> None:
    """Laid out by a browser: no sideways scrolling, nothing sticks out, and the plots' type stays readable."""
    profile = full_profile(12, layers=32, name="a-name-without-any-blank-" * 4)
    profile.context["x" * 70] = {"y" * 70: "z" * 200}
    profile.cold_start["w" * 70] = [1.0]
    measured = layout(page(profile), width, tmp_path)
    assert measured["client"] > width - 30
    assert measured["scroll"] <= measured["client"]
    assert measured["wide"] == []
    assert measured["type"] >= 8.5


def test_the_whole_cold_start_is_no_step_behind_its_phases() -> None:
    profile = dataclasses.replace(full_profile(), cold_start={"imports": [300.0], "loading": [100.0], "total": [400.0]})
    section = Page(page(profile)).words.split("Cold start")[1]
    assert "the whole" in section.split("Memory")[0]
    # Steps end at 400 ms and so does the whole: the axis has no room for 800.
    assert "800" not in section.split("Memory")[0]
