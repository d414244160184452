"""`mosear run` as users call it, in a process of its own: results, errors, exit codes."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runtime_fakes
import runtime_media
from runtime_commands import command, json_lines, mosear, two_lines


def test_jsonl(toy_bundle: Path, clip: Path) -> None:
    done = mosear("run", toy_bundle, clip, clip, "--format", "jsonl", "--threads", "1")
    assert done.returncode == 0
    first, second = json_lines(done)
    assert first["schema"] == "mosear.emotion/1"
    assert first["clip"] == str(clip)
    assert first["scores"] == second["scores"]
    assert sum(first["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert done.stderr == "This is a toy and reads nobody.\n"


def test_csv_has_one_header(toy_bundle: Path, clip: Path) -> None:
    done = mosear("run", toy_bundle, clip, clip, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["clip"] for row in rows] == [str(clip)] * 2
    assert done.stdout.count("schema,") == 1


def test_human_output_is_plain_when_nobody_watches(toy_bundle: Path, clip: Path) -> None:
    done = mosear("run", toy_bundle, clip, "--reason")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    for word in (clip.name, "face", "voice", "conflict", "relied on", "2 heads", "reason"):
        assert word in done.stdout


def test_a_terminal_gets_colour_unless_it_is_refused(toy_bundle: Path, clip: Path) -> None:
    coloured = mosear("run", toy_bundle, clip, FORCE_COLOR="1", TERM="xterm")
    plain = mosear("run", toy_bundle, clip, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")
    assert "\x1b[1;36m" in coloured.stdout
    assert "36m" not in plain.stdout


def test_windows_and_hops(toy_bundle: Path, tmp_path: Path) -> None:
    long = runtime_media.write(tmp_path / "long.mp4", 5.0)
    done = mosear("run", toy_bundle, long, "--format", "jsonl", "--window", "2", "--hop", "1")
    assert [(line["start"], line["end"]) for line in json_lines(done)] == [(0, 2), (1, 3), (2, 4), (3, 5)]


def test_the_environment_and_the_flag_over_it(toy_bundle: Path, clip: Path) -> None:
    variables = {"MOSEAR_FORMAT": "jsonl", "MOSEAR_WINDOW": "1", "MOSEAR_THREADS": "1"}
    assert len(json_lines(mosear("run", toy_bundle, clip, **variables))) == 3
    assert len(json_lines(mosear("run", toy_bundle, clip, "--window", "1.5", **variables))) == 2
    assert mosear("run", toy_bundle, clip, MOSEAR_THREADS="none").returncode == 2


def test_the_transcript_beside_a_clip(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(clip, tmp_path / "said.mp4"))

    def scores(*extra: str) -> dict:
        return json_lines(mosear("run", toy_bundle, copy, "--format", "jsonl", *extra))[0]["scores"]

    without, given = scores(), scores("--transcript", "hello")
    assert without != given
    (tmp_path / "said.txt").write_text("\ufeffhello\n", encoding="utf-8")
    assert scores() == given
    assert scores("--transcript", "") == without


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"word " * 20000])
def test_a_transcript_that_is_none(toy_bundle: Path, clip: Path, tmp_path: Path, content: bytes) -> None:
    copy = Path(shutil.copy(clip, tmp_path / "said.mp4"))
    (tmp_path / "said.txt").write_bytes(content)
    done = mosear("run", toy_bundle, copy, clip, "--format", "jsonl")
    assert done.returncode == 3
    assert [line["clip"] for line in json_lines(done)] == [str(clip)]
    assert "said.txt" in two_lines(done.stderr)[0][0]


def test_silence_without_a_picture_is_unknown(toy_bundle: Path, tmp_path: Path) -> None:
    silent = runtime_media.write(
        tmp_path / "s.wav", video=False, sound=np.zeros(144000, np.float32), audio_codec="pcm_s16le"
    )
    done = mosear("run", toy_bundle, silent, "--format", "jsonl")
    assert done.returncode == 0
    (line,) = json_lines(done)
    assert line["label"] == "unknown"
    assert line["scores"] == {}
    assert line["states"] == ["no_video", "no_speech", "unknown"]
    assert "unknown" in mosear("run", toy_bundle, silent).stdout


@pytest.mark.parametrize(
    "name", ["with space.mp4", "[red]x[bold].mp4", "мир 世界.mp4", "-dash.mp4", "a:b.mp4", "%d.mp4"]
)
def test_odd_names(toy_bundle: Path, clip: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(clip, tmp_path / name)
    done = mosear("run", toy_bundle, tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout.replace("\n", "")
    assert json_lines(mosear("run", toy_bundle, tmp_path / name, "--format", "jsonl"))[0]["clip"] == str(
        tmp_path / name
    )


def test_a_name_that_is_no_text(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.mp4"
    shutil.copy(clip, name)
    done = subprocess.run(
        [*command("run", toy_bundle), name, "--format", "jsonl"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode in (0, 3)
    assert b"Traceback" not in done.stderr
    if done.returncode == 0:
        assert json.loads(done.stdout)["clip"].endswith(".mp4")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--window", "10"], "out of range"),
        (["--window", "0.1"], "out of range"),
        (["--hop", "0"], "out of range"),
        (["--hop", "nan"], "out of range"),
    ],
)
def test_usage_in_our_words(toy_bundle: Path, clip: Path, arguments: list[str], word: str) -> None:
    done = mosear("run", toy_bundle, clip, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    ((what, _),) = two_lines(done.stderr)
    assert word in what


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "x"], ["walk"], ["run", "b", "c", "--format", "xml"], ["run", "b", "c", "--threads", "0"]],
)
def test_usage_in_the_parsers_words(arguments: list[str]) -> None:
    done = mosear(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "--help" in done.stderr


def test_a_bad_bundle(clip: Path, tmp_path: Path) -> None:
    done = mosear("run", tmp_path / "nope", clip)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(two_lines(done.stderr)) == 1


def test_debug_shows_the_trace_and_the_two_lines(tmp_path: Path, clip: Path) -> None:
    done = mosear("run", tmp_path / "nope", clip, "--debug")
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert "error: " in done.stderr


def test_no_reasons_to_give(tmp_path: Path, clip: Path) -> None:
    prompt = {"template": runtime_fakes.TEMPLATE, "tasks": {"emotion": "which"}, "no_transcript": "nothing"}
    bundle = runtime_fakes.make_bundle(tmp_path / "b", prompt=prompt)
    assert mosear("run", bundle, clip, "--reason").returncode == 2


def test_help_says_what_an_answer_is() -> None:
    for arguments in (["--help"], ["run", "--help"]):
        done = mosear(*arguments)
        assert done.returncode == 0
        assert "not of what a person feels" in " ".join(done.stdout.split())
    assert ".txt" in done.stdout
    assert "MOSEAR_THREADS" in done.stdout


def test_version() -> None:
    done = mosear("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "mosear")


WITHOUT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
from mosear.runtime.cli import main
main()
"""


def _run_without(blocked: set[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(blocked=blocked), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_runs_without_torch_transformers_and_onnx(toy_bundle: Path, clip: Path) -> None:
    done = _run_without({"torch", "transformers", "onnx", "scipy", "cv2"}, "run", toy_bundle, clip, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert len(json_lines(done)) == 1


def test_without_onnx_runtime_it_says_what_to_install(toy_bundle: Path, clip: Path) -> None:
    done = _run_without({"onnxruntime"}, "run", toy_bundle, clip)
    assert done.returncode == 1
    ((_, remedy),) = two_lines(done.stderr)
    assert "pip install 'mosear[cpu]'" in remedy
