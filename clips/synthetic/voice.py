"""Renders the voice of a clip: a glottal source through moving formants.

Source-filter model (Fant 1960): voiced excitation is the derivative of Rosenberg's (1971) glottal pulse, tilted by a
one-pole low-pass, with aspiration noise; formants are two-pole resonators (Klatt 1980) whose frequencies glide from
syllable to syllable, applied in the short-time spectrum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from mosear.clips.synthetic.specification import DURATION_S, ClipSpec
from mosear.clips.synthetic.speech import VOWELS, Syllable, plan_syllables

Signal = NDArray[np.float64]

_FRAME_S = 0.032
_BANDWIDTHS = np.array([70.0, 100.0, 140.0, 220.0])
_LEVEL_DB = -25.0
_PEAK = 0.97
_TREMOR_HZ = 6.5


def render_voice(spec: ClipSpec, sample_rate: int = 16_000) -> NDArray[np.float32]:
    """The clip's sound, [3 * sample_rate] float32 mono within [-1, 1].

    Raises:
        ValueError: sample rate under 8000 Hz, too low for the formants.
    """
    if sample_rate < 8000:
        raise ValueError(f"a voice needs a sample rate of at least 8000 Hz, not {sample_rate}")
    rng = np.random.default_rng([spec.seed, 6])
    count = round(DURATION_S * sample_rate)
    time = np.arange(count) / sample_rate
    syllables = plan_syllables(spec)
    voiced, consonant = _envelopes(spec, syllables, time)
    source = _source(spec, _pitch(spec, syllables, time, rng), voiced, rng)
    speech = _formants(spec, syllables, source, sample_rate)
    hiss = rng.normal(size=count)
    speech += consonant * (hiss - 0.9 * np.concatenate([[0.0], hiss[:-1]]))
    loud = np.sqrt(np.mean(np.square(speech)) / max(1e-3, float(np.mean(voiced > 0.1)))) if syllables else 1.0
    speech *= _decibel(_LEVEL_DB + spec.prosody.loudness + spec.speaker.gain) / max(loud, 1e-9)
    speech += _room(spec, count, rng)
    return np.clip(_PEAK * np.tanh(speech / _PEAK), -1.0, 1.0).astype(np.float32)


def _decibel(level: float) -> float:
    return 10.0 ** (level / 20.0)


def _envelopes(spec: ClipSpec, syllables: tuple[Syllable, ...], time: Signal) -> tuple[Signal, Signal]:
    """(amplitude of voicing, amplitude of consonant noise) over time, both [samples]."""
    voiced, noise = np.zeros_like(time), np.zeros_like(time)
    attack = 0.1 + 0.1 * (1.0 - spec.prosody.brightness)
    rate = 1.0 / (time[1] - time[0])
    for syllable in syllables:
        first, last = round(syllable.start_s * rate), round((syllable.start_s + syllable.length_s) * rate)
        position = np.linspace(0.0, 1.0, last - first)
        onset = 0.22 if syllable.consonant else 0.06
        rise = np.clip((position - onset) / attack, 0.0, 1.0)
        fall = np.clip((1.0 - position) / 0.3, 0.0, 1.0)
        accent = _decibel(spec.prosody.accent if syllable.stressed else 0.0)
        voiced[first:last] = np.sin(0.5 * math.pi * rise) * np.sin(0.5 * math.pi * fall) * accent
        if syllable.consonant:
            noise[first:last] = 0.12 * np.exp(-(((position - 0.12) / 0.09) ** 2)) * math.sqrt(accent)
    return voiced, noise


def _pitch(spec: ClipSpec, syllables: tuple[Syllable, ...], time: Signal, rng: np.random.Generator) -> Signal:
    """F0 in Hz over time: level, slope, accents, final movement, tremor and jitter, all in semitones."""
    prosody = spec.prosody
    at, height = [0.0], [prosody.level]
    for index, syllable in enumerate(syllables):
        progress = index / max(1, len(syllables) - 1) - 0.5
        at.append(syllable.start_s + 0.55 * syllable.length_s)
        height.append(prosody.level + prosody.range * syllable.accent + prosody.slope * progress)
    if syllables:
        at.append(syllables[-1].start_s + 0.95 * syllables[-1].length_s)
        height.append(height[-1] + prosody.final)
    knots = np.arange(0.0, DURATION_S + 0.005, 0.005)
    contour = np.interp(knots, at, height)
    contour = np.convolve(np.pad(contour, 6, mode="edge"), np.hanning(15)[1:-1] / np.hanning(15).sum(), mode="valid")
    contour += prosody.tremor * np.sin(2 * math.pi * _TREMOR_HZ * knots + rng.uniform(0, 6.3))
    contour += 12.0 / math.log(2.0) * prosody.jitter * rng.normal(size=len(knots))
    semitones = np.interp(time, knots, contour)
    return np.clip(spec.speaker.f0 * 2.0 ** (semitones / 12.0), 55.0, 700.0)


def _source(spec: ClipSpec, pitch: Signal, voiced: Signal, rng: np.random.Generator) -> Signal:
    """Glottal flow derivative with aspiration, [samples]."""
    prosody = spec.prosody
    rate = len(pitch) / DURATION_S
    cycles = np.cumsum(pitch) / rate
    phase = cycles % 1.0
    opening = spec.speaker.open_quotient + 0.15 * prosody.breathiness
    rise, fall = opening * 0.68, opening * 0.32
    pulse = np.where(
        phase < rise,
        0.5 * math.pi / rise * np.sin(math.pi * phase / rise),
        np.where(phase < opening, -0.5 * math.pi / fall * np.sin(0.5 * math.pi * (phase - rise) / fall), 0.0),
    )
    shimmer = 1.0 + prosody.shimmer * rng.normal(size=int(cycles[-1]) + 2)[cycles.astype(np.intp)]
    pole = 0.88 - 0.75 * prosody.brightness
    tilted = lfilter([1.0 - pole], [1.0, -pole], pulse * shimmer)
    aspiration = rng.normal(size=len(pitch)) * (0.35 + 0.65 * (phase < opening))
    power = 0.3 * prosody.breathiness
    return voiced * (tilted * (1.0 - 0.5 * prosody.breathiness) + power * aspiration)


def _formants(spec: ClipSpec, syllables: tuple[Syllable, ...], source: Signal, sample_rate: int) -> Signal:
    """Filter `source` by formants that glide between the syllables' vowels (overlap-add, half-overlapping frames)."""
    if not syllables:
        return source
    frame = 2 * round(_FRAME_S * sample_rate / 2)
    hop, length = frame // 2, 2 * frame
    padded = np.pad(source, (hop, 2 * frame))
    starts = np.arange(0, len(source) + hop, hop)
    window = np.hanning(frame + 1)[:-1]
    spectrum = np.fft.rfft(padded[starts[:, None] + np.arange(frame)] * window, length)
    centres = np.array([syllable.start_s + 0.55 * syllable.length_s for syllable in syllables])
    vowels = np.array([VOWELS[syllable.vowel] for syllable in syllables]) * spec.speaker.formant_scale
    vowels[:, 0] *= 1.0 + 0.012 * max(spec.prosody.loudness, -5.0)
    track = np.stack([np.interp(starts / sample_rate, centres, vowels[:, k]) for k in range(4)], axis=1)
    shift = np.exp(-2j * math.pi * np.arange(length // 2 + 1) / length).astype(np.complex64)
    radius = np.exp(-math.pi * _BANDWIDTHS / sample_rate)
    angle = 2.0 * math.pi * np.minimum(track, 0.46 * sample_rate) / sample_rate
    first = (-2.0 * radius * np.cos(angle)).astype(np.float32)
    second = (radius**2).astype(np.float32)
    response = np.ones(spectrum.shape, dtype=np.complex64)
    for k in range(4):
        denominator = 1.0 + shift * (first[:, k : k + 1] + second[k] * shift)
        response *= (1.0 + first[:, k : k + 1] + second[k]) / denominator
    pieces = np.fft.irfft(spectrum * response, length)
    result = np.zeros(len(padded) + length)
    for start, piece in zip(starts, pieces, strict=True):
        result[start : start + length] += piece
    return result[hop : hop + len(source)]


def _room(spec: ClipSpec, count: int, rng: np.random.Generator) -> Signal:
    """Background noise between white and brown."""
    noise = lfilter([1.0], [1.0, -spec.speaker.noise_colour], rng.normal(size=count))
    return noise * _decibel(spec.speaker.noise) / max(float(np.std(noise)), 1e-9)
