"""``mosear watch`` as a process of its own, with a file in the place of camera and microphone."""

import csv
import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import runtime_media
from runtime_commands import command, mosear, two_lines

FAST = ("--speed", "3", "--no-vad")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s in which every second has its own grey, and a tone."""
    path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    size = (128, 96)

    def frame(index: int):
        picture = runtime_media.flat(size, 40 + 20 * (index // 10))
        picture[20:60, 30:90] = 255 - picture[20:60, 30:90]
        picture[70:90, 5:20] //= 2
        return picture

    return runtime_media.write(path, 8.0, fps=10, size=size, frames=frame)


@contextmanager
def running(*arguments: object, **options) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    process = subprocess.Popen(
        command("watch", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_answer(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return json.loads(line)


def test_a_file_is_watched_to_its_end(toy_bundle: Path, scene: Path) -> None:
    done = mosear("watch", toy_bundle, "--camera", scene, "--format", "jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    ends = [answer["end"] for answer in answers]
    assert ends == sorted(set(ends))
    dropped = sum(answer["live"]["dropped"] for answer in answers)
    assert len(answers) + dropped == 8
    assert ends[-1] == pytest.approx(8.0, abs=0.15)
    for number, answer in enumerate(answers, 1):
        assert answer["clip"] == "scene.mp4"
        assert answer["live"]["sequence"] == number
        assert answer["end"] - answer["start"] == pytest.approx(min(3.0, answer["end"]), abs=0.01)
        assert answer["states"] == ["whole_frame"]
        assert sum(answer["scores"].values()) == pytest.approx(1.0, abs=1e-4)
        assert sum(answer["live"]["smoothed_scores"].values()) == pytest.approx(1.0, abs=1e-4)
        assert answer["live"]["smoothed_label"] in answer["scores"]
        assert answer["live"]["latency_ms"] > 0
    assert "reads nobody" in done.stderr


def test_csv_and_lines_for_people(toy_bundle: Path, scene: Path) -> None:
    done = mosear("watch", toy_bundle, "--camera", scene, "--format", "csv", "--hop", "3", *FAST)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) >= 2
    assert {row["smoothed_label"] for row in rows} <= {"neutral", "angry", "happy", "sad", "worried", "surprise"}
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    shown = mosear("watch", toy_bundle, "--camera", scene, "--hop", "3", *FAST)
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:3] == ["time", "over", "time"]
    assert all("whole_frame" in line for line in lines[1:])


def test_sinks_get_what_standard_output_gets(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    sinks = ("--sink", f"jsonl:{tmp_path / 'a.jsonl'}", "--sink", f"csv:{tmp_path / 'a.csv'}")
    done = mosear("watch", toy_bundle, "--camera", scene, "--format", "jsonl", "--hop", "2", *FAST, *sinks)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.jsonl").read_text() == done.stdout
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["label"] for row in rows] == [answer["label"] for answer in answers]
    assert [float(row["end"]) for row in rows] == [answer["end"] for answer in answers]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--camera", "nonsense"], 2, "no camera"),
        (["--camera", "missing.mp4"], 3, "missing.mp4"),
        (["--camera", "none", "--mic", "none"], 2, "neither"),
        (["--camera", "/dev/video0", "--mic", "none", "--speed", "2"], 2, "--speed"),
        (["--save-media", "kept"], 2, "--keep-for"),
        (["--save-media", "kept", "--keep-for", "soon"], 2, "soon"),
        (["--window", "99"], 2, "99"),
        (["--hop", "0"], 2, "hop"),
        (["--smoothing", "-1"], 2, "smoothing"),
        (["--sink", "pigeon:coop"], 2, "pigeon"),
        (["--faces", "missing.onnx"], 3, "missing.onnx"),
        (["--faces-sha256", "00"], 2, "--faces"),
        (["--asr", "missing", "--transcript", "hello"], 2, "exclude"),
        (["--asr", "missing"], 3, "missing"),
    ],
)
def test_what_can_not_be_meant_ends_with_two_lines(
    toy_bundle: Path, scene: Path, tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    camera = [] if "--camera" in arguments else ["--camera", scene]
    done = mosear("watch", toy_bundle, *camera, "--no-vad", *arguments, HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    ((what, remedy),) = two_lines(done.stderr)
    assert word in what + remedy
    assert done.stdout == ""


def test_a_term_signal_ends_in_good_order_in_every_stage(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    for answers in (0, 1, 3):
        log = tmp_path / f"{answers}.jsonl"
        arguments = [toy_bundle, "--camera", scene, "--loop", "--format", "jsonl", "--hop", "0.5"]
        with running(*arguments, *FAST, "--sink", f"jsonl:{log}") as process:
            seen = [next_answer(process) for _ in range(answers)]
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=20)
            if answers:
                assert process.returncode == 0, errors
                said = [json.dumps(each) for each in seen] + [
                    json.dumps(json.loads(line)) for line in rest.splitlines()
                ]
                kept = [json.dumps(json.loads(line)) for line in log.read_text().splitlines()]
                assert kept == said
            else:  # it may not have been told yet what to do with the signal
                assert process.returncode in (0, -signal.SIGTERM), errors
            assert "Traceback" not in errors


def test_an_interrupt_and_a_reader_that_went_away(toy_bundle: Path, scene: Path) -> None:
    arguments = [toy_bundle, "--camera", scene, "--loop", "--format", "jsonl", "--hop", "0.5", *FAST]
    with running(*arguments) as process:
        next_answer(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in errors
    with running(*arguments) as process:
        next_answer(process)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert process.wait(timeout=20) == 141


def test_a_reason_on_demand(toy_bundle: Path, scene: Path) -> None:
    with running(toy_bundle, "--camera", scene, "--loop", "--format", "jsonl", "--hop", "0.5", *FAST) as process:
        first = next_answer(process)
        assert "reason" not in first
        process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 20
        with_reason = 0
        while time.monotonic() < deadline and not with_reason:
            with_reason += "reason" in next_answer(process)
        assert with_reason
        assert "reason" not in next_answer(process)


def test_a_reader_that_sleeps_holds_nothing_up(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    arguments = [toy_bundle, "--camera", scene, "--loop", "--format", "jsonl", "--hop", "0.05", "--window", "0.5"]
    with running(*arguments, "--no-vad", "--speed", "5", "--sink", f"jsonl:{log}", pipesize=4096) as process:
        deadline = time.monotonic() + 30
        # Far more than the pipe, the queue and the writer hold.
        while time.monotonic() < deadline and (not log.exists() or log.read_text().count("\n") < 120):
            time.sleep(0.05)
        assert log.read_text().count("\n") >= 120
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert out.count("\n") < log.read_text().count("\n")
        assert "answers were not written" in errors


def test_nothing_is_kept_unless_it_is_asked_for(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # Libraries that report home keep quiet where they see a CI.
    plain = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home), "CI": "", "GITHUB_ACTIONS": ""}
    done = mosear("watch", toy_bundle, "--camera", scene, "--hop", "4", *FAST, **plain)
    assert done.returncode == 0
    assert list(home.rglob("*")) == []
    kept = tmp_path / "kept"
    keep = ("--save-media", kept, "--keep-for", "1h")
    done = mosear("watch", toy_bundle, "--camera", scene, "--hop", "4", *FAST, *keep, **plain)
    assert done.returncode == 0, done.stderr
    (file,) = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    again = mosear("run", toy_bundle, file, "--format", "jsonl")
    assert json.loads(again.stdout.splitlines()[-1])["end"] == pytest.approx(8.0, abs=0.2)


def test_a_hangup_reloads_the_configuration_in_the_same_process(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    config = tmp_path / "mosear.toml"
    log = tmp_path / "log.jsonl"
    told = tmp_path / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(told))
    manager.settimeout(30)

    def write(hop: str) -> None:
        config.write_text(
            f'[watch]\ncamera = "{scene}"\nloop = true\nhop = {hop}\nspeed = 3.0\nvad = false\nformat = "jsonl"\n'
            f'sink = ["jsonl:{log}"]\nbundle = "{toy_bundle}"\n'
        )

    def heard(word: str) -> None:
        while word not in manager.recv(4096).decode():
            pass

    write("0.5")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    arguments = command("--config", config, "watch")
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "NOTIFY_SOCKET": str(told), "WATCHDOG_USEC": "3000000"},
        start_new_session=True,
    )
    try:
        heard("READY=1")
        first = [next_answer(process) for _ in range(4)]
        assert first[3]["end"] - first[2]["end"] == pytest.approx(0.5 * (1 + first[3]["live"]["dropped"]), abs=0.01)
        heard("WATCHDOG=1")
        write('"soon"')
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while "the configuration is not reloaded" not in (complaint := process.stderr.readline()):
            assert complaint
        assert "soon" in complaint
        assert next_answer(process)["live"]["sequence"] > 4, "a bad configuration changes nothing"
        write("2")
        process.send_signal(signal.SIGHUP)
        heard("RELOADING=1")
        heard("READY=1")
        while next_answer(process)["live"]["sequence"] != 1:
            pass
        again = [next_answer(process) for _ in range(2)]
        assert again[1]["end"] - again[0]["end"] == pytest.approx(2 * (1 + again[1]["live"]["dropped"]), abs=0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert "not reloaded" not in errors
        sequences = [json.loads(line)["live"]["sequence"] for line in log.read_text().splitlines()]
        assert sequences.count(1) == 2
        heard("STOPPING=1")
    finally:
        process.kill()
        process.communicate()
        manager.close()
