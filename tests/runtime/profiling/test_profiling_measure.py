"""A whole profile of the toy bundle, on machines that are made of files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import runtime_fakes
import runtime_media

from mosear.runtime.board.machine import Machine
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.profiling import measure as whole
from mosear.runtime.profiling.built_in_clip import write_built_in
from mosear.runtime.profiling.clip_at_hand import clip_at_hand
from mosear.runtime.profiling.measure import measure
from mosear.runtime.profiling.plan import TOKENS, Plan
from mosear.runtime.profiling.record import END_TO_END, STAGES, Profile
from mosear.runtime.profiling.scenario import Scenario
from mosear.runtime.profiling.source import Source
from mosear.runtime.windows import read_windows

Trees = Callable[..., Machine]
CHIP = "/sys/class/hwmon/hwmon0"
RAIL = {
    f"{CHIP}/name": "ina3221\n",
    f"{CHIP}/in1_label": "VDD_IN\n",
    f"{CHIP}/in1_input": "5000\n",
    f"{CHIP}/curr1_input": "1200\n",
}


def _plan(bundle: Path, clip: Path | None, **changes: Any) -> Plan:
    settings: dict[str, Any] = {"runs": 3, "warmup": 1, "tokens": 4, "cold": 0, "operators": False, "idle_s": 0.3}
    return Plan(Bundle.open(bundle), clip, **{**settings, **changes}).resolved()


def _of(samples: list[float]) -> np.ndarray:
    return np.array(samples, np.float64)


def test_a_profile_has_all_of_it(toy_bundle: Path, clip: Path, tree: Trees) -> None:
    plan = _plan(toy_bundle, clip, cold=2, operators=True, threads=1)
    found = measure(plan, machine=tree(RAIL))
    samples = found.samples
    assert set(samples) == {
        *STAGES,
        *(END_TO_END, "text_prefill", "time_to_first_token", "inter_token_latency"),
        *("output_token_throughput", "real_time_factor"),
    }
    assert {len(values) for name, values in samples.items() if name != "inter_token_latency"} == {3}
    assert len(samples["inter_token_latency"]) == 3 * 3
    stages = sum(_of(samples[name]) for name in STAGES if name != "token_decode")
    assert (stages <= _of(samples[END_TO_END])).all()
    assert _of(samples["real_time_factor"]) == pytest.approx(_of(samples[END_TO_END]) / 3000)
    text = _of(samples["inter_token_latency"]).reshape(3, 3).sum(axis=1)
    assert (_of(samples["token_decode"]) <= text).all()
    assert _of(samples["output_token_throughput"]) == pytest.approx(3000 / text)
    model = sum(_of(samples[name]) for name in ("vision", "audio", "prefill", "label_scoring", "text_prefill"))
    assert (_of(samples["time_to_first_token"]) >= model).all()
    assert set(found.units) == set(samples)
    assert {len(values) for values in found.cold_start.values()} == {2}
    assert [each.what for each in found.memory][-1] == "process"
    assert "2 fresh processes" in found.memory[-1].method
    assert found.operators
    assert found.settings == {"runs": 3, "warmup": 1, "threads": 1, "provider": "cpu", "tokens": 4, "window_s": 3.0}
    assert found.scenario == {"kind": "single-stream"}
    assert found.clip == str(clip)
    assert found.bundle["name"] == "toy"
    assert len(found.bundle["sha256"]) == 64
    assert Profile.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_spans_lie_in_their_runs_one_after_another(toy_bundle: Path, clip: Path, tree: Trees) -> None:
    found = measure(_plan(toy_bundle, clip, warmup=2), machine=tree({}))
    runs = [each for each in found.spans if each.name == END_TO_END]
    assert [each.run for each in runs] == [-2, -1, 0, 1, 2]
    times = [time for each in runs for time in (each.start, each.start + each.duration)]
    assert times == sorted(times)
    assert times[0] > 0
    for run in runs:
        parts = [each for each in found.spans if each.run == run.run and each.name != END_TO_END]
        assert all(one.start + one.duration <= other.start + 1e-9 for one, other in itertools.pairwise(parts))
        assert parts[0].start >= run.start
        for stage in STAGES:
            durations = sum(each.duration for each in parts if each.name == stage)
            if run.run >= 0:
                assert durations * 1000 == pytest.approx(found.samples[stage][run.run])


def test_energy_of_a_rail_of_six_watts(toy_bundle: Path, clip: Path, tree: Trees) -> None:
    # Runs of the toy are short, and power is read every 50 ms.
    found = measure(_plan(toy_bundle, clip, runs=25, idle_s=0.6), machine=tree(RAIL))
    assert found.energy is not None, found.warnings
    assert found.energy.rail == "VDD_IN"
    assert (found.energy.idle_w, found.energy.busy_w) == (pytest.approx(6.0), pytest.approx(6.0))
    measured = [each for each in found.spans if each.run >= 0]
    busy = max(each.start + each.duration for each in measured) - min(each.start for each in measured)
    # The text of the last run ends with its last span or a little later.
    assert found.energy.joules_a_run == pytest.approx(6.0 * busy / 25, rel=0.01)
    assert found.energy.joules_a_run_above_idle == pytest.approx(0.0, abs=1e-9)
    first = min(each.start for each in found.spans)
    assert sum(each.time < first for each in found.timeline) >= 3
    assert all(each.power_w == {"VDD_IN": pytest.approx(6.0)} for each in found.timeline)


def test_without_a_rail_energy_is_not_measured_and_said_so(toy_bundle: Path, clip: Path, tree: Trees) -> None:
    found = measure(_plan(toy_bundle, clip, idle_s=60.0), machine=tree({}))
    assert found.energy is None
    assert any(each.startswith("energy was not measured: ") for each in found.warnings)
    found = measure(_plan(toy_bundle, clip, idle_s=0.0), machine=tree(RAIL))
    assert found.energy is None
    assert any("--idle 0" in each for each in found.warnings)


def test_a_fixed_rate_counts_what_it_dropped(toy_bundle: Path, clip: Path, tree: Trees) -> None:
    plan = _plan(toy_bundle, clip, scenario=Scenario.fixed_rate, hop_s=0.001, tokens=None)
    found = measure(plan, machine=tree({}))
    told = found.scenario
    assert (told["kind"], told["hop_s"], told["answered"]) == ("fixed-rate", 0.001, 3)
    # Reading the clip alone takes more than a millisecond.
    assert told["dropped"] > 0
    assert told["arrived"] == told["answered"] + told["dropped"]
    assert len(found.samples["latency"]) == 3
    assert found.settings["tokens"] == 0
    assert "token_decode" not in found.samples
    assert (_of(found.samples["latency"]) >= _of(found.samples[END_TO_END])).all()


def test_what_changes_under_the_runs_is_said(
    toy_bundle: Path, clip: Path, tree: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = "/sys/devices/system/cpu/cpufreq/policy0"
    limits = {f"{cpu}/scaling_{each}_freq": "1500000\n" for each in ("min", "max", "cur")}
    machine = tree({**limits, f"{cpu}/scaling_governor": "performance\n"})
    state = whole.state

    def after(seen: Machine) -> dict[str, Any]:
        seen.path(f"{cpu}/scaling_governor").write_text("powersave\n")
        return state(seen)

    monkeypatch.setattr(whole, "state", after)
    found = measure(_plan(toy_bundle, clip), machine=machine)
    assert found.context["governor"] == "performance"
    assert found.context["after"]["governor"] == "powersave"
    assert "the governor changed during the runs" in found.warnings


def test_the_operators_trouble_does_not_take_the_runs_along(
    toy_bundle: Path, clip: Path, tree: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise Failed("the profiler broke", "try again")

    monkeypatch.setattr(whole, "profile_operators", fail)
    found = measure(_plan(toy_bundle, clip, operators=True), machine=tree({}))
    assert found.operators is None
    assert found.operators_method == "the profiler broke; try again"
    assert len(found.samples[END_TO_END]) == 3


def test_it_tells_how_far_it_is_between_runs(toy_bundle: Path, clip: Path, tree: Trees) -> None:
    told: list[tuple[str, int, int]] = []
    measure(_plan(toy_bundle, clip, operators=True), lambda *each: told.append(each), tree(RAIL))
    assert told == [
        *(("loading", 0, 1), ("idle", 0, 1), ("warming up", 0, 1)),
        *(("measuring", 0, 3), ("measuring", 1, 3), ("measuring", 2, 3), ("operators", 0, 1)),
    ]


@pytest.mark.parametrize(("kind", "missing"), [("audio", "picture"), ("video", "sound")])
def test_a_clip_with_one_track_leaves_one_encoder_out(
    toy_bundle: Path, tmp_path: Path, tree: Trees, kind: str, missing: str
) -> None:
    tracks = {"audio": kind == "audio", "video": kind == "video"}
    clip = runtime_media.write(tmp_path / "one.mp4", **tracks)
    found = measure(_plan(toy_bundle, clip), machine=tree({}))
    assert any(each.startswith(f"the clip has no {missing}") for each in found.warnings)
    assert ("vision" in found.samples) == (kind == "video")
    assert ("audio" in found.samples) == (kind == "audio")


def test_silence_alone_is_nothing_to_profile(toy_bundle: Path, tmp_path: Path, tree: Trees) -> None:
    clip = runtime_media.write(tmp_path / "silent.mp4", video=False, sound=np.zeros(144_000, np.float32))
    with pytest.raises(BadInput, match="neither picture nor sound from 0 to 3 s"):
        measure(_plan(toy_bundle, clip), machine=tree({}))


def test_windows_come_in_order_and_again_from_the_start(tmp_path: Path, preprocessing: Preprocessing) -> None:
    clip = runtime_media.write(tmp_path / "long.mp4", seconds=7.5)
    truth = [each for each in read_windows(clip, preprocessing, 2.0) if each.end - each.start > 1.99]
    source = Source(clip, preprocessing, 2.0)
    assert source.count == len(truth) == 3
    assert not source.is_short
    for window in [*truth, *truth]:
        found = source.next()
        assert (found.start, found.end) == (window.start, window.end)
        np.testing.assert_array_equal(found.frames, window.frames)
        np.testing.assert_array_equal(found.samples, window.samples)


def test_a_short_clip_is_one_window(tmp_path: Path, preprocessing: Preprocessing) -> None:
    source = Source(runtime_media.write(tmp_path / "short.mp4", seconds=1.0), preprocessing)
    assert (source.count, source.is_short) == (1, True)
    assert [source.next().start for _ in range(3)] == [0.0] * 3


def test_a_clip_that_is_gone_on_the_way_is_named(tmp_path: Path, preprocessing: Preprocessing) -> None:
    clip = runtime_media.write(tmp_path / "gone.mp4")
    source = Source(clip, preprocessing)
    source.next()
    clip.unlink()
    with pytest.raises(BadInput, match=r"gone\.mp4"):
        source.next()


@pytest.mark.parametrize("seconds", [3.0, 0.51])
def test_the_built_in_clip_is_one_whole_window(tmp_path: Path, preprocessing: Preprocessing, seconds: float) -> None:
    name = write_built_in(tmp_path / "built-in.mp4", seconds)
    assert name == f"built-in, {seconds:g} s of 640x480 H.264 and AAC"
    source = Source(tmp_path / "built-in.mp4", preprocessing, seconds)
    assert (source.count, source.is_short, source.has_video, source.has_audio) == (1, False, True, True)
    window = source.next()
    assert window.states == ()
    assert window.frames is not None
    assert len({frame.tobytes() for frame in window.frames}) == len(window.frames)
    with av.open(str(tmp_path / "built-in.mp4")) as container:
        video, audio = container.streams.video[0].codec_context, container.streams.audio[0].codec_context
        assert (video.name, video.width, video.height, audio.name) == ("h264", 640, 480, "aac")


def test_without_x264_the_built_in_clip_is_mpeg_4(
    tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    assert "MPEG-4" in write_built_in(tmp_path / "built-in.mp4", 1.0)
    assert Source(tmp_path / "built-in.mp4", preprocessing, 1.0).next().frames is not None
    monkeypatch.setattr(av, "codecs_available", {"libx264"})
    with pytest.raises(Failed, match="can't encode") as caught:
        write_built_in(tmp_path / "other.mp4", 1.0)
    assert "CLIP" in caught.value.remedy


def test_the_built_in_clip_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupted() -> None:
        with clip_at_hand(None, 0.5) as clip:
            assert clip.path.is_file()
            assert tmp_path in clip.path.parents
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(Failed, match="no folder"), clip_at_hand(None, 0.5):
        pass


def test_what_is_said_in_a_clip_is_read_beside_it(tmp_path: Path, clip: Path) -> None:
    named = tmp_path / "talk.mp4"
    named.write_bytes(clip.read_bytes())
    with clip_at_hand(named, 3.0) as found:
        assert found.transcript is None
    (tmp_path / "talk.txt").write_text("hello\n")
    with clip_at_hand(named, 3.0) as found:
        assert (found.transcript, found.name) == ("hello", str(named))


def test_a_plan_decides_what_was_left_open(toy_bundle: Path) -> None:
    bundle = Bundle.open(toy_bundle)
    plan = Plan(bundle).resolved()
    assert (plan.window_s, plan.tokens, plan.provider, plan.hop_s) == (3.0, TOKENS, "cpu", None)
    fixed = Plan(bundle, scenario=Scenario.fixed_rate, window_s=2.0).resolved()
    assert (fixed.hop_s, fixed.tokens) == (2.0, 0)
    assert Plan(bundle, scenario=Scenario.fixed_rate, hop_s=0.5, tokens=7).resolved().tokens == 7


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"runs": 0}, "0 runs"),
        ({"warmup": -1}, "--warmup -1"),
        ({"cold": -2}, "--cold -2"),
        ({"tokens": -1}, "--tokens -1"),
        ({"idle_s": -0.5}, r"--idle -0\.5"),
        ({"window_s": 9.0}, "window of 9 s"),
        ({"hop_s": 1.0}, "--hop is for"),
        ({"hop_s": 0.0, "scenario": Scenario.fixed_rate}, "hop of 0 s"),
        ({"hop_s": float("nan"), "scenario": Scenario.fixed_rate}, "hop of nan s"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(toy_bundle: Path, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Plan(Bundle.open(toy_bundle), **changes).resolved()


def test_text_of_a_model_without_reasons(tmp_path: Path) -> None:
    prompt = {**runtime_fakes.manifest_fields()["prompt"], "tasks": {"emotion": "which emotion"}}
    bundle = runtime_fakes.open_bundle(tmp_path / "mute", prompt=prompt)
    assert Plan(bundle).resolved().tokens == 0
    assert Plan(bundle, tokens=0).resolved().tokens == 0
    with pytest.raises(UsageError, match="can't give reasons"):
        Plan(bundle, tokens=5).resolved()
