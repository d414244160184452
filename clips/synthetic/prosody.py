"""Vocal expression of emotion as a few numbers relative to the speaker's own neutral voice.

Directions and rough sizes follow the reviews of Scherer (2003, Speech Communication 40, table 2) and Juslin & Laukka
(2003, Psychological Bulletin 129(5), table 11): anger and joy are high, loud, fast and bright; sadness is low, quiet,
slow, narrow and breathy; fear (here: worried) is high and fast with little range and an unsteady voice; surprise is
high with the widest range and a final rise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prosody:
    """How one clip is spoken.

    level: semitones above the speaker's own F0; range: height of pitch accents, semitones; slope: semitones over the
    utterance; final: semitones of the last syllable (rise positive); rate: syllables a second; loudness: dB;
    accent: loudness of stressed syllables over others, dB; brightness: 0 (steep spectral tilt) to 1 (flat);
    breathiness: aspiration relative to voicing, 0 to 1; jitter and shimmer: relative standard deviation of period and
    amplitude; tremor: semitones of slow F0 modulation; pause: share of the utterance that is silent.
    """

    level: float
    range: float
    slope: float
    final: float
    rate: float
    loudness: float
    accent: float
    brightness: float
    breathiness: float
    jitter: float
    shimmer: float
    tremor: float
    pause: float


FIELDS: tuple[str, ...] = tuple(Prosody.__dataclass_fields__)

# Columns in the order of FIELDS: level range slope final rate loudness accent bright breath jitter shimmer tremor pause
NEUTRAL = np.array([0.0, 2.0, -1.5, -1.5, 4.2, 0.0, 3.0, 0.45, 0.10, 0.006, 0.04, 0.0, 0.06])
SHIFTS: dict[str, tuple[float, ...]] = {
    "neutral": (0.0,) * len(FIELDS),
    "angry": (3.0, 2.0, -3.0, -3.0, 1.0, 9.5, 5.5, 0.48, -0.08, 0.010, 0.08, 0.0, -0.04),
    "happy": (5.5, 4.0, 0.0, 0.5, 0.9, 4.5, 1.0, 0.22, -0.04, 0.000, 0.00, 0.0, -0.03),
    "sad": (-2.5, -1.5, -2.0, -1.0, -1.5, -8.0, -2.0, -0.30, 0.30, 0.006, 0.04, 0.2, 0.16),
    "worried": (3.5, -0.9, 1.5, 1.0, 1.6, -2.5, -1.5, -0.05, 0.35, 0.022, 0.10, 0.9, 0.02),
    "surprise": (6.5, 4.5, 6.0, 8.5, -0.7, 3.0, 2.5, 0.08, 0.18, 0.000, 0.00, 0.0, 0.00),
}
# What varies from one utterance to the next without meaning anything.
SPREAD = np.array([0.8, 0.5, 0.8, 0.9, 0.35, 1.8, 0.9, 0.07, 0.05, 0.002, 0.012, 0.08, 0.025])
LOWEST = np.array([-6.0, 0.2, -8.0, -6.0, 2.2, -16.0, 0.0, 0.0, 0.0, 0.001, 0.005, 0.0, 0.0])
HIGHEST = np.array([11.0, 9.0, 8.0, 10.0, 7.0, 14.0, 11.0, 1.0, 0.7, 0.05, 0.25, 1.6, 0.35])
SHIFT_SPREAD = 0.22

# (field, phrase when above neutral, phrase when below, size of a clearly audible difference)
_WORDS: tuple[tuple[str, str, str, float], ...] = (
    ("level", "high", "low", 2.0),
    ("range", "lively", "flat", 1.5),
    ("final", "rising", "falling", 3.0),
    ("rate", "fast", "slow", 0.8),
    ("loudness", "loud", "quiet", 4.0),
    ("brightness", "sharp", "dull", 0.2),
    ("breathiness", "breathy", "clear", 0.15),
    ("tremor", "trembling", "steady", 0.35),
)


def draw_prosody(rng: np.random.Generator, label: str, intensity: float) -> Prosody:
    """Prosody of one utterance expressing `label` at `intensity` (0 to 1), with the variation between utterances."""
    factor = np.exp(rng.normal(0.0, SHIFT_SPREAD, len(FIELDS)))
    values = NEUTRAL + np.array(SHIFTS[label]) * factor * intensity + SPREAD * rng.normal(size=len(FIELDS))
    return Prosody(*(float(value) for value in np.clip(values, LOWEST, HIGHEST)))


def words(prosody: Prosody, count: int = 2) -> list[str]:
    """The `count` most audible adjectives of this voice; empty when nothing departs from neutral."""
    scored = []
    for field, above, below, size in _WORDS:
        departure = (getattr(prosody, field) - NEUTRAL[FIELDS.index(field)]) / size
        scored.append((abs(departure), above if departure > 0 else below))
    scored.sort(key=lambda item: -item[0])
    return [word for strength, word in scored[:count] if strength >= 0.75]
