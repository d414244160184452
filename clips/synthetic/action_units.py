"""Facial action units: which there are, what each emotion activates, and how activation runs over a clip.

The units are those of the Facial Action Coding System (Ekman, Friesen & Hager 2002). The prototypes follow the
emotion predictions of EMFACS as tabulated by Du, Tao & Martinez (2014, PNAS 111(15)); `worried` is the fear
prototype with less jaw and more lip stretcher. Values are activations from 0 (absent) to 1 (maximal).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

UNITS: tuple[str, ...] = (
    "inner_brow_raiser",  # AU1
    "outer_brow_raiser",  # AU2
    "brow_lowerer",  # AU4
    "upper_lid_raiser",  # AU5
    "cheek_raiser",  # AU6
    "lid_tightener",  # AU7
    "nose_wrinkler",  # AU9
    "lip_corner_puller",  # AU12
    "lip_corner_depressor",  # AU15
    "chin_raiser",  # AU17
    "lip_stretcher",  # AU20
    "lip_tightener",  # AU23
    "lips_part",  # AU25
    "jaw_drop",  # AU26
    "lid_droop",  # AU43, partial
)

PHRASES: dict[str, str] = {
    "inner_brow_raiser": "raised inner brows",
    "outer_brow_raiser": "raised outer brows",
    "brow_lowerer": "lowered brows",
    "upper_lid_raiser": "wide eyes",
    "cheek_raiser": "raised cheeks",
    "lid_tightener": "narrowed eyes",
    "nose_wrinkler": "a wrinkled nose",
    "lip_corner_puller": "pulled up lip corners",
    "lip_corner_depressor": "lip corners turned down",
    "chin_raiser": "a raised chin",
    "lip_stretcher": "stretched lips",
    "lip_tightener": "tight lips",
    "lips_part": "parted lips",
    "jaw_drop": "a dropped jaw",
    "lid_droop": "drooping lids",
}

PROTOTYPES: dict[str, dict[str, float]] = {
    "neutral": {},
    "angry": {
        "brow_lowerer": 1.0,
        "upper_lid_raiser": 0.35,
        "lid_tightener": 0.8,
        "nose_wrinkler": 0.5,
        "lip_tightener": 0.9,
        "lip_corner_depressor": 0.25,
        "chin_raiser": 0.3,
    },
    "happy": {"cheek_raiser": 0.9, "lip_corner_puller": 1.0, "lips_part": 0.65, "lid_tightener": 0.2},
    "sad": {
        "inner_brow_raiser": 0.9,
        "brow_lowerer": 0.35,
        "lip_corner_depressor": 0.95,
        "chin_raiser": 0.5,
        "lid_droop": 0.55,
    },
    "worried": {
        "inner_brow_raiser": 0.9,
        "outer_brow_raiser": 0.4,
        "brow_lowerer": 0.6,
        "upper_lid_raiser": 0.65,
        "lip_stretcher": 1.0,
        "lips_part": 0.35,
    },
    "surprise": {
        "inner_brow_raiser": 0.95,
        "outer_brow_raiser": 1.0,
        "upper_lid_raiser": 0.9,
        "lips_part": 0.7,
        "jaw_drop": 0.9,
    },
}

REST_SPREAD = 0.06
UNIT_SPREAD = 0.25
UNIT_MISSING = 0.1
UNIT_MISSING_FACTOR = 0.35


def draw_activations(rng: np.random.Generator, label: str, intensity: float) -> tuple[float, ...]:
    """Peak activation of every unit for one person showing `label` at `intensity` (0 to 1), in the order of UNITS.

    The prototype is varied as people vary: each unit by its own factor, now and then one barely moves, and each
    unit has a small resting activation that means nothing.
    """
    prototype = np.array([PROTOTYPES[label].get(unit, 0.0) for unit in UNITS])
    factor = np.exp(rng.normal(0.0, UNIT_SPREAD, len(UNITS)))
    factor = np.where(rng.random(len(UNITS)) < UNIT_MISSING, factor * UNIT_MISSING_FACTOR, factor)
    resting = np.abs(rng.normal(0.0, REST_SPREAD, len(UNITS)))
    return tuple(float(value) for value in np.clip(prototype * factor * intensity + resting, 0.0, 1.15))


def time_course(time_s: float, onset_s: float, rise_s: float, offset_s: float, start: float, end: float) -> float:
    """Onset, apex, offset: `start` before `onset_s`, 1 at the apex, falling to `end` after `offset_s`.

    Both slopes are smooth steps, of `rise_s` and of twice `rise_s`: faces relax more slowly than they move.
    """

    def step(position: float) -> float:
        position = min(max(position, 0.0), 1.0)
        return position * position * (3.0 - 2.0 * position)

    risen = start + (1.0 - start) * step((time_s - onset_s) / rise_s)
    return risen + (end - 1.0) * step((time_s - offset_s) / (2.0 * rise_s))


def wander(time_s: float, phases: tuple[float, ...], amplitude: float) -> NDArray[np.float64]:
    """Small slow movement of every unit around its course; one phase a unit, frequencies 0.4 to 1.1 Hz."""
    phase = np.asarray(phases)
    frequency = 0.4 + 0.7 * (phase / (2.0 * math.pi))
    return amplitude * np.sin(2.0 * math.pi * frequency * time_s + 3.0 * phase)
