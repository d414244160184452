"""The recorder: what it keeps is what came, and nothing that goes wrong stops it or keeps a thing for longer."""

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from mosear.runtime.capture.stream import Item, Picture, Sound
from mosear.runtime.privacy import media_file, recording
from mosear.runtime.privacy.recording import Recorder, segment_seconds

RATE = 16000


def frame(grey: int, size: tuple[int, int] = (64, 48), form: str = "yuv420p") -> av.VideoFrame:
    pixels = np.full((size[1], size[0], 3), grey, np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=form)


def pictures(times: list[float], size: tuple[int, int] = (64, 48)) -> list[Item]:
    return [Picture(at, frame(40 + 20 * (index % 9), size)) for index, at in enumerate(times)]


def sounds(start: float, seconds: float, step: float = 0.1, click: float | None = None) -> list[Item]:
    whole = np.zeros(round(seconds * RATE), np.float32)
    if click is not None:
        whole[round((click - start) * RATE)] = 0.9
    size = round(step * RATE)
    return [Sound(start + at / RATE, whole[at : at + size]) for at in range(0, len(whole), size)]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def recorder(folder: Path, keep_for: float = 3600.0) -> Iterator[Recorder]:
    made = Recorder(folder, keep_for, RATE)
    try:
        yield made
    finally:
        made.close()


def keep(folder: Path, items: list[Item]) -> list[Path]:
    """Record items in the order of their times, and return the files, oldest first."""
    with recorder(folder) as made:
        for item in sorted(items, key=lambda item: item.time):
            made.take(item)
    assert made.dropped == 0
    return sorted(folder.iterdir())


def video(path: Path) -> list[tuple[float, float]]:
    """Time and mean grey of every picture."""
    with av.open(str(path)) as container:
        return [
            (float(each.pts * each.time_base), float(each.to_ndarray(format="gray").mean()))
            for each in container.decode(video=0)
        ]


def audio(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time of the first sample, and samples, of every block."""
    with av.open(str(path)) as container:
        return [(float(each.pts * each.time_base), each.to_ndarray()[0]) for each in container.decode(audio=0)]


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return sorted(stream.type for stream in container.streams)


def test_pictures_and_sound_lie_at_their_own_times(tmp_path: Path) -> None:
    times = [100.0, 100.031, 100.113, 100.2, 101.4, 101.441, 102.6]
    (path,) = keep(tmp_path / "media", [*pictures(times), *sounds(100.25, 2.0, click=101.9)])
    seen = video(path)
    assert [at for at, _ in seen] == pytest.approx([at - 100.0 for at in times], abs=0.0011)
    levels = [grey for _, grey in seen]
    assert [levels.index(each) for each in sorted(levels)] == list(range(7)), "every picture is another grey"
    heard = audio(path)
    assert heard[0][0] == pytest.approx(0.25, abs=0.0011)
    clicks = [at + np.argmax(block) / RATE for at, block in heard if block.max() > 20000]
    assert clicks == pytest.approx([1.9], abs=0.0011)


def test_where_the_camera_was_away_there_is_a_hole_of_that_length(tmp_path: Path) -> None:
    before, after = [index / 10 for index in range(15)], [9.0 + index / 10 for index in range(15)]
    (path,) = keep(tmp_path / "media", [*pictures(before + after), *sounds(0.0, 11.0)])
    seen = [at for at, _ in video(path)]
    assert seen == pytest.approx(before + after, abs=0.0011)
    heard = audio(path)
    assert sum(len(block) for _, block in heard) == 11 * RATE


def test_only_pictures_and_only_sound(tmp_path: Path) -> None:
    (seen,) = keep(tmp_path / "seen", pictures([index / 10 for index in range(20)]))
    (heard,) = keep(tmp_path / "heard", sounds(0.0, 2.0))
    assert kinds(seen) == ["video"]
    assert kinds(heard) == ["audio"]
    assert len(video(seen)) == 20
    assert sum(len(block) for _, block in audio(heard)) == 2 * RATE


def test_sound_that_comes_later_begins_another_file(tmp_path: Path) -> None:
    shown = pictures([index / 10 for index in range(60)])
    files = keep(tmp_path / "media", [*shown, *sounds(3.0, 3.0)])
    assert [kinds(path) for path in files] == [["video"], ["audio", "video"]]
    assert sum(len(video(path)) for path in files) == 60


def test_less_than_a_second_is_kept_too(tmp_path: Path) -> None:
    (path,) = keep(tmp_path / "media", pictures([0.0, 0.1]))
    assert len(video(path)) == 2


def test_another_size_of_picture_begins_another_file(tmp_path: Path) -> None:
    first = pictures([index / 10 for index in range(20)])
    second = pictures([2 + index / 10 for index in range(20)], size=(97, 51))
    files = keep(tmp_path / "media", first + second)
    assert [len(video(path)) for path in files] == [20, 20]
    with av.open(str(files[1])) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (96, 50)


def test_a_camera_that_changes_size_with_every_picture_does_not_make_a_file_each(tmp_path: Path) -> None:
    items = [Picture(index / 25, frame(90, (64 + 16 * (index % 2), 48))) for index in range(100)]
    with recorder(tmp_path / "media") as made:
        for item in items:
            made.take(item)
    files = list((tmp_path / "media").iterdir())
    assert len(files) <= 5
    assert sum(len(video(path)) for path in files) + made.dropped == 100


@pytest.mark.parametrize("form", ["yuv420p", "yuvj422p", "rgb24", "gray"])
def test_the_camera_s_own_frames_stay_as_they_are(tmp_path: Path, form: str) -> None:
    shown = [Picture(index / 10, frame(100, form=form)) for index in range(12)]
    for each in shown:
        each.frame.pts, each.frame.pict_type = 7, PictureType.I
    before = [[bytes(plane) for plane in each.frame.planes] for each in shown]
    (path,) = keep(tmp_path / "media", list(shown))
    assert all(each.frame.pts == 7 and each.frame.pict_type == PictureType.I for each in shown)
    assert [[bytes(plane) for plane in each.frame.planes] for each in shown] == before
    with av.open(str(path)) as container:
        keys = [each.key_frame for each in container.decode(video=0)]
    assert keys == [True] + [False] * 11, "the file's key pictures are not the camera's"


def test_sound_that_is_no_number_or_empty_or_too_loud_is_survived(tmp_path: Path) -> None:
    blocks = [np.full(1600, np.nan, np.float32), np.zeros(0, np.float32), np.full(1600, 9.0, np.float32)]
    with recorder(tmp_path / "media") as made:
        for index, block in enumerate(blocks):
            made.take(Sound(index / 10, block))
    (path,) = (tmp_path / "media").iterdir()
    heard = np.concatenate([block for _, block in audio(path)])
    assert heard.tolist() == [0] * 1600 + [32767] * 1600
    assert made.dropped == 1


def test_files_are_their_owner_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (path,) = keep(tmp_path / "media", pictures([0.0, 0.1]))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_taking_never_waits_and_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(media_file.MediaFile, "add", lambda self, item: release.wait(20))
    made = Recorder(tmp_path / "media", 3600, RATE)
    large = frame(90, (1920, 1080))
    try:
        threads = [
            threading.Thread(target=lambda: [made.take(Picture(0.0, large)) for _ in range(250)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive(), "taking waited for the encoder"
        assert 1000 - made.dropped <= 20, "1080p pictures of 3 MB each"
        small = made.dropped
        made.close(timeout=0.05)
        made.take(Picture(1.0, large))
        assert made.dropped == small
    finally:
        release.set()
        made.close()


def test_an_error_of_the_encoder_is_logged_once_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mosear")
    broken = [True]
    write = media_file.MediaFile._write

    def failing(self: media_file.MediaFile, item: Item) -> None:
        if broken[0]:
            raise av.InvalidDataError(1, "the encoder broke")
        write(self, item)

    monkeypatch.setattr(media_file.MediaFile, "_write", failing)
    monkeypatch.setattr(recording, "RETRY_S", 0.05)
    with recorder(tmp_path / "media") as made:
        at = 0.0

        def feed() -> None:
            nonlocal at
            at += 0.2
            made.take(Picture(at, frame(90)))

        def failed_thrice() -> bool:
            feed()
            return made.dropped > 20

        until(failed_thrice)
        broken[0] = False

        def is_back() -> bool:
            feed()
            return "again" in caplog.text

        until(is_back)
    assert sum("the encoder broke" in line for line in caplog.messages) == 1
    kept = sum(len(video(path)) for path in (tmp_path / "media").iterdir())
    assert kept + made.dropped == round(at / 0.2), "every picture is kept or counted"


def test_without_the_first_encoder_another_is_used_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for there in ("mpeg4", "mjpeg"):
        missing = [("lib-nowhere", "yuv420p", {})]
        rest = [each for each in media_file._ENCODERS if each[0] == there]
        with monkeypatch.context() as patch:
            patch.setattr(media_file, "_ENCODERS", (*missing, *rest))
            media_file.encoder.cache_clear()
            (path,) = keep(tmp_path / there, pictures([index / 10 for index in range(20)]))
        media_file.encoder.cache_clear()
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == there
        assert [at for at, _ in video(path)] == pytest.approx([index / 10 for index in range(20)], abs=0.0011)
        assert f"pictures are kept as {there}" in caplog.text


def test_what_is_old_goes_while_nothing_comes_in(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    with recorder(folder, keep_for=1.0) as made:
        began = time.monotonic()
        for item in pictures([index / 10 for index in range(30)]):
            made.take(item)
        until(lambda: any(folder.iterdir()))
        until(lambda: not any(folder.iterdir()), 10)
        assert 0.9 < time.monotonic() - began < 4, "not before its time, and soon after"


def test_a_long_recording_is_cut_so_that_the_oldest_can_go() -> None:
    assert segment_seconds(10) == 5
    assert segment_seconds(900) == 60
    assert segment_seconds(7 * 86_400) == pytest.approx(604.8)
    assert segment_seconds(366 * 86_400) == 3600


def test_segments_end_by_time(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    with recorder(folder, keep_for=3.0) as made:
        at = 0.0

        def two() -> bool:
            nonlocal at
            at += 0.1
            made.take(Picture(at, frame(90)))
            time.sleep(0.02)
            return len(list(folder.iterdir())) >= 2

        until(two)


def test_what_was_taken_is_soon_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    with recorder(folder) as made:
        for item in pictures([index / 25 for index in range(45)]):
            made.take(item)

        def most_is_there() -> bool:
            (path,) = list(folder.iterdir()) or [None]
            try:
                return path is not None and len(video(path)) >= 25
            except av.FFmpegError:
                return False

        until(most_is_there)


def test_a_write_that_is_cut_short_is_no_success(tmp_path: Path) -> None:
    """A nearly full disk takes the beginning of what it is given, and says so only in a number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    with media_file._Unbuffered(number, "r+b") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                file.write(b"x" * 3000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


CHILD = textwrap.dedent(
    """
    import logging, resource, sys, time
    from pathlib import Path
    import av, numpy as np
    from mosear.runtime.capture.stream import Picture
    from mosear.runtime.privacy import recording
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    recording.RETRY_S = 0.2
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    made = recording.Recorder(folder, float(sys.argv[3]), 16000)
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    fds = lambda: len(list(Path("/proc/self/fd").iterdir()))
    before, began, at = fds(), time.monotonic(), 0.0
    while time.monotonic() - began < float(sys.argv[4]):
        at += 0.04
        made.take(Picture(at, av.VideoFrame.from_ndarray(np.roll(noise, int(at * 99)), format="rgb24")))
        time.sleep(0.004)
    print("taken", round(at / 0.04), flush=True)
    made.close()
    print("dropped", made.dropped, "descriptors", fds() - before, flush=True)
    """
)


def child(folder: Path, limit: int = 0, keep_for: float = 3600, seconds: float = 3) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(folder), str(limit), str(keep_for), str(seconds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_said_once_and_nothing_leaks(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    process = child(folder, limit=200_000)
    out, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert log.count("media can't be kept") - log.count("are kept in") <= 1, log
    assert "File too large" in log
    words = out.split()
    assert words[-1] == "-1", "the folder's own was closed, and no other is left open"
    assert int(words[3]) > 0
    kept = list(folder.iterdir())
    assert 1 <= len(kept) <= 20, "not a file for every picture"
    assert all(0 < path.stat().st_size <= 200_000 for path in kept)
    assert len(video(kept[0])) > 5, "what was written can be read"


def test_purging_goes_on_when_nothing_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    process = child(folder, limit=3000, keep_for=1.0, seconds=4)
    seen: dict[str, float] = {}
    while process.poll() is None:
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        seen = {name: seen.get(name, time.monotonic()) for name in there}
        assert all(time.monotonic() - since < 2.5 for since in seen.values())
        time.sleep(0.02)
    log = process.communicate()[1]
    assert process.returncode == 0, log
    assert "File too large" in log


def test_a_killed_recorder_leaves_a_readable_file_that_the_next_one_deletes(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    process = child(folder, seconds=60)
    try:
        until(lambda: folder.is_dir() and any(path.stat().st_size > 200_000 for path in folder.iterdir()))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (left,) = folder.iterdir()
    seen = [at for at, _ in video(left)]
    assert len(seen) > 20
    assert seen == sorted(seen)
    with recorder(folder, keep_for=3600):
        assert left.exists(), "it is not yet that old"
    with recorder(folder, keep_for=0.01):
        assert not left.exists()
