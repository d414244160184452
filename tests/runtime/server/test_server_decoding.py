"""DecoderPool: the windows of read_windows out of another process, and what it does when that process misbehaves."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import runtime_media

from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.server.decoding import (
    Busy,
    DecodeLimits,
    DecoderCrashed,
    DecoderPool,
    TooLong,
    TooManyPixels,
    TooSlow,
)
from mosear.runtime.windows import Window, read_windows

LIMITS = DecodeLimits(seconds=30, pixels=2_000_000, decode_s=20, memory_mb=512)
EXAMPLES = Path(__file__).parents[3] / "examples" / "clips"


@contextmanager
def pool_of(
    scratch: Path,
    preprocessing: Preprocessing,
    processes: int = 1,
    wait_s: float = 20.0,
    clips_each: int = 200,
    command: list[str] | None = None,
    limits: DecodeLimits = LIMITS,
) -> Iterator[DecoderPool]:
    pool = DecoderPool(preprocessing, limits, processes, scratch, wait_s, clips_each, command)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uploads of several kinds. Not to be changed."""
    folder = tmp_path_factory.mktemp("scratch")
    for name in ("clip_00000.mp4", "clip_00007.mp4"):
        (folder / name).write_bytes((EXAMPLES / name).read_bytes())
    runtime_media.write(folder / "long.mkv", 10.0)
    runtime_media.write(folder / "silent.mp4", 1.0, sound=np.zeros(48000, np.float32))
    runtime_media.write(folder / "sound.wav", 4.0, video=False, audio_codec="pcm_s16le")
    runtime_media.write(folder / "mute.mp4", 0.3, audio=False)
    whole = runtime_media.write(folder / "cut.mkv", 9.0).read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("hello\n" * 100)
    return folder


@pytest.fixture(scope="module")
def pool(scratch: Path, preprocessing: Preprocessing) -> Iterator[DecoderPool]:
    with pool_of(scratch, preprocessing, 2) as running:
        yield running


def same(a: Window, b: Window) -> bool:
    def equal(x: np.ndarray | None, y: np.ndarray | None) -> bool:
        return x is y is None or (x is not None and y is not None and x.dtype == y.dtype and np.array_equal(x, y))

    told = (a.start, a.end, a.states, a.transcript) == (b.start, b.end, b.states, b.transcript)
    return told and equal(a.frames, b.frames) and equal(a.samples, b.samples)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(pid: int) -> str | None:
    """One letter of /proc, None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return None


@pytest.mark.parametrize(
    ("name", "window_s", "hop_s"),
    [
        ("clip_00000.mp4", None, None),
        ("clip_00007.mp4", 1.0, 0.4),
        ("long.mkv", 2.5, 1.0),
        ("silent.mp4", None, None),
        ("sound.wav", None, 1.0),
        ("mute.mp4", None, None),
        ("cut.mkv", 1.0, 1.0),
    ],
)
def test_windows_are_those_of_read_windows_bit_by_bit(
    pool: DecoderPool, scratch: Path, preprocessing: Preprocessing, name: str, window_s, hop_s
) -> None:
    given = list(pool.windows(scratch / name, window_s, hop_s, "she said “no”"))
    expected = list(read_windows(scratch / name, preprocessing, window_s, hop_s, "she said “no”"))
    assert len(given) == len(expected) > 0
    assert all(map(same, given, expected))


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "missing.mp4"])
def test_bad_input_speaks_of_the_upload_and_not_of_its_path(
    pool: DecoderPool, scratch: Path, preprocessing: Preprocessing, name: str
) -> None:
    with pytest.raises(BadInput) as theirs:
        list(read_windows(scratch / name, preprocessing))
    with pytest.raises(BadInput) as ours:
        list(pool.windows(scratch / name))
    assert ours.value.what == theirs.value.what.replace(str(scratch / name), "the upload")
    assert ours.value.remedy == theirs.value.remedy
    assert "the upload" in ours.value.what
    assert str(scratch) not in ours.value.what


def test_a_window_that_is_out_of_range_takes_no_process(pool: DecoderPool, scratch: Path) -> None:
    with pytest.raises(UsageError, match="out of range"):
        next(pool.windows(scratch / "long.mkv", 100.0))


def test_a_path_that_leads_elsewhere_is_refused(pool: DecoderPool, scratch: Path, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scratch"):
        next(pool.windows(clip))
    with pytest.raises(ValueError, match="scratch"):
        next(pool.windows(scratch / ".." / "x.mp4"))


def test_several_threads_share_the_processes(pool: DecoderPool, scratch: Path, preprocessing: Preprocessing) -> None:
    names = ["clip_00000.mp4", "long.mkv", "sound.wav", "text.mp4"]
    expected = {name: list(read_windows(scratch / name, preprocessing)) for name in names[:3]}
    wrong: list[str] = []

    def work(first: int) -> None:
        for step in range(6):
            name = names[(first + step) % len(names)]
            try:
                given = list(pool.windows(scratch / name))
                if not all(map(same, given, expected[name])) or len(given) != len(expected[name]):
                    wrong.append(name)
            except BadInput:
                if name != "text.mp4":
                    wrong.append(f"{name} refused")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_the_limit_on_length(scratch: Path, preprocessing: Preprocessing) -> None:
    limits = DecodeLimits(seconds=5, pixels=2_000_000, decode_s=20, memory_mb=512)
    with pool_of(scratch, preprocessing, limits=limits) as pool:
        (pid,) = pool.pids
        with pytest.raises(TooLong, match="longer than 5 s") as error:
            next(pool.windows(scratch / "long.mkv"))
        assert error.value.status == 422
        assert len(list(pool.windows(scratch / "sound.wav"))) == 1
        assert pool.pids == [pid]


def test_the_limit_on_pixels(tmp_path: Path, preprocessing: Preprocessing) -> None:
    limits = DecodeLimits(seconds=30, pixels=64 * 48, decode_s=20, memory_mb=512)
    runtime_media.write(tmp_path / "fits.mp4", 1.0, size=(64, 48))
    runtime_media.write(tmp_path / "over.mp4", 1.0, size=(64, 50))
    runtime_media.write(tmp_path / "over.webm", 1.0, size=(80, 64), codec="libvpx-vp9", audio_codec="libopus")
    with pool_of(tmp_path, preprocessing, limits=limits) as pool:
        (window,) = pool.windows(tmp_path / "fits.mp4")
        assert window.frames is not None
        with pytest.raises(TooManyPixels):  # and not its sound alone
            next(pool.windows(tmp_path / "over.webm"))
        with pytest.raises(TooManyPixels) as error:
            next(pool.windows(tmp_path / "over.mp4"))
        assert error.value.status == 422


def test_pictures_that_grow_over_the_limit_in_the_middle_are_left_out(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    limits = DecodeLimits(seconds=30, pixels=64 * 48, decode_s=20, memory_mb=512)
    parts = [
        runtime_media.write(
            tmp_path / f"{side}.ts",
            size=(side, 48),
            audio=False,
            frames=lambda index, side=side: runtime_media.flat((side, 48), side),
            times=[first + index / 16 for index in range(16)],
        )
        for side, first in ((64, 0.0), (192, 1.0))
    ]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    (free,) = read_windows(both, preprocessing)
    assert free.frames is not None
    assert free.frames[-1].mean() == pytest.approx(192, abs=3)
    with pool_of(tmp_path, preprocessing, limits=limits) as pool:
        (window,) = pool.windows(both)
        assert window.frames is not None
        assert window.frames.mean(axis=(1, 2, 3)) == pytest.approx([64] * 8, abs=3)


def test_a_picture_that_no_memory_is_left_for_is_not_silently_missing(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    """The decoder goes on after a refused allocation: with too few pictures, or the sound alone."""
    path = runtime_media.write(tmp_path / "large.mp4", 0.5, fps=10, size=(1920, 1080))
    (expected,) = read_windows(path, preprocessing)
    refused = 0
    for memory_mb in (16, 48, 512):
        limits = DecodeLimits(seconds=30, pixels=1920 * 1088, decode_s=60, memory_mb=memory_mb)
        with pool_of(tmp_path, preprocessing, limits=limits) as pool:
            try:
                (window,) = pool.windows(path)
                assert same(window, expected)
            except BadInput as error:
                refused += 1
                assert memory_mb < 512
                assert "memory" in error.what  # noqa: PT017
    assert refused > 0


def test_a_clip_that_takes_too_long_costs_its_process(scratch: Path, preprocessing: Preprocessing) -> None:
    limits = DecodeLimits(seconds=30, pixels=2_000_000, decode_s=0.5, memory_mb=512)
    with pool_of(scratch, preprocessing, limits=limits) as pool:
        windows = pool.windows(scratch / "long.mkv", 1.0, 0.5)
        next(windows)
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TooSlow) as error:
            list(windows)
        assert error.value.status == 408
        until(lambda: state(pid) is None)
        assert len(list(pool.windows(scratch / "clip_00000.mp4"))) == 1


def test_time_that_the_reader_takes_does_not_count(scratch: Path, preprocessing: Preprocessing) -> None:
    limits = DecodeLimits(seconds=30, pixels=2_000_000, decode_s=1.5, memory_mb=512)
    with pool_of(scratch, preprocessing, limits=limits) as pool:
        windows = pool.windows(scratch / "clip_00000.mp4", 0.5, 0.5)
        next(windows)
        time.sleep(2.0)  # the very thing that is tested: longer than decode_s
        assert len(list(windows)) == 5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_over_a_clip_is_replaced(
    scratch: Path, preprocessing: Preprocessing, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pool_of(scratch, preprocessing) as pool:
        windows = pool.windows(scratch / "long.mkv", 1.0, 0.5)
        next(windows)
        (pid,) = pool.pids
        os.kill(pid, number)
        with pytest.raises(DecoderCrashed, match="the upload makes the media library crash") as error:
            list(windows)
        assert error.value.status == 422
        assert f"signal {int(number)}" in caplog.text
        assert str(scratch) not in caplog.text
        assert len(list(pool.windows(scratch / "long.mkv"))) == 3
        assert state(pid) is None
        assert pool.pids not in ([], [pid])


def test_a_process_that_dies_idle_is_nobodys_fault(scratch: Path, preprocessing: Preprocessing) -> None:
    with pool_of(scratch, preprocessing) as pool:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        until(lambda: state(pid) in (None, "Z"))
        assert len(list(pool.windows(scratch / "long.mkv"))) == 3


def test_closed_early_the_process_takes_the_next_clip(scratch: Path, preprocessing: Preprocessing) -> None:
    with pool_of(scratch, preprocessing) as pool:
        for _ in range(3):
            windows = pool.windows(scratch / "long.mkv", 1.0, 0.5)
            assert next(windows).start == 0
            windows.close()
            assert [window.start for window in pool.windows(scratch / "long.mkv")] == [0, 3, 6]


def test_closed_early_while_it_hangs_the_process_is_replaced(scratch: Path, preprocessing: Preprocessing) -> None:
    with pool_of(scratch, preprocessing) as pool:
        windows = pool.windows(scratch / "long.mkv", 1.0, 0.5)
        next(windows)
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        windows.close()
        assert state(pid) is None
        assert len(list(pool.windows(scratch / "long.mkv"))) == 3


def test_a_process_is_replaced_after_some_clips(scratch: Path, preprocessing: Preprocessing) -> None:
    with pool_of(scratch, preprocessing, clips_each=2) as pool:
        seen = []
        for _ in range(4):
            windows = pool.windows(scratch / "clip_00000.mp4")
            next(windows)
            seen += pool.pids
            assert list(windows) == []
        assert seen[0] == seen[1] != seen[2] == seen[3]


def test_when_all_have_work_the_next_one_waits_and_is_told_so(scratch: Path, preprocessing: Preprocessing) -> None:
    with pool_of(scratch, preprocessing, wait_s=0.1) as pool:
        held = pool.windows(scratch / "long.mkv", 1.0)
        next(held)
        with pytest.raises(Busy) as error:
            next(pool.windows(scratch / "long.mkv"))
        assert error.value.retry_after >= 1
        held.close()
        assert len(list(pool.windows(scratch / "long.mkv"))) == 3


def test_stop_ends_those_at_work_and_those_who_wait(scratch: Path, preprocessing: Preprocessing) -> None:
    outcomes: list[str] = []
    at_work = threading.Event()

    def read(hold: bool) -> None:
        try:
            for _ in pool.windows(scratch / "long.mkv", 0.5, 0.05):
                at_work.set()
                if hold:
                    gone.wait(20)
            outcomes.append("whole")
        except Busy:
            outcomes.append("busy")

    gone = threading.Event()
    with pool_of(scratch, preprocessing) as pool:
        pids = pool.pids
        threads = [threading.Thread(target=read, args=(True,))]
        threads[0].start()
        assert at_work.wait(20)
        threads += [threading.Thread(target=read, args=(False,)) for _ in range(3)]
        for thread in threads[1:]:
            thread.start()
        pool.stop()
        gone.set()
        for thread in threads:
            thread.join(20)
        assert outcomes == ["busy"] * 4
        assert [state(pid) for pid in pids] == [None]
        with pytest.raises(Busy):
            next(pool.windows(scratch / "long.mkv"))
        pool.start()
        assert len(list(pool.windows(scratch / "long.mkv"))) == 3


def test_nothing_is_left_of_fifty_clips(scratch: Path, preprocessing: Preprocessing) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = held()
    pids: set[int] = set()
    with pool_of(scratch, preprocessing, clips_each=7) as pool:
        list(pool.windows(scratch / "clip_00000.mp4"))
        running = held()
        for index in range(50):
            windows = pool.windows(scratch / ["clip_00000.mp4", "text.mp4", "long.mkv"][index % 3], 1.0)
            try:
                next(windows)
                pids |= set(pool.pids)
                if index % 4:
                    list(windows)
            except BadInput:
                continue
            finally:
                windows.close()
        until(lambda: len(pool.pids) == 1)
        assert held() == running
        pids |= set(pool.pids)
    assert held() == before
    assert len(pids) >= 6
    assert [state(pid) for pid in pids] == [None] * len(pids)


def test_children_end_with_a_server_that_is_killed(scratch: Path, preprocessing: Preprocessing) -> None:
    code = f"""
import sys, time
from pathlib import Path
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.server.decoding import DecodeLimits, DecoderPool
preprocessing = Preprocessing.model_validate_json({preprocessing.model_dump_json()!r})
pool = DecoderPool(preprocessing, DecodeLimits(30, 10**6, 20, 512), 2, Path({str(scratch)!r}))
pool.start()
print(*pool.pids, flush=True)
time.sleep(60)
"""
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout is not None
        pids = [int(word) for word in server.stdout.readline().split()]
        assert [state(pid) is not None for pid in pids] == [True, True]
        server.kill()
    until(lambda: all(state(pid) in (None, "Z") for pid in pids))


def test_processes_that_do_not_start_are_said_so(scratch: Path, preprocessing: Preprocessing) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for command in (["/nowhere/python"], [sys.executable, "-c", "pass"]):
        pool = DecoderPool(preprocessing, LIMITS, 2, scratch, command=command)
        with pytest.raises(Failed, match="don't start"):
            pool.start()
    assert len(os.listdir("/proc/self/fd")) == before
