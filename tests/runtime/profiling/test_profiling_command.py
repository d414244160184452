"""`mosear profile`: what it writes where, and what it refuses before anything is measured."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import runtime_fakes
import runtime_media
from profile_examples import full_profile
from runtime_commands import command, mosear, two_lines

from mosear.runtime.cli import app
from mosear.runtime.profiling.forms.json_form import read_json
from mosear.runtime.profiling.forms.write import write
from mosear.runtime.profiling.record import STAGES


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


Ask = Callable[..., Done]
QUICK = ("--runs", 2, "--warmup", 1, "--cold", 0, "--no-operators", "--tokens", 3)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """The command in this process, in an empty folder and without variables of its own."""
    for name in [each for each in os.environ if each.startswith("MOSEAR_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as end:
            app(["profile", *map(str, arguments)])
        said, beside = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, said, beside)

    return run


def _nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr("mosear.runtime.commands.profiling.measure", fail)
    monkeypatch.setattr("mosear.runtime.commands.profiling.compare_bundles", fail)


def test_a_profile_in_every_form(toy_bundle: Path, tmp_path: Path) -> None:
    names = ["p.json", "p.csv", "p.md", "p.html", "p.trace.json"]
    outputs = [part for name in names for part in ("-o", tmp_path / name)]
    done = mosear("profile", toy_bundle, "--runs", 3, "--warmup", 1, "--window", 0.5, *outputs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("toy\n")
    assert "end to end" in done.stdout
    assert done.stderr.splitlines() == [f"wrote {tmp_path / name}" for name in names]
    profile = read_json((tmp_path / "p.json").read_text())
    assert set(STAGES) <= set(profile.samples)
    assert len(profile.samples["end_to_end"]) == 3
    assert profile.settings["window_s"] == 0.5
    assert profile.clip.startswith("built-in, 0.5 s")
    assert list(profile.cold_start) == ["interpreter_and_imports", "opening", "loading", "first_answer", "total"]
    assert profile.operators
    assert {each.what for each in profile.memory} == {"process"}
    assert profile.created.endswith("Z")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert {"end_to_end", "cold_start_total"} <= {row["metric"] for row in rows}
    assert (tmp_path / "p.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads((tmp_path / "p.trace.json").read_text())["traceEvents"]
    assert sorted(os.listdir(tmp_path)) == sorted(names)


@pytest.mark.parametrize("form", ["json", "csv", "markdown"])
def test_standard_output_is_data_alone(ask: Ask, toy_bundle: Path, clip: Path, form: str) -> None:
    done = ask(toy_bundle, clip, *QUICK, "--format", form)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    if form == "json":
        assert read_json(done.stdout).clip == str(clip)
    elif form == "csv":
        assert next(csv.reader(done.stdout.splitlines()))[0] == "metric"
    else:
        assert done.stdout.startswith("# Profile of toy")


def test_two_bundles_in_turns(ask: Ask, toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    done = ask("--compare", toy_bundle, toy_bundle, clip, "--runs", 3, "-o", tmp_path / "c.json", "--format", "csv")
    assert done.code == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["pairs"] for row in rows} == {"3"}
    assert {row["verdict"] for row in rows} == {"no difference seen"}
    assert json.loads((tmp_path / "c.json").read_text())["kind"] == "bundles"


def test_two_saved_profiles(ask: Ask, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write(full_profile(10), tmp_path / name)
    done = ask("--compare", tmp_path / "a.json", tmp_path / "b.json", "-o", tmp_path / "c.md")
    assert done.code == 0, done.stderr
    assert "no difference seen" in done.stdout
    assert "measured apart" in (tmp_path / "c.md").read_text()


def test_the_plan_is_printed_and_nothing_done(
    ask: Ask, toy_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nothing_measured(monkeypatch)
    done = ask(toy_bundle, clip, "--dry-run", "--scenario", "fixed-rate", "--hop", 0.5, "-o", tmp_path / "p.html")
    assert done.code == 0, done.stderr
    told = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    told = {name: text.strip() for name, text in told.items()}
    assert told["scenario"] == "fixed-rate, a window every 0.5 s"
    assert told["clip"] == f"{clip}, windows of 3 s"
    assert told["text"] == "none"
    assert told["runs"] == "30 after 3 for warming up"
    assert str(tmp_path / "p.html") in told["output"]
    assert not (tmp_path / "p.html").exists()
    done = ask("--compare", toy_bundle, toy_bundle, "--dry-run")
    assert "30 after 3 for warming up, order within a pair random" in done.stdout


def _case(name: str, code: int, says: str, *arguments: object) -> object:
    return pytest.param(arguments, code, says, id=name)


BUNDLE, CLIP, FILE = "{bundle}", "{clip}", "{file}"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        _case("no bundle", 2, "no bundle is named"),
        _case("a missing bundle", 3, "no such bundle", "absent"),
        _case("a missing clip", 3, "no such file", BUNDLE, "absent.mp4"),
        _case("text as a clip", 3, "not a media file", BUNDLE, "{text}"),
        _case("an ending", 2, "p.txt", BUNDLE, "-o", "p.txt"),
        _case("a missing folder", 2, "there is no folder", BUNDLE, "-o", "absent/p.json"),
        _case("a folder", 2, "is a folder", BUNDLE, "-o", "{folder}"),
        _case("a file twice", 2, "named twice", BUNDLE, "-o", "p.json", "-o", "./p.json"),
        _case("a trace of two", 2, "no trace", "--compare", BUNDLE, BUNDLE, "-o", "p.trace.json"),
        _case("a hop without a rate", 2, "--hop is for", BUNDLE, "--hop", 1),
        _case("no hop", 2, "hop of 0 s", BUNDLE, "--scenario", "fixed-rate", "--hop", 0),
        _case("a long window", 2, "window of 60 s", BUNDLE, "--window", 60),
        _case("text of a mute model", 2, "can't give reasons", "{mute}", "--tokens", 5),
        _case("a bundle and a file", 2, "is a saved profile", "--compare", BUNDLE, FILE),
        _case("a file and a bundle", 2, "is a saved profile", "--compare", FILE, BUNDLE),
        _case("two missing files", 3, "can't be read", "--compare", "a.json", "b.json"),
        _case("two missing bundles", 3, "no such bundle", "--compare", "a", "b"),
        _case("a clip as a profile", 3, "no saved profile", "--compare", CLIP, CLIP),
        _case("a second argument", 2, "the one argument is the clip", "--compare", BUNDLE, BUNDLE, CLIP, CLIP),
        _case("a rate for two", 2, "leave --scenario out", "--compare", BUNDLE, BUNDLE, "--scenario", "fixed-rate"),
        _case("cold starts of two", 2, "--cold has no part", "--compare", BUNDLE, BUNDLE, "--cold", 2),
        _case("operators of two", 2, "--no-operators has", "--compare", BUNDLE, BUNDLE, "--no-operators"),
        _case("idling of two", 2, "--idle has no part", "--compare", FILE, FILE, "--idle", 1),
        _case("runs of files", 2, "--runs has no part", "--compare", FILE, FILE, "--runs", 9),
        _case("a clip of files", 2, "without a clip", "--compare", FILE, FILE, CLIP),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(
    ask: Ask,
    toy_bundle: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    code: int,
    says: str,
) -> None:
    _nothing_measured(monkeypatch)
    prompt = {**runtime_fakes.manifest_fields()["prompt"], "tasks": {"emotion": "which emotion"}}
    mute = runtime_fakes.make_bundle(tmp_path / "mute", prompt=prompt) if "{mute}" in arguments else ""
    write(full_profile(2), tmp_path / "saved.json")
    (tmp_path / "text.mp4").write_text("no clip")
    places = {
        "{bundle}": toy_bundle,
        "{clip}": clip,
        "{file}": tmp_path / "saved.json",
        "{text}": tmp_path / "text.mp4",
        "{folder}": tmp_path / "here",
        "{mute}": mute,
    }
    if "{folder}" in arguments:
        (tmp_path / "d.json").mkdir()
        places["{folder}"] = tmp_path / "d.json"
    done = ask(*(places.get(str(each), each) for each in arguments))
    assert done.code == code, done.stderr
    assert done.stdout == ""
    [(what, remedy)] = two_lines(done.stderr)
    assert says in what + remedy
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize("wrong", [("--runs", 0), ("--warmup", -1), ("--cold", -1), ("--tokens", -1), ("--idle", -1)])
def test_numbers_out_of_range(ask: Ask, toy_bundle: Path, wrong: tuple[str, int]) -> None:
    done = ask(toy_bundle, *wrong)
    assert done.code == 2
    assert wrong[0] in done.stderr


def test_a_folder_that_takes_nothing_is_found_first(
    ask: Ask, toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nothing_measured(monkeypatch)
    # Root may write anywhere, so the system's answer stands in for a folder that is closed.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "here")
    done = ask(toy_bundle, "-o", "p.json")
    assert done.code == 1
    assert "can't be written into" in done.stderr


def test_a_file_that_can_not_be_written_does_not_take_the_rest_along(
    ask: Ask, toy_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "first.json":
            raise OSError(28, "No space left on device")
        swap(source, target)

    monkeypatch.setattr(os, "replace", full)
    done = ask(toy_bundle, clip, *QUICK, "-o", "first.json", "-o", "second.md", "--format", "json")
    assert done.code == 1
    assert read_json(done.stdout).clip == str(clip)
    assert "No space left" in done.stderr
    assert os.listdir() == ["second.md"]


def test_a_file_of_options_is_read_and_its_hop_is_for_fixed_rates(
    ask: Ask, toy_bundle: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mosear.toml").write_text('[all]\nhop = 0.5\n[profile]\nruns = 2\ncold = 0\noutput = ["p.json"]\n')
    _nothing_measured(monkeypatch)
    done = ask(toy_bundle, clip, "--dry-run")
    assert done.code == 0, done.stderr
    assert "2 after 3" in done.stdout
    assert "p.json" in done.stdout
    assert "every 0.5 s" not in done.stdout
    assert "every 0.5 s" in ask(toy_bundle, clip, "--dry-run", "--scenario", "fixed-rate").stdout
    # What a file says of a profile does not forbid a comparison.
    done = ask("--compare", toy_bundle, toy_bundle, clip, "--dry-run")
    assert done.code == 0, done.stderr


def test_a_clip_that_ends_inside_a_window(ask: Ask, toy_bundle: Path, tmp_path: Path) -> None:
    short = runtime_media.write(tmp_path / "short.mp4", seconds=1.0)
    done = ask(toy_bundle, short, *QUICK, "--format", "json")
    assert done.code == 0, done.stderr
    assert "the clip is shorter than a window of 3 s" in read_json(done.stdout).warnings


def test_ctrl_c_leaves_nothing_behind(toy_bundle: Path, tmp_path: Path) -> None:
    for name in ("temporary", "out"):
        (tmp_path / name).mkdir()
    old = tmp_path / "out" / "p.json"
    old.write_text("old")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    asked = command("profile", toy_bundle, "--runs", 1_000_000, "--cold", 0, "--window", 0.5, "-o", old)
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        try:
            until = time.monotonic() + 60
            while not list((tmp_path / "temporary").glob("*/built-in.mp4")) and time.monotonic() < until:
                time.sleep(0.005)
            child.send_signal(signal.SIGINT)
            said, beside = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, said, beside) == (130, "", "")
    assert old.read_text() == "old"
    assert os.listdir(tmp_path / "out") == ["p.json"]
    assert os.listdir(tmp_path / "temporary") == []
