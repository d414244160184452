"""`mosear run` as users call it, in a process of its own: results, errors, exit codes, streams."""

import csv
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import runtime_fakes
import runtime_media

from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput
from mosear.runtime.windows import read_windows

REPOSITORY = Path(__file__).parents[2]


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mosear.runtime.cli", *map(str, arguments)]


def _run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    return subprocess.run(
        _command(*arguments),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**environment, "COLUMNS": "100", **variables},
        timeout=120,
        check=False,
    )


def _lines(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def _two_lines(stderr: str) -> list[tuple[str, str]]:
    """The pairs of what is wrong and what to do."""
    lines = [line for line in stderr.splitlines() if line != "This is a toy and reads nobody."]
    assert "Traceback" not in stderr
    assert len(lines) % 2 == 0, stderr
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    for what, remedy in pairs:
        assert what.startswith("error: ")
        assert remedy.startswith("  fix: ")
        assert len(remedy) > 12
    return pairs


def test_jsonl(toy_bundle: Path, clip: Path) -> None:
    done = _run("run", toy_bundle, clip, clip, "--format", "jsonl", "--threads", "1")
    assert done.returncode == 0
    first, second = _lines(done)
    assert first["schema"] == "mosear.emotion/1"
    assert first["clip"] == str(clip)
    assert first["scores"] == second["scores"]
    assert sum(first["scores"].values()) == pytest.approx(1, abs=1e-4)
    assert done.stderr == "This is a toy and reads nobody.\n"


def test_csv_has_one_header(toy_bundle: Path, clip: Path) -> None:
    done = _run("run", toy_bundle, clip, clip, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["clip"] for row in rows] == [str(clip)] * 2
    assert done.stdout.count("schema,") == 1


def test_human_output_is_plain_when_nobody_watches(toy_bundle: Path, clip: Path) -> None:
    done = _run("run", toy_bundle, clip, "--reason")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    for word in (clip.name, "face", "voice", "conflict", "relied on", "2 heads", "reason"):
        assert word in done.stdout


def test_a_terminal_gets_colour_unless_it_is_refused(toy_bundle: Path, clip: Path) -> None:
    coloured = _run("run", toy_bundle, clip, FORCE_COLOR="1", TERM="xterm")
    plain = _run("run", toy_bundle, clip, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")
    assert "\x1b[1;36m" in coloured.stdout
    assert "36m" not in plain.stdout


def test_windows_and_hops(toy_bundle: Path, tmp_path: Path) -> None:
    long = runtime_media.write(tmp_path / "long.mp4", 5.0)
    done = _run("run", toy_bundle, long, "--format", "jsonl", "--window", "2", "--hop", "1")
    assert [(line["start"], line["end"]) for line in _lines(done)] == [(0, 2), (1, 3), (2, 4), (3, 5)]


def test_the_environment_and_the_flag_over_it(toy_bundle: Path, clip: Path) -> None:
    variables = {"MOSEAR_FORMAT": "jsonl", "MOSEAR_WINDOW": "1", "MOSEAR_THREADS": "1"}
    assert len(_lines(_run("run", toy_bundle, clip, **variables))) == 3
    assert len(_lines(_run("run", toy_bundle, clip, "--window", "1.5", **variables))) == 2
    assert _run("run", toy_bundle, clip, MOSEAR_THREADS="none").returncode == 2


def test_the_transcript_beside_a_clip(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(clip, tmp_path / "said.mp4"))

    def scores(*extra: str) -> dict:
        return _lines(_run("run", toy_bundle, copy, "--format", "jsonl", *extra))[0]["scores"]

    without, given = scores(), scores("--transcript", "hello")
    assert without != given
    (tmp_path / "said.txt").write_text("\ufeffhello\n", encoding="utf-8")
    assert scores() == given
    assert scores("--transcript", "") == without


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"word " * 20000])
def test_a_transcript_that_is_none(toy_bundle: Path, clip: Path, tmp_path: Path, content: bytes) -> None:
    copy = Path(shutil.copy(clip, tmp_path / "said.mp4"))
    (tmp_path / "said.txt").write_bytes(content)
    done = _run("run", toy_bundle, copy, clip, "--format", "jsonl")
    assert done.returncode == 3
    assert [line["clip"] for line in _lines(done)] == [str(clip)]
    assert "said.txt" in _two_lines(done.stderr)[0][0]


def _garbage(path: Path, good: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(200_000))


def _text(path: Path, good: Path) -> None:
    path.write_text("hello\n" * 100)


def _playlist(path: Path, good: Path) -> None:
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{good}\n#EXT-X-ENDLIST\n")


def _concatenation(path: Path, good: Path) -> None:
    path.write_text(f"ffconcat version 1.0\nfile '{good}'\n")


def _no_frames(path: Path, good: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def _empty_sound(path: Path, good: Path) -> None:
    runtime_media.write(path, 0.0, video=False, audio_codec="pcm_s16le")


def _huge_picture(path: Path, good: Path) -> None:
    """A PNG of a few bytes that says it has 30,000 by 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


BAD = {
    "garbage.mp4": _garbage,
    "empty.mp4": lambda path, good: path.write_bytes(b""),
    "folder.mp4": lambda path, good: path.mkdir(),
    "missing.mp4": lambda path, good: None,
    "text.txt": _text,
    "text.mp4": _text,
    "playlist.m3u8": _playlist,
    "playlist.mp4": _playlist,
    "list.ffconcat": _concatenation,
    "no_frames.mp4": _no_frames,
    "no_sound.wav": _empty_sound,
    "huge.png": _huge_picture,
    "no_index.mp4": lambda path, good: path.write_bytes(good.read_bytes()[: good.stat().st_size // 2]),
    "header_only.mp4": lambda path, good: path.write_bytes(good.read_bytes()[:40]),
    "pipe.mp4": lambda path, good: os.mkfifo(path),
    "dangling.mp4": lambda path, good: path.symlink_to("nowhere"),
    "http://127.0.0.1:9/x.mp4": lambda path, good: None,
    "a\nerror: forged.mp4": lambda path, good: None,
}


def test_bad_clips_are_told_apart_and_stop_no_other(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    paths = []
    for name, make in BAD.items():
        path = name if "://" in name else tmp_path / name
        if make:
            make(Path(path), clip)
        paths.append(path)
    done = _run("run", toy_bundle, *paths[:9], clip, *paths[9:], clip, "--format", "jsonl")
    assert done.returncode == 3
    assert [line["clip"] for line in _lines(done)] == [str(clip)] * 2
    pairs = _two_lines(done.stderr)
    assert len(pairs) == len(BAD)
    for (what, _), name in zip(pairs, BAD, strict=True):
        assert " ".join(Path(name).name.split()) in what


@pytest.mark.parametrize("name", BAD)
def test_each_bad_clip_alone_is_bad_input(toy_bundle: Path, clip: Path, tmp_path: Path, name: str) -> None:
    """The library's own answer, since a process for each would take long."""
    path = Path(name) if "://" in name else tmp_path / name
    BAD[name](path, clip)
    with pytest.raises(BadInput):
        list(read_windows(path, Bundle.open(toy_bundle).manifest.preprocessing))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_a_file_that_breaks_off_is_used_as_far_as_it_goes(
    toy_bundle: Path, tmp_path: Path, container: str, share: float
) -> None:
    whole = runtime_media.write(
        tmp_path / f"whole.{container}", 9.0, options={"movflags": "faststart"} if container == "mp4" else {}
    )
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{container}"
    cut.write_bytes(data[: int(len(data) * share)])
    preprocessing = Bundle.open(toy_bundle).manifest.preprocessing
    windows = list(read_windows(cut, preprocessing))
    assert "truncated" in windows[-1].states
    assert all("truncated" not in window.states for window in windows[:-1])
    assert windows[-1].end < 9.0
    assert windows[0].frames is not None
    assert windows[0].samples is not None
    assert not any("truncated" in window.states for window in read_windows(whole, preprocessing))


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mka", "libopus")])
def test_sound_that_breaks_off(tmp_path: Path, preprocessing, name: str, codec: str) -> None:
    whole = runtime_media.write(tmp_path / name, 6.0, video=False, audio_codec=codec)
    assert [window.states for window in read_windows(whole, preprocessing)] == [("no_video",)] * 2
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 3])
    (window,) = read_windows(whole, preprocessing)
    assert window.states == ("no_video", "truncated")
    assert window.end < 3


def test_every_cut_of_a_file_is_used_or_refused(tmp_path: Path, preprocessing) -> None:
    data = runtime_media.write(tmp_path / "whole.mp4", 1.0, options={"movflags": "faststart"}).read_bytes()
    used = 0
    for size in range(1, len(data), max(1, len(data) // 60)):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(data[:size])
        try:
            used += len(list(read_windows(cut, preprocessing)))
        except BadInput:
            assert size < len(data) * 0.9
    assert used > 20


def test_flipped_bytes_are_used_or_refused(tmp_path: Path, preprocessing) -> None:
    data = runtime_media.write(tmp_path / "whole.mp4", 1.0).read_bytes()
    random = np.random.default_rng(5)
    for _ in range(60):
        spoilt = np.frombuffer(data, np.uint8).copy()
        spoilt[random.integers(0, len(spoilt), 30)] ^= random.integers(1, 256, 30, np.uint8)
        (tmp_path / "spoilt.mp4").write_bytes(spoilt.tobytes())
        try:
            windows = read_windows(tmp_path / "spoilt.mp4", preprocessing)
            for window, _ in zip(windows, range(5), strict=False):
                assert window.samples is None or np.isfinite(window.samples).all()
        except BadInput:
            continue


def test_silence_without_a_picture_is_unknown(toy_bundle: Path, tmp_path: Path) -> None:
    silent = runtime_media.write(
        tmp_path / "s.wav", video=False, sound=np.zeros(144000, np.float32), audio_codec="pcm_s16le"
    )
    done = _run("run", toy_bundle, silent, "--format", "jsonl")
    assert done.returncode == 0
    (line,) = _lines(done)
    assert line["label"] == "unknown"
    assert line["scores"] == {}
    assert line["states"] == ["no_video", "no_speech", "unknown"]
    assert "unknown" in _run("run", toy_bundle, silent).stdout


@pytest.mark.parametrize(
    "name", ["with space.mp4", "[red]x[bold].mp4", "мир 世界.mp4", "-dash.mp4", "a:b.mp4", "%d.mp4"]
)
def test_odd_names(toy_bundle: Path, clip: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(clip, tmp_path / name)
    done = _run("run", toy_bundle, tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout.replace("\n", "")
    assert _lines(_run("run", toy_bundle, tmp_path / name, "--format", "jsonl"))[0]["clip"] == str(tmp_path / name)


def test_a_name_that_is_no_text(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.mp4"
    shutil.copy(clip, name)
    done = subprocess.run(
        [*_command("run", toy_bundle), name, "--format", "jsonl"], capture_output=True, timeout=60, check=False
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
    done = _run("run", toy_bundle, clip, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    ((what, _),) = _two_lines(done.stderr)
    assert word in what


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "x"], ["walk"], ["run", "b", "c", "--format", "xml"], ["run", "b", "c", "--threads", "0"]],
)
def test_usage_in_the_parsers_words(arguments: list[str]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "--help" in done.stderr


def test_a_bad_bundle(clip: Path, tmp_path: Path) -> None:
    done = _run("run", tmp_path / "nope", clip)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(_two_lines(done.stderr)) == 1


def test_debug_shows_the_trace_and_the_two_lines(tmp_path: Path, clip: Path) -> None:
    done = _run("run", tmp_path / "nope", clip, "--debug")
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert "error: " in done.stderr


def test_no_reasons_to_give(tmp_path: Path, clip: Path) -> None:
    prompt = {"template": runtime_fakes.TEMPLATE, "tasks": {"emotion": "which"}, "no_transcript": "nothing"}
    bundle = runtime_fakes.make_bundle(tmp_path / "b", prompt=prompt)
    assert _run("run", bundle, clip, "--reason").returncode == 2


def test_help_says_what_an_answer_is() -> None:
    for arguments in (["--help"], ["run", "--help"]):
        done = _run(*arguments)
        assert done.returncode == 0
        assert "not of what a person feels" in " ".join(done.stdout.split())
    assert ".txt" in done.stdout
    assert "MOSEAR_THREADS" in done.stdout


def test_version() -> None:
    done = _run("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "mosear")


def test_a_reader_that_goes_away(toy_bundle: Path, clip: Path) -> None:
    process = subprocess.Popen(
        _command("run", toy_bundle, *[clip] * 40, "--format", "jsonl"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 141
    assert errors == "This is a toy and reads nobody.\n"


def test_results_come_line_by_line_and_ctrl_c_is_quiet(toy_bundle: Path, tmp_path: Path) -> None:
    long = runtime_media.write(
        tmp_path / "long.wav", 600.0, video=False, rate=16000, layout="mono", audio_codec="pcm_s16le"
    )
    process = subprocess.Popen(
        _command("run", toy_bundle, *[long] * 200, "--format", "jsonl", "--hop", "0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert json.loads(process.stdout.readline())["start"] == 0
        assert process.poll() is None
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == "This is a toy and reads nobody.\n"


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
    assert len(_lines(done)) == 1


def test_without_onnx_runtime_it_says_what_to_install(toy_bundle: Path, clip: Path) -> None:
    done = _run_without({"onnxruntime"}, "run", toy_bundle, clip)
    assert done.returncode == 1
    ((_, remedy),) = _two_lines(done.stderr)
    assert "pip install 'mosear[cpu]'" in remedy
