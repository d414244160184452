"""Files in place of devices, against what was written into them."""

import gc
import itertools
import threading
from pathlib import Path

import capture_fakes
import numpy as np
import pytest
import runtime_media
from capture_fakes import until

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.playback import FilePlayer, Start
from mosear.runtime.capture.sources import CameraSound, MediaFile, Nothing, open_feeds, parse_camera
from mosear.runtime.capture.stream import Condition, Item, Lost, Picture, Sound
from mosear.runtime.media.file import probe

RATE = 16000
SPEED = 20


def _play(
    path: Path, speed: float = SPEED, loop: bool = False, enough: int = 10**9, **wanted
) -> list[tuple[float, Item]]:
    """Items with the time of the clock at which they came; the file begins at 5 s."""
    clock = Clock(speed=SPEED)
    player = FilePlayer(probe(path), RATE, clock, 5.0, loop=loop, **wanted)
    came = []
    for item in player:
        came.append((clock.now(), item))
        if len(came) >= enough:
            player.close()
    return came


def test_items_come_at_their_times(tmp_path: Path) -> None:
    # Uncompressed sound: what comes before the first sample of AAC is placed differently by versions of ffmpeg.
    path = runtime_media.write(tmp_path / "a.mkv", 3.0, fps=25, audio_codec="pcm_s16le")
    came = _play(path)
    pictures = [item for _, item in came if isinstance(item, Picture)]
    sounds = [item for _, item in came if isinstance(item, Sound)]
    assert [picture.time - 5.0 for picture in pictures] == pytest.approx([i / 25 for i in range(75)], abs=0.002)
    assert sounds[0].time == pytest.approx(5.0, abs=0.025)
    assert sum(len(sound.samples) for sound in sounds) / RATE == pytest.approx(3.0, abs=0.06)
    times = [item.time for _, item in came]
    assert times == sorted(times)
    assert all(now >= item.time for now, item in came)


def test_picture_and_sound_of_one_moment_have_one_time(tmp_path: Path) -> None:
    path = runtime_media.write(
        tmp_path / "a.mp4",
        3.0,
        fps=25,
        frames=lambda index: runtime_media.flat((64, 48), 200 if index >= 40 else 20),
        sound=runtime_media.click(3.0, 48000, 1.6),
    )
    came = [item for _, item in _play(path)]
    step = next(
        item.time for item in came if isinstance(item, Picture) and item.frame.to_ndarray(format="gray").mean() > 100
    )
    loudest = max((item for item in came if isinstance(item, Sound)), key=lambda item: np.abs(item.samples).max())
    click = loudest.time + int(np.abs(loudest.samples).argmax()) / RATE
    assert step == pytest.approx(6.6, abs=0.005)
    assert click == pytest.approx(6.6, abs=0.03)


def test_a_loop_goes_on_without_a_gap(tmp_path: Path) -> None:
    path = runtime_media.write(tmp_path / "a.mkv", 1.0, fps=20, audio_codec="pcm_s16le")
    came = [item for _, item in _play(path, loop=True, enough=250)]
    pictures = [item.time for item in came if isinstance(item, Picture)]
    assert len(pictures) > 50
    assert np.diff(pictures) == pytest.approx(np.full(len(pictures) - 1, 0.05), abs=0.002)
    sounds = [item for item in came if isinstance(item, Sound)]
    for last, sound in itertools.pairwise(sounds):
        assert sound.time == pytest.approx(last.time + len(last.samples) / RATE, abs=0.041)


def test_only_what_is_wanted(tmp_path: Path) -> None:
    path = runtime_media.write(tmp_path / "a.mkv", 1.0)
    assert {type(item) for _, item in _play(path, sounds=False)} == {Picture}
    assert {type(item) for _, item in _play(path, pictures=False)} == {Sound}


def test_corrupted_packets_do_not_end_it(tmp_path: Path) -> None:
    path = runtime_media.write(
        tmp_path / "a.ts",
        4.0,
        fps=25,
        frames=lambda i: np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8),
    )
    whole = len(_play(path))
    data = bytearray(path.read_bytes())
    damage = np.random.default_rng(1)
    for place in damage.integers(len(data) * 2 // 5, len(data) * 3 // 5, 200):
        data[place] = damage.integers(256)
    path.write_bytes(bytes(data))
    came = _play(path)
    times = [item.time for _, item in came if isinstance(item, Picture)]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(5.0 + 99 / 25, abs=0.1)
    assert whole * 0.5 < len(came)


def _noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)


def test_close_while_it_waits(tmp_path: Path) -> None:
    path = runtime_media.write(tmp_path / "a.mkv", 3.0)
    clock = Clock()
    player = FilePlayer(probe(path), RATE, clock, clock.now() + 1000.0)
    ended = threading.Event()
    threading.Thread(target=lambda: (list(player), ended.set())).start()
    player.close()
    player.close()
    assert ended.wait(1.0)


def test_a_file_that_goes_away_is_lost(tmp_path: Path) -> None:
    path = runtime_media.write(tmp_path / "a.mkv", 0.5)
    clock = Clock(speed=SPEED)
    player = FilePlayer(probe(path), RATE, clock, 0.0, loop=True)
    items = iter(player)
    next(items)
    path.unlink()
    with pytest.raises(Lost, match="not a media file"):
        list(items)


def test_files_begin_together() -> None:
    clock = Clock(speed=1000)
    start = Start(clock)
    first = start.first()
    until(lambda: clock.now() > first + 1)
    assert start.first() == first


def test_a_file_as_camera_is_one_feed_that_ends(tmp_path: Path) -> None:
    path = runtime_media.write(tmp_path / "a b.mkv", 2.0)
    items: list[Item] = []
    feeds = open_feeds(parse_camera(str(path)), CameraSound(), RATE, Clock(speed=SPEED), items.append)
    (feed,) = feeds
    feed.start()
    until(lambda: feed.status().condition is Condition.ended)
    assert feed.status().to_dict() == {
        "kind": "camera",
        "name": "a b.mkv",
        "condition": "ended",
        "reconnects": 0,
        "error": None,
        "delivered": len(items),
        "dropped": 0,
    }
    assert {type(item) for item in items} == {Picture, Sound}
    assert feed.stop(1)


def test_a_file_as_microphone_beside_a_file_as_camera(tmp_path: Path) -> None:
    seen = runtime_media.write(tmp_path / "a.mkv", 1.0, audio=False)
    heard = runtime_media.write(tmp_path / "b.wav", 1.0, video=False, audio_codec="pcm_s16le")
    items: list[Item] = []
    feeds = open_feeds(MediaFile(seen), MediaFile(heard), RATE, Clock(speed=SPEED), items.append)
    assert [feed.kind for feed in feeds] == ["camera", "microphone"]
    for feed in feeds:
        feed.start()
    until(lambda: all(feed.status().condition is Condition.ended for feed in feeds))
    first = {type(item): item.time for item in reversed(items)}
    assert first[Picture] == pytest.approx(first[Sound], abs=1e-6)
    assert all(feed.stop(1) for feed in feeds)


def test_played_and_stopped_twenty_times_nothing_is_left(tmp_path: Path) -> None:
    path = runtime_media.write(tmp_path / "a.mkv", 1.0)
    gc.collect()
    before = capture_fakes.descriptors(), threading.active_count()
    for _ in range(20):
        (feed,) = open_feeds(MediaFile(path), CameraSound(), RATE, Clock(), lambda item: None, loop=True)
        feed.start()
        until(lambda feed=feed: feed.status().delivered > 1)
        assert feed.stop(5)
    gc.collect()
    assert (capture_fakes.descriptors(), threading.active_count()) == before


def test_sound_alone(tmp_path: Path) -> None:
    heard = runtime_media.write(tmp_path / "b.wav", 0.5, video=False, audio_codec="pcm_s16le")
    items: list[Item] = []
    (feed,) = open_feeds(Nothing(), MediaFile(heard), RATE, Clock(speed=SPEED), items.append)
    assert feed.kind == "microphone"
    feed.start()
    until(lambda: feed.status().condition is Condition.ended)
    assert {type(item) for item in items} == {Sound}
