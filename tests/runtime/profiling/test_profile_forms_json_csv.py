"""JSON and CSV as other programs read them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import statistics as truth
from typing import Any

import pytest
from profile_examples import full_profile

from mosear.runtime.profiling.forms.csv_form import to_csv
from mosear.runtime.profiling.forms.json_form import read_json, to_json
from mosear.runtime.profiling.record import Memory, Profile


def strict(text: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    content: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return content


def rows(profile: Profile) -> dict[str, dict[str, str]]:
    found = list(csv.DictReader(io.StringIO(to_csv(profile), newline=""), strict=True))
    assert all(None not in row and None not in row.values() for row in found), "rows of another length"
    assert len({row["metric"] for row in found}) == len(found)
    return {row["metric"]: row for row in found}


def test_json_has_an_object_a_metric_at_the_top() -> None:
    profile = full_profile()
    content = strict(to_json(profile))
    assert next(iter(content)) == "schema"
    for metric, samples in profile.samples.items():
        assert content[metric]["unit"] == profile.units[metric]
        assert content[metric]["avg"] == pytest.approx(truth.fmean(samples))
        assert content[metric]["count"] == len(samples)
    assert content["cold_start_imports"]["avg"] == pytest.approx(421.75)
    assert content["peak_memory_process"] == {"unit": "bytes", "avg": 812_345_678}
    assert content["energy_a_run"] == {"unit": "J", "avg": 0.7214}
    assert content["energy_a_run_above_idle"] == {"unit": "J", "avg": 0.3511}
    assert content["warnings"] == profile.warnings
    assert content["context"] == profile.context


@pytest.mark.parametrize("change", [{}, {"energy": None, "operators": None, "timeline": [], "spans": []}])
def test_json_reads_back_as_the_same_profile(change: dict[str, Any]) -> None:
    profile = dataclasses.replace(full_profile(5), **change)
    assert read_json(to_json(profile)) == profile
    assert Profile.from_dict(json.loads(to_json(profile))) == profile


def test_no_metric_can_stand_in_for_a_field() -> None:
    profile = full_profile(2)
    profile.samples["context"] = [1.0]
    profile.samples["schema"] = [1.0]
    assert read_json(to_json(profile)) == profile


def test_numbers_that_are_not_finite_are_null_and_come_back() -> None:
    profile = full_profile(3)
    profile.samples["prefill"] = [40.0, math.nan, math.inf]
    profile.context["load"] = math.inf
    content = strict(to_json(profile))
    assert content["samples"]["prefill"] == [40.0, None, None]
    assert content["prefill"]["count"] == 1
    assert content["context"]["load"] is None
    back = read_json(to_json(profile))
    assert back.samples["prefill"][0] == 40.0
    assert all(math.isnan(value) for value in back.samples["prefill"][1:])
    assert "count" in to_csv(back)


def test_two_peaks_of_one_kind_are_both_kept() -> None:
    peaks = [Memory("process", 1000, "one way"), Memory("process", 2000, "another"), Memory("device", 3000, "a third")]
    content = strict(to_json(dataclasses.replace(full_profile(2), memory=peaks)))
    told = [content[name]["avg"] for name in ("peak_memory_process", "peak_memory_process_2", "peak_memory_device")]
    assert told == [1000, 2000, 3000]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{", '{"schema": "mosear.profile/1"}', '{"schema": "mosear.doctor/1"}', '"text"'),
        to_json(full_profile(2)).replace("mosear.profile/1", "mosear.profile/2"),
        json.dumps({**full_profile(2).to_dict(), "samples": {"prefill": "fast"}}),
        json.dumps({**full_profile(2).to_dict(), "samples": {"prefill": [True]}}),
        json.dumps({**full_profile(2).to_dict(), "samples": {"prefill": [{}]}}),
        json.dumps({**full_profile(2).to_dict(), "cold_start": {"imports": 3}}),
        json.dumps({**full_profile(2).to_dict(), "memory": [{"what": "process"}]}),
    ],
)
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_csv_is_one_table_with_the_record_s_figures() -> None:
    profile = full_profile()
    found = rows(profile)
    for metric, samples in profile.samples.items():
        assert float(found[metric]["avg"]) == pytest.approx(truth.fmean(samples))
        assert float(found[metric]["std"]) == pytest.approx(truth.stdev(samples))
        assert int(found[metric]["count"]) == len(samples)
    assert float(found["cold_start_graphs"]["max"]) == 655.2
    assert found["peak_memory_device"]["avg"] == "1204000000"
    assert found["peak_memory_device"]["p50"] == ""
    assert found["power_busy_VDD_SOC"]["unit"] == "W"
    assert {row["bundle"] for row in found.values()} == {"reference-int8"}
    assert all("clocks are not locked" in row["warnings"] for row in found.values())


def test_csv_counts_what_a_fixed_rate_dropped() -> None:
    told = {"kind": "fixed-rate", "hop_s": 0.05, "arrived": 40, "answered": 26, "dropped": 14}
    found = rows(dataclasses.replace(full_profile(2), scenario=told))
    assert [found[f"windows_{name}"]["avg"] for name in ("arrived", "answered", "dropped")] == ["40", "26", "14"]


def test_csv_of_one_run_has_no_deviation() -> None:
    assert rows(full_profile(1))["end_to_end"]["std"] == ""


@pytest.mark.parametrize("name", ['=HYPERLINK("x")', "+1", "-1+1", "@sum", 'a,"b"\nc', "ä → ü", "\ta"])
def test_csv_survives_hostile_names(name: str) -> None:
    profile = dataclasses.replace(full_profile(2, name=name), clip=name)
    for row in rows(profile).values():
        assert row["bundle"][:1] not in ("=", "+", "-", "@")
        assert row["clip"].lstrip("'") == " ".join(name.split())


def test_csv_has_no_word_for_what_is_no_number() -> None:
    profile = full_profile(2)
    assert profile.energy is not None
    nothing = dataclasses.replace(profile, energy=dataclasses.replace(profile.energy, idle_w=math.nan))
    assert rows(nothing)["power_idle"]["avg"] == ""
    assert rows(nothing)["power_busy"]["avg"] == "9.37"
