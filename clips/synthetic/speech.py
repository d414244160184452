"""Timing of speech: which syllables are spoken when, for the voice and for the moving lips alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mosear.clips.synthetic.specification import DURATION_S, ClipSpec

# First four formants of an adult male, Hz (Peterson & Barney 1952; the fourth set to 3500).
VOWELS: tuple[tuple[float, float, float, float], ...] = (
    (270.0, 2290.0, 3010.0, 3500.0),  # i
    (390.0, 1990.0, 2550.0, 3500.0),  # ɪ
    (530.0, 1840.0, 2480.0, 3500.0),  # ɛ
    (660.0, 1720.0, 2410.0, 3500.0),  # æ
    (730.0, 1090.0, 2440.0, 3500.0),  # ɑ
    (570.0, 840.0, 2410.0, 3400.0),  # ɔ
    (300.0, 870.0, 2240.0, 3300.0),  # u
    (640.0, 1190.0, 2390.0, 3400.0),  # ʌ
)


@dataclass(frozen=True)
class Syllable:
    """One syllable: start and length in seconds, index of its vowel, stress and onset noise.

    accent: pitch accent, -1 to 1 in units of the prosody's range; consonant: centre of the noise at its onset in Hz,
    0 for none.
    """

    start_s: float
    length_s: float
    vowel: int
    stressed: bool
    accent: float
    consonant: float


@lru_cache(maxsize=8)
def plan_syllables(spec: ClipSpec) -> tuple[Syllable, ...]:
    """The syllables of the clip, in order and within it. They keep the rate of the prosody, not the transcript."""
    rng = np.random.default_rng([spec.seed, 5])
    prosody = spec.prosody
    position = float(rng.uniform(0.08, 0.25))
    last = DURATION_S - float(rng.uniform(0.12, 0.35))
    syllables: list[Syllable] = []
    while True:
        length = float(np.exp(rng.normal(0.0, 0.14))) * (1.0 - prosody.pause) / prosody.rate
        stressed = len(syllables) % 3 == 0 or rng.random() < 0.2
        length *= 1.2 if stressed else 0.93
        if position + length > last:
            return tuple(syllables)
        accent = float(rng.normal(0.85, 0.25)) if stressed else float(rng.normal(-0.25, 0.25))
        consonant = float(rng.uniform(2200, 6000)) if rng.random() < 0.55 else 0.0
        syllables.append(Syllable(position, length, int(rng.integers(len(VOWELS))), stressed, accent, consonant))
        position += length
        if rng.random() < 0.22:
            position += 4.5 * prosody.pause / prosody.rate


def loudness_at(spec: ClipSpec, time_s: float) -> float:
    """How far speech opens the lips at `time_s`, 0 to 1."""
    for syllable in plan_syllables(spec):
        position = (time_s - syllable.start_s) / syllable.length_s
        if 0.0 <= position <= 1.0:
            return math.sin(math.pi * position) * (0.9 if syllable.stressed else 0.6)
    return 0.0
