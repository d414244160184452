"""`mosear` whose streams are a terminal, full, closed, or read by somebody who goes away."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest
import runtime_media
from runtime_commands import command, two_lines

NOTICE = "This is a toy and reads nobody.\n"
FULL = Path("/dev/full")
FORMATS = ["human", "jsonl", "csv"]

needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


def _into_full(*arguments: object, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    with FULL.open("w") as full:
        return subprocess.run(
            command(*arguments),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            timeout=120,
            check=False,
        )


def _in_a_shell(redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command with what only a shell can do to its streams."""
    line = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(*arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@needs_full
@pytest.mark.parametrize(("form", "unbuffered"), [*((form, "") for form in FORMATS), ("human", "1"), ("jsonl", "1")])
def test_a_full_disk(toy_bundle: Path, clip: Path, form: str, unbuffered: str) -> None:
    """Told once, whatever the number of clips, and whether the interpreter holds the text back or not."""
    done = _into_full("run", toy_bundle, clip, clip, "--format", form, unbuffered=unbuffered)
    assert done.returncode == 1
    ((what, remedy),) = two_lines(done.stderr)
    assert what == "error: standard output can't be written (No space left on device)"
    assert "make room" in remedy


@needs_full
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]])
def test_a_full_disk_for_what_is_no_result(arguments: list[str]) -> None:
    done = _into_full(*arguments)
    assert done.returncode == 1
    assert len(two_lines(done.stderr)) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_a_closed_output_is_not_taken_for_success(toy_bundle: Path, clip: Path, form: str) -> None:
    done = _in_a_shell(">&-", "run", toy_bundle, clip, "--format", form)
    assert done.returncode == 1
    ((what, _),) = two_lines(done.stderr)
    assert "closed" in what


def test_a_closed_error_stream_puts_nothing_among_the_results(toy_bundle: Path, clip: Path) -> None:
    done = _in_a_shell("2>&-", "run", toy_bundle, clip, clip.with_name("missing.mp4"), "--format", "jsonl")
    assert done.returncode == 3
    assert [json.loads(line)["clip"] for line in done.stdout.splitlines()] == [str(clip)]


@pytest.mark.parametrize("form", FORMATS)
def test_results_reach_the_file_while_a_terminal_shows_progress(toy_bundle: Path, clip: Path, form: str) -> None:
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        command("run", toy_bundle, clip, "--format", form),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(stderr)
    try:
        results, _ = process.communicate(timeout=60)
        shown = _read(terminal)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 0
    assert str(clip) in results
    assert f"reading {clip.name}" in shown
    assert str(clip) not in shown
    assert "\x1b" not in results


def _read(terminal: int) -> str:
    """Everything that a terminal was shown by a process that has ended."""
    shown = b""
    try:
        while block := os.read(terminal, 4096):
            shown += block
    except OSError:  # so Linux says that the other end is closed
        pass
    return shown.decode()


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_that_goes_away(toy_bundle: Path, clip: Path, form: str) -> None:
    process = subprocess.Popen(
        command("run", toy_bundle, *[clip] * 40, "--format", form),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 141
    assert errors == NOTICE


def test_results_come_line_by_line_and_ctrl_c_is_quiet(toy_bundle: Path, tmp_path: Path) -> None:
    long = runtime_media.write(
        tmp_path / "long.wav", 600.0, video=False, rate=16000, layout="mono", audio_codec="pcm_s16le"
    )
    process = subprocess.Popen(
        command("run", toy_bundle, *[long] * 200, "--format", "jsonl", "--hop", "0.1"),
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
    assert errors == NOTICE
