"""Windows made of what the sources gave lately, and the states that they carry."""

from collections.abc import Callable

import av
import numpy as np
import pytest

from mosear.runtime.capture.stream import Picture, Sound
from mosear.runtime.live.assembly import Assembly
from mosear.runtime.live.hearing import Hearing
from mosear.runtime.live.looking import looker
from mosear.runtime.live.preview import jpeg
from mosear.runtime.live.sightings import Look, Sightings
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media.resize import resize
from mosear.runtime.perception.faces import Crop

RATE = 16000
_random = np.random.default_rng(3)


def a_room(time: float) -> np.ndarray:
    """A picture with structure, another one each moment."""
    coarse = np.random.default_rng(int(time * 1000)).integers(0, 256, (6, 8, 3), np.uint8)
    return np.kron(coarse, np.ones((20, 20, 1), np.uint8))


def frame_of(pixels: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def feed(
    assembly: Assembly,
    begin: float,
    end: float,
    scene: Callable[[float], np.ndarray] | None = a_room,
    loud: float | None = 0.1,
) -> None:
    for index in range(round(begin * 25), round(end * 25)):
        time = index / 25
        if scene is not None:
            assembly.take(Picture(time, frame_of(scene(time))))
        if loud is not None:
            assembly.take(Sound(time, (_random.normal(size=640) * loud).astype(np.float32)))


class Voice:
    def __init__(self, share: float | None) -> None:
        self.answer = share
        self.heard = 0

    def feed(self, sound: Sound) -> None:
        self.heard += len(sound.samples)

    def share(self, start: float, end: float) -> float | None:
        return self.answer


class Faces:
    """Finds a face where the picture is red."""

    def crop(self, frame: av.VideoFrame) -> Crop:
        pixels = np.asarray(frame.to_ndarray(format="rgb24"))
        if pixels[0, 0, 0] < 250:
            return Crop(None)
        return Crop(np.ascontiguousarray(pixels[:100, :100]), 0.9, (0.0, 0.0, 100.0, 100.0), 1)


def assembly(preprocessing: Preprocessing, voice: Voice | None = None, faces: Faces | None = None, **parts) -> Assembly:
    sightings = Sightings(3.0, 8, looker(64, faces))  # type: ignore[arg-type]
    return Assembly(preprocessing, 3.0, sightings, Hearing(3.0, RATE), voice, **parts)  # type: ignore[arg-type]


def test_frames_and_samples_are_those_of_the_window(preprocessing: Preprocessing) -> None:
    made = assembly(preprocessing)
    feed(made, 0.0, 5.0)
    window = made.window(4.5)
    assert (window.start, window.end, window.states) == (1.5, 4.5, ("whole_frame",))
    assert window.frames is not None
    assert window.frame_keys is not None
    assert len(set(window.frame_keys)) == 8
    step = 3.0 / 8
    for frame, place in zip(window.frames, range(5, 13), strict=True):
        newest = int(place * step * 25 + 1e-9) / 25
        np.testing.assert_array_equal(frame, resize(a_room(newest), 64))


def test_a_window_at_the_start_uses_what_there_is(preprocessing: Preprocessing) -> None:
    made = assembly(preprocessing)
    feed(made, 10.0, 11.2)
    window = made.window(11.0)
    assert (window.start, window.end) == (10.0, 11.0)
    assert window.frames is not None
    assert window.frames.shape == (8, 64, 64, 3)
    assert window.samples is not None
    assert np.count_nonzero(window.samples) == pytest.approx(RATE, abs=3)


@pytest.mark.parametrize(
    ("scene", "state"),
    [
        (lambda time: np.zeros((120, 160, 3), np.uint8), "dark"),
        (lambda time: np.full((120, 160, 3), 130, np.uint8), "covered"),
    ],
)
def test_a_camera_that_sees_nothing_is_left_out_and_said(preprocessing: Preprocessing, scene, state: str) -> None:
    made = assembly(preprocessing)
    feed(made, 0.0, 4.0, scene)
    window = made.window(3.5)
    assert window.frames is None
    assert window.frame_keys is None
    assert window.states == (state,)
    assert window.samples is not None


def test_no_face_is_no_picture_and_a_face_is_cropped(preprocessing: Preprocessing) -> None:
    made = assembly(preprocessing, faces=Faces())
    feed(made, 0.0, 4.0)
    window = made.window(3.5)
    assert window.frames is None
    assert window.states == ("no_face",)

    def with_face(time: float) -> np.ndarray:
        pixels = a_room(time)
        pixels[0, 0] = (255, 0, 0)
        return pixels

    feed(made, 4.0, 8.0, with_face)
    window = made.window(7.5)
    assert window.states == ()
    assert window.frames is not None
    newest = int(20 * 0.375 * 25 + 1e-9) / 25
    np.testing.assert_array_equal(window.frames[-1], resize(with_face(newest)[:100, :100], 64))
    # A face in half of the frames is enough, and only those are shown to the model.
    feed(made, 8.0, 9.4)
    window = made.window(9.3)
    assert window.frames is not None
    assert len(set(window.frame_keys or ())) == 5


@pytest.mark.parametrize(
    ("share", "loud", "states"),
    [
        (0.9, 0.1, ("whole_frame",)),
        (0.02, 0.1, ("whole_frame", "no_speech")),
        (None, 0.1, ("whole_frame",)),
        (0.9, 0.00001, ("whole_frame", "no_speech")),
        (0.9, None, ("whole_frame", "no_audio")),
    ],
)
def test_sound_without_speech_is_left_out_and_said(preprocessing: Preprocessing, share, loud, states) -> None:
    voice = Voice(share)
    made = assembly(preprocessing, voice)
    feed(made, 0.0, 4.0, loud=loud)
    window = made.window(3.5)
    assert window.states == states
    assert (window.samples is None) == ("no_speech" in states or "no_audio" in states)
    assert voice.heard == (0 if loud is None else 4 * RATE)


def test_devices_that_stop_are_missed_after_a_while_and_come_back(preprocessing: Preprocessing) -> None:
    made = assembly(preprocessing)
    feed(made, 0.0, 5.0)
    assert made.window(5.5).states == ("whole_frame",)
    gone = made.window(8.5)
    assert gone.states == ("no_video", "no_audio")
    assert gone.frames is None
    assert gone.samples is None
    feed(made, 20.0, 23.0)
    assert made.window(22.9).states == ("whole_frame",)


def test_without_camera_or_microphone(preprocessing: Preprocessing) -> None:
    nothing = Assembly(preprocessing, 3.0, None, None)
    feed(nothing, 0.0, 4.0)
    assert nothing.window(3.5).states == ("no_video", "no_audio")


def test_words_are_asked_for_the_window(preprocessing: Preprocessing) -> None:
    asked: list[tuple[float, float]] = []

    def words(start: float, end: float) -> str | None:
        asked.append((start, end))
        return "well, well"

    made = assembly(preprocessing, words=words)
    feed(made, 0.0, 5.0)
    assert made.window(4.0).transcript == "well, well"
    assert asked == [(1.0, 4.0)]


@pytest.mark.parametrize("size", [(320, 240), (1920, 1080), (33, 17)])
def test_the_preview_is_the_picture_made_small(size: tuple[int, int]) -> None:
    width, height = size
    slope = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    data = jpeg(Picture(0.0, frame_of(slope)))
    decoder = av.CodecContext.create("mjpeg", "r")
    (found,) = decoder.decode(av.Packet(data))
    pixels = found.to_ndarray(format="rgb24").astype(int)
    assert max(found.width, found.height) <= 480
    assert found.width / found.height == pytest.approx(width / height, rel=0.1)
    wanted = np.linspace(0, 255, found.width)
    assert np.abs(pixels.mean(axis=(0, 2)) - wanted).mean() < 4


def test_a_look_without_detector_says_that_the_whole_frame_is_used() -> None:
    found: Look = looker(64, None)(frame_of(a_room(1.0)))
    assert found.states == {"whole_frame"}
    np.testing.assert_array_equal(found.pixels, resize(a_room(1.0), 64))
