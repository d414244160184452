"""Voices: determinism, and pitch, loudness and brightness measured on the sound itself."""

import dataclasses

import numpy as np
import pytest

from mosear.clips.synthetic import LABELS, draw_spec, render_voice
from mosear.clips.synthetic.prosody import FIELDS, NEUTRAL, SHIFTS, Prosody

RATE = 16_000


def spoken(seed: int, label: str):
    """A clip whose voice is the full prototype of `label`, recorded without noise."""
    spec = draw_spec(seed, "consistent", label)
    speaker = dataclasses.replace(spec.speaker, noise=-90.0, gain=0.0)
    values = np.clip(NEUTRAL + np.array(SHIFTS[label]), 0.0, None)
    for signed in ("level", "slope", "final", "loudness"):
        index = FIELDS.index(signed)
        values[index] = NEUTRAL[index] + SHIFTS[label][index]
    return dataclasses.replace(spec, speaker=speaker, prosody=Prosody(*values.tolist()))


def pitches(sound: np.ndarray) -> np.ndarray:
    """F0 in Hz of every clearly voiced frame of 40 ms, from the first strong peak of the autocorrelation."""
    found = []
    for start in range(0, len(sound) - 640, 320):
        frame = sound[start : start + 640].astype(float)
        frame = frame - frame.mean()
        if np.sqrt(np.mean(frame**2)) < 0.3 * sound.std():
            continue
        correlation = np.correlate(frame, frame, "full")[639:] / np.arange(640, 0, -1)
        correlation /= correlation[0]
        lags = np.arange(RATE // 500, RATE // 65)
        best = correlation[lags].max()
        if best > 0.5:
            first = next(
                lag for lag in lags if correlation[lag] > 0.9 * best and correlation[lag] >= correlation[lag + 1]
            )
            found.append(RATE / first)
    return np.array(found)


def test_the_same_clip_is_the_same_sound_and_another_is_not() -> None:
    one, again, other = (render_voice(draw_spec(seed, "consistent", "sad")) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_length_type_and_range(rate) -> None:
    for label in LABELS:
        sound = render_voice(draw_spec(2, "audio_aligned", label), rate)
        assert sound.shape == (3 * rate,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert 0.01 < np.abs(sound).max() <= 1.0


def test_neutral_pitch_is_the_speakers() -> None:
    for seed in range(6):
        spec = spoken(seed, "neutral")
        assert np.median(pitches(render_voice(spec))) == pytest.approx(spec.speaker.f0, rel=0.12)


@pytest.mark.parametrize("label", ["angry", "happy", "surprise", "worried"])
def test_aroused_voices_are_higher_than_sad_ones(label) -> None:
    for seed in range(4):
        high, low = (np.median(pitches(render_voice(spoken(seed, name)))) for name in (label, "sad"))
        assert high > 1.15 * low


def test_surprise_ends_on_a_rise_and_anger_on_a_fall() -> None:
    def rise(label: str) -> float:
        values = [pitches(render_voice(spoken(seed, label))) for seed in range(6)]
        return float(np.mean([np.mean(v[-5:]) / np.median(v) for v in values]))

    assert rise("surprise") > 1.15 > rise("neutral") > rise("angry")


def test_anger_is_loud_and_bright_and_sadness_quiet_and_dull() -> None:
    def level(label: str) -> float:
        return float(np.mean([render_voice(spoken(seed, label)).std() for seed in range(4)]))

    def brightness(label: str) -> float:
        sounds = [np.abs(np.fft.rfft(render_voice(spoken(seed, label)))) ** 2 for seed in range(4)]
        return float(np.mean([power[4500:12000].sum() / power[300:12000].sum() for power in sounds]))

    assert level("angry") > 1.8 * level("neutral") > 1.8 * 1.8 * level("sad")
    assert brightness("angry") > brightness("neutral") > brightness("sad")


def test_a_sample_rate_too_low_for_formants_is_refused() -> None:
    with pytest.raises(ValueError, match="8000 Hz"):
        render_voice(draw_spec(0, "consistent"), 4_000)
