"""Two bundles in turns, and two saved profiles."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runtime_fakes
from profile_examples import full_profile

from mosear.runtime.board.machine import Machine
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.profiling import compare_bundles as in_turns
from mosear.runtime.profiling.compare import FASTER, UNSEEN
from mosear.runtime.profiling.compare_bundles import compare_bundles
from mosear.runtime.profiling.compare_profiles import compare_profiles
from mosear.runtime.profiling.contender import Contender, Run
from mosear.runtime.profiling.forms.write import write
from mosear.runtime.profiling.plan import Plan
from mosear.runtime.profiling.record import Profile
from mosear.runtime.spans import Stretch

Plans = tuple[Plan, Plan]


@pytest.fixture
def plans(toy_bundle: Path, tmp_path: Path, clip: Path) -> Plans:
    """Two of the toy bundle, the second under another name."""
    other = runtime_fakes.open_bundle(tmp_path / "other", name="other")
    a, b = (Plan(each, clip, runs=8, warmup=1, tokens=3).resolved() for each in (Bundle.open(toy_bundle), other))
    return a, b


def _order(plans: Plans, monkeypatch: pytest.MonkeyPatch, seed: int) -> list[str]:
    """Which bundle ran, in order."""
    ran: list[str] = []

    class Noted(Contender):
        def __init__(self, pipeline: Any, source: Any, tokens: int) -> None:
            super().__init__(pipeline, source, tokens)
            self.name = pipeline.bundle.manifest.name

        def run(self) -> Run:
            ran.append(self.name)
            return Run(0.0, 1.0, 2.0, 2.0, 3.0, ())

    monkeypatch.setattr(in_turns, "Contender", Noted)
    compare_bundles(*plans, seed=seed)
    return ran


def test_both_run_in_every_pair_in_an_order_that_the_seed_says(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = _order(plans, monkeypatch, seed=1)
    pairs = [tuple(ran[place : place + 2]) for place in range(0, len(ran), 2)]
    assert len(pairs) == 9  # one of them for warming up
    assert set(pairs) == {("toy", "other"), ("other", "toy")}
    assert _order(plans, monkeypatch, seed=1) == ran
    assert _order(plans, monkeypatch, seed=2) != ran


def test_real_runs_have_a_ratio_a_metric(plans: Plans, tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    told: list[tuple[str, int, int]] = []
    found = compare_bundles(*plans, tell=lambda *each: told.append(each), machine=Machine(tmp_path / "machine", {}))
    names = [each.name for each in found.metrics]
    assert names[:7] == ["capture", "media_decode", "preprocess", "vision", "audio", "prefill", "label_scoring"]
    assert {"end_to_end", "time_to_first_token", "output_token_throughput", "real_time_factor"} < set(names)
    assert "inter_token_latency" not in names
    assert all(
        each.pairs == 8 and each.low and each.high and each.low <= each.ratio <= each.high for each in found.metrics
    )
    assert (found.kind, found.a["name"], found.b["name"]) == ("bundles", "toy", "other")
    assert found.a["sha256"] != found.b["sha256"]
    assert found.settings["tokens"] == 3
    assert {stage for stage, _, _ in told} == {"loading both bundles", "warming up", "comparing"}
    assert json.loads(json.dumps(found.to_dict()))["schema"] == "mosear.comparison/1"


@pytest.mark.parametrize(("gain", "verdict"), [(1.0, UNSEEN), (0.95, FASTER)])
def test_the_pairs_of_a_drifting_machine(
    plans: Plans, monkeypatch: pytest.MonkeyPatch, gain: float, verdict: str
) -> None:
    """Made-up runs: the machine slows down by half on the way, and B takes ``gain`` of A's time."""

    class Made:
        def __init__(self, pipeline: Any, source: Any, tokens: int) -> None:
            is_b = pipeline.bundle.manifest.name == "other"
            self.factor, self.pair = (gain if is_b else 1.0), 0
            self.random = np.random.default_rng(int(is_b))

        def run(self) -> Run:
            took = self.factor * (1 + self.pair / 80) * self.random.lognormal(0, 0.03)
            self.pair += 1
            return Run(0.0, 0.5 * took, took, took, 3.0, (Stretch("vision", 0.5 * took, took),))

    monkeypatch.setattr(in_turns, "Contender", Made)
    a, b = (replace(each, runs=40) for each in plans)
    found = {each.name: each for each in compare_bundles(a, b).metrics}
    assert set(found) == {"vision", "end_to_end", "real_time_factor"}
    assert found["end_to_end"].verdict == verdict
    assert found["end_to_end"].ratio == pytest.approx(gain, abs=0.02)
    assert found["vision"].ratio == found["end_to_end"].ratio


def test_windows_of_two_lengths_are_not_compared(toy_bundle: Path, tmp_path: Path, clip: Path) -> None:
    sizes = {**runtime_fakes.manifest_fields()["preprocessing"], "window_s": 2.0}
    short = runtime_fakes.open_bundle(tmp_path / "short", preprocessing=sizes)
    a, b = (Plan(each, clip, runs=1).resolved() for each in (Bundle.open(toy_bundle), short))
    with pytest.raises(UsageError, match=r"windows of 3 s.*of 2 s") as caught:
        compare_bundles(a, b)
    assert "--window 2" in caught.value.remedy


def test_text_is_left_out_when_one_gives_none(toy_bundle: Path, tmp_path: Path, clip: Path) -> None:
    prompt = {**runtime_fakes.manifest_fields()["prompt"], "tasks": {"emotion": "which emotion"}}
    mute = runtime_fakes.open_bundle(tmp_path / "mute", prompt=prompt)
    a, b = (Plan(each, clip, runs=1, warmup=0).resolved() for each in (Bundle.open(toy_bundle), mute))
    found = compare_bundles(a, b)
    assert found.settings["tokens"] == 0
    assert "token_decode" not in {each.name for each in found.metrics}


Save = Callable[[str, Profile], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def put(name: str, profile: Profile) -> Path:
        write(profile, tmp_path / name)
        return tmp_path / name

    return put


def test_saved_profiles_that_differ_in_nothing_but_the_bundle(save: Save) -> None:
    a = full_profile(30)
    other = copy.deepcopy(a)
    samples = {name: [value * 0.8 for value in values] for name, values in other.samples.items()}
    b = replace(other, samples=samples, bundle={**other.bundle, "sha256": "77" * 32, "precision": "int4"})
    found = compare_profiles(save("a.json", a), save("b.json", b))
    contrasts = {each.name: each for each in found.metrics}
    assert contrasts["end_to_end"].ratio == pytest.approx(0.8)
    assert contrasts["end_to_end"].verdict == FASTER
    assert contrasts["end_to_end"].pairs is None
    assert "inter_token_latency" not in contrasts
    assert found.kind == "profiles"
    assert Path(found.a["profile"]).name == "a.json"
    assert len(found.warnings) == 3
    assert "measured apart" in found.warnings[0]
    assert found.warnings[1:] == [f"A and B: {each}" for each in a.warnings]


def test_every_difference_of_machine_and_settings_is_a_line(save: Save) -> None:
    a = full_profile(8)
    b = replace(
        copy.deepcopy(a),
        clip="talk.mp4",
        settings={**a.settings, "threads": 4},
        scenario={"kind": "fixed-rate", "hop_s": 0.5, "arrived": 9, "answered": 8, "dropped": 1},
        context={
            **a.context,
            "power_mode": {"name": "MAXN_SUPER", "number": 2},
            "clocks_locked": True,
            "temperatures": {"cpu": 58.0, "gpu": 44.5},
            "versions": {"mosear": "0.1.0", "onnxruntime": "1.25.0"},
        },
        warnings=["the fan is off"],
    )
    told = compare_profiles(save("a.json", a), save("b.json", b)).warnings
    assert told[1:] == [
        "both are profiles of one and the same bundle: whatever differs is the machine's",
        "the clips differ: A built-in, 3 s, B talk.mp4",
        "scenario, kind: A single-stream, B fixed-rate",
        "scenario, hop s: A not known, B 0.5 s",
        "settings, threads: A not known, B 4",
        "machine, power mode, name: A 15W, B MAXN_SUPER",
        "machine, power mode, number: A 0, B 2",
        "machine, clocks locked: A no, B yes",
        "machine, versions, onnxruntime: A 1.23.0, B 1.25.0",
        "machine, temperature of cpu before the runs: A 45 °C, B 58 °C",
        *(f"A: {each}" for each in a.warnings),
        "B: the fan is off",
    ]


def test_metrics_of_one_side_are_left_out(save: Save) -> None:
    a = full_profile(8)
    b = replace(a, samples={"vision": a.samples["vision"], "latency": [1.0] * 8}, units={"vision": "s"})
    found = compare_profiles(save("a.json", a), save("b.json", b))
    assert found.metrics == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema": "mosear.comparison/1"}',
        '{"traceEvents": []}',
        '{"schema": "mosear.profile/1"}',
        "[" * 9999,
    ],
)
def test_other_files_are_refused(save: Save, tmp_path: Path, text: str) -> None:
    good = save("a.json", full_profile(2))
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(BadInput, match=r"b\.json is no saved profile"):
        compare_profiles(good, tmp_path / "b.json")


def test_a_profile_with_a_field_of_another_form_is_refused(save: Save, tmp_path: Path) -> None:
    good = save("a.json", full_profile(2))
    for name in ("samples", "context", "bundle", "settings"):
        content = json.loads(good.read_text())
        (tmp_path / "b.json").write_text(json.dumps({**content, name: [1, 2]}))
        with pytest.raises(BadInput, match="no saved profile"):
            compare_profiles(good, tmp_path / "b.json")


def test_a_missing_file_is_named(save: Save, tmp_path: Path) -> None:
    good = save("a.json", full_profile(2))
    with pytest.raises(BadInput, match=r"absent\.json can't be read"):
        compare_profiles(good, tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BadInput, match="no saved profile"):
        compare_profiles(tmp_path / "latin.json", good)
