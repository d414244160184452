"""`mosear watch` as a process of its own: told to end in every stage, and on a disk that is full."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import runtime_media
from runtime_commands import command

DEADLINE_S = 30.0
SOON_S = 12.0
"""In so many seconds a command ends: what it may wait for (a sink, a camera) takes 5 s at most."""

_SLOW = """
import sys, time
from mosear.runtime.decoder import Decoder
from mosear.runtime.pipeline import Pipeline

def slowed(real, name, seconds):
    def call(self, *given, **named):
        print("in", name, file=sys.stderr, flush=True)
        time.sleep(seconds)
        return real(self, *given, **named)
    return call

{patches}
from mosear.runtime.cli import main
sys.argv[0] = "mosear"
main()
"""
"""`mosear` with a model that takes its time."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def frame(index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)

    return runtime_media.write(tmp_path_factory.mktemp("films") / "film.mp4", 4.0, fps=10, frames=frame)


class Child:
    """A running command, the folder of its temporary files, and what it said on standard error."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, reads: bool = True) -> None:
        self.process = process
        self.folder = folder
        self.answers: list[dict] = []
        self.said = ""
        self._readers = [threading.Thread(target=each, daemon=True) for each in ([self._read] * reads + [self._listen])]
        for each in self._readers:
            each.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.append(json.loads(line))

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not true():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, f"{what} did not come about in time: {self.said}"
            time.sleep(0.01)

    def until_said(self, words: str) -> None:
        """Wait for what it says as it ends."""
        for each in self._readers:
            each.join(DEADLINE_S)
        assert words in self.said
        assert "Traceback" not in self.said

    def terminate(self) -> int:
        """SIGTERM; the exit code, with what holds for every end checked."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(SOON_S)
        for each in self._readers:
            each.join(DEADLINE_S)
        assert "Traceback" not in self.said
        assert "rror" not in self.said
        assert list(self.folder.iterdir()) == []
        return code


@contextmanager
def watched(
    tmp_path: Path, *arguments: object, head: list[str] | None = None, reads: bool = True, **options
) -> Iterator[Child]:
    """`mosear watch`, with answers as JSON."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    line = command("watch", *arguments, "--format", "jsonl", "--no-vad", "--threads", "1")
    process = subprocess.Popen(
        line if head is None else [*head, *line[3:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(folder)},
        **options,
    )
    try:
        yield Child(process, folder, reads)
    finally:
        process.kill()
        process.wait()


def slow(*patches: str) -> list[str]:
    """The head of a command whose model calls are slow: `Class.method seconds` each."""
    lines = []
    for each in patches:
        name, seconds = each.split()
        lines.append(f"{name} = slowed({name}, {name!r}, {seconds})")
    return [sys.executable, "-c", _SLOW.format(patches="\n".join(lines))]


def opens(pid: int, name: str) -> bool:
    """Whether a process has a file of that name open."""
    try:
        return any(os.readlink(each).endswith(name) for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["live"]["sequence"] for line in path.read_text().splitlines()]


@contextmanager
def silent() -> Iterator[tuple[int, threading.Event]]:
    """A port that accepts one connection and never says a word; its number, and whether somebody came."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        came, over = threading.Event(), threading.Event()

        def accept() -> None:
            connections = []
            listening.settimeout(0.1)
            while not over.is_set():
                try:
                    connections.append(listening.accept()[0])
                except TimeoutError:
                    continue
                came.set()
            for each in connections:
                each.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1], came
        finally:
            over.set()
            thread.join()


def test_while_the_bundle_is_hashed(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(toy_bundle, tmp_path / "large")
    manifest = json.loads((bundle / "manifest.json").read_text())
    first = next(iter(manifest["files"]))
    os.truncate(bundle / first, 40 << 30)  # a hole, which takes a minute to hash and no room
    manifest["files"][first]["size"] = 40 << 30
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    log = tmp_path / "a.jsonl"
    with watched(tmp_path, bundle, "--camera", film, "--sink", f"jsonl:{log}") as child:
        child.until(lambda: opens(child.process.pid, first), "hashing")
        # There is nothing to put in order yet, so the signal does what it does to any program.
        assert child.terminate() == -signal.SIGTERM
        assert not log.exists()


def test_while_the_camera_is_opened_and_blocks(toy_bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    with silent() as (port, came):
        address = f"http://127.0.0.1:{port}/camera"
        with watched(
            tmp_path, toy_bundle, "--camera", address, "--mic", "none", "--hop", "0.5", "--sink", f"jsonl:{log}"
        ) as child:
            child.until(came.is_set, "a connection to the camera")
            child.until(lambda: child.answers, "an answer")
            assert set(child.answers[0]["states"]) >= {"no_video", "no_audio"}
            assert child.terminate() == 0
        assert numbers(log) == [each["live"]["sequence"] for each in child.answers]


def test_in_the_middle_of_a_model_call(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    arguments = (toy_bundle, "--camera", film, "--loop", "--hop", "0.5", "--sink", f"jsonl:{log}")
    with watched(tmp_path, *arguments, head=slow("Pipeline.analyse 0.8")) as child:
        child.until(lambda: len(child.answers) == 1 and child.said.count("in Pipeline.analyse") == 2, "the second call")
        assert child.terminate() == 0
    # The window under way is answered, everywhere.
    assert [each["live"]["sequence"] for each in child.answers] == [1, 2]
    assert numbers(log) == [1, 2]


def test_a_model_that_never_comes_back_is_left(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    with watched(tmp_path, toy_bundle, "--camera", film, head=slow("Pipeline.analyse 600")) as child:
        child.until(lambda: "in Pipeline.analyse" in child.said, "a call")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(DEADLINE_S) == 1
        child.until_said("did not come back")


def test_while_nobody_reads_its_answers(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    arguments = (toy_bundle, "--camera", film, "--loop", "--hop", "0.05", "--window", "0.5", "--speed", "4")
    with watched(tmp_path, *arguments, "--sink", f"jsonl:{log}", reads=False, pipesize=4096) as child:
        # Far more than the pipe, the queue and the writer hold.
        child.until(lambda: log.exists() and log.read_text().count("\n") > 90, "answers in the file")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(SOON_S) == 0
        child.until_said("answers were not written")


def test_while_a_reason_is_generated(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    arguments = (toy_bundle, "--camera", film, "--loop", "--hop", "0.5", "--reason", "always")
    with watched(tmp_path, *arguments, head=slow("Decoder._step 0.02")) as child:
        child.until(lambda: child.said.count("in Decoder._step") > 3, "generation")
        assert child.terminate() == 0
    assert child.answers
    assert all(each["reason"] for each in child.answers)


def test_while_a_sink_blocks(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    with silent() as (port, came):
        sinks = ("--sink", f"ws://127.0.0.1:{port}/", "--sink", f"jsonl:{log}")
        with watched(tmp_path, toy_bundle, "--camera", film, "--loop", "--hop", "0.5", *sinks) as child:
            child.until(came.is_set, "a connection to the sink")
            child.until(lambda: len(child.answers) > 2, "answers")
            assert child.terminate() == 0
    assert "were not delivered" in child.said
    assert numbers(log) == [each["live"]["sequence"] for each in child.answers]


def test_while_it_records(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    save = ("--save-media", kept, "--keep-for", "1h")
    with watched(tmp_path, toy_bundle, "--camera", film, "--loop", *save) as child:
        child.until(lambda: len(child.answers) > 2, "answers")
        assert child.terminate() == 0
    (file,) = kept.iterdir()
    assert file.suffix == ".mkv"
    with av.open(str(file)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 > 2.5
        pictures = sum(1 for _ in container.decode(video=0))
    assert pictures > 25


def test_a_disk_that_is_full_for_a_while(toy_bundle: Path, film: Path, tmp_path: Path) -> None:
    """Both a file of answers and kept media meet the end of the disk, while answers go on, and both recover."""
    log, kept = tmp_path / "a.jsonl", tmp_path / "kept"
    arguments = ("--camera", film, "--loop", "--hop", "0.25", "--window", "1", "--sink", f"jsonl:{log}")
    full = (4096, resource.RLIM_INFINITY)
    with watched(
        tmp_path,
        *(toy_bundle, *arguments, "--save-media", kept, "--keep-for", "1h"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, full),
    ) as child:
        child.until(lambda: "is lost" in child.said and "media can't be kept" in child.said, "two complaints")
        before = len(child.answers)
        child.until(lambda: len(child.answers) > before + 3, "answers on a full disk")
        assert log.stat().st_size <= 4096
        assert numbers(log) == list(range(1, len(numbers(log)) + 1))
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        child.until(lambda: len(log.read_text().splitlines()) > before, "what waited, in the file")
        child.until(lambda: any(each.stat().st_size > 20_000 for each in kept.iterdir()), "media on the disk")
        assert child.said.count("media can't be kept") == 1
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(SOON_S) == 0
    assert "Traceback" not in child.said
    assert numbers(log) == list(range(1, len(numbers(log)) + 1))
    assert len(numbers(log)) >= len(child.answers) - 1
    newest = max(kept.iterdir())
    with av.open(str(newest)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5
