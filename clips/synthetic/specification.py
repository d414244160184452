"""What one synthetic clip is: its condition, the person, the scene, and how the emotion shows.

Everything a renderer needs is drawn here from one seed, so a specification is the clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mosear.clips.synthetic.action_units import UNITS, draw_activations
from mosear.clips.synthetic.prosody import Prosody, draw_prosody
from mosear.clips.synthetic.transcripts import FITTING_SENTENCES, NEUTRAL_SENTENCES

LABELS: tuple[str, ...] = ("neutral", "angry", "happy", "sad", "worried", "surprise")
SUBSETS: tuple[str, ...] = ("video_aligned", "audio_aligned", "consistent")
DURATION_S = 3.0

STRONG = (0.6, 1.0)
WEAK = (0.2, 0.45)
CONSISTENT = (0.45, 0.9)
MASK_SHARE = 0.35
FITTING_SHARE = 0.2

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Identity:
    """One face. Lengths are factors of the average face; colours are RGB, 0 to 255."""

    skin: Colour
    hair: Colour
    eyes: Colour
    lips: float
    hair_style: int
    face_width: float
    jaw: float
    eye_size: float
    eye_spacing: float
    brow_height: float
    brow_thickness: float
    brow_slope: float
    nose: float
    mouth_width: float
    lip_thickness: float
    mouth_rest: float
    glasses: bool
    beard: float


@dataclass(frozen=True)
class Scene:
    """Camera, light and movement: nuisance, independent of the emotion. Positions are shares of the picture's side."""

    background: tuple[Colour, Colour]
    shirt: Colour
    light_angle: float
    light_strength: float
    exposure: float
    warmth: float
    shift: tuple[float, float]
    zoom: float
    roll: float
    yaw: float
    sway: tuple[float, float, float]
    blinks: tuple[float, ...]
    blur: float
    noise: float


@dataclass(frozen=True)
class Expression:
    """Facial expression: peak activation of each action unit and its course over the clip (seconds)."""

    peaks: tuple[float, ...]
    onset_s: float
    rise_s: float
    offset_s: float
    start: float
    end: float
    phases: tuple[float, ...]


@dataclass(frozen=True)
class Speaker:
    """One voice and its recording. f0: Hz of the neutral voice; gain and noise: dB."""

    f0: float
    formant_scale: float
    open_quotient: float
    gain: float
    noise: float
    noise_colour: float


@dataclass(frozen=True)
class ClipSpec:
    """One clip. Intensities go from 0 to 1; a modality whose label is neutral has intensity 0."""

    seed: int
    subset: str
    label: str
    visual_label: str
    audio_label: str
    visual_intensity: float
    audio_intensity: float
    transcript: str
    identity: Identity
    scene: Scene
    expression: Expression
    speaker: Speaker
    prosody: Prosody


def draw_spec(seed: int | np.random.Generator, subset: str, label: str | None = None) -> ClipSpec:
    """Draw one clip of `subset`, of `label` or of any label.

    The same integer seed, subset and label give the same specification; a generator supplies one integer seed.
    Person and scene depend on the seed alone, so one seed under two conditions is the same person.

    Raises:
        ValueError: unknown subset or label.
    """
    if subset not in SUBSETS:
        raise ValueError(f"unknown subset {subset!r}: expected one of {', '.join(SUBSETS)}")
    if label is not None and label not in LABELS:
        raise ValueError(f"unknown label {label!r}: expected one of {', '.join(LABELS)}")
    if isinstance(seed, np.random.Generator):
        seed = int(seed.integers(2**31))
    person, scene, condition, face, voice = (np.random.default_rng([seed, stream]) for stream in range(5))
    drawn = LABELS[int(condition.integers(len(LABELS)))]
    label = label or drawn
    visual_label, visual_intensity, audio_label, audio_intensity = _draw_condition(condition, subset, label)
    fitting = subset == "consistent" and condition.random() < FITTING_SHARE
    sentences = FITTING_SENTENCES[label] if fitting else NEUTRAL_SENTENCES
    return ClipSpec(
        seed=seed,
        subset=subset,
        label=label,
        visual_label=visual_label,
        audio_label=audio_label,
        visual_intensity=visual_intensity,
        audio_intensity=audio_intensity,
        transcript=sentences[int(condition.integers(len(sentences)))],
        identity=_draw_identity(person),
        scene=_draw_scene(scene),
        expression=_draw_expression(face, visual_label, visual_intensity),
        speaker=_draw_speaker(person),
        prosody=draw_prosody(voice, audio_label, audio_intensity),
    )


def _draw_condition(rng: np.random.Generator, subset: str, label: str) -> tuple[str, float, str, float]:
    """(visual label, visual intensity, audio label, audio intensity) of a clip."""
    if subset == "consistent":
        visual, audio = (float(value) for value in rng.uniform(*CONSISTENT, 2))
        return (label, 0.0, label, 0.0) if label == "neutral" else (label, visual, label, audio)
    strong, weak = float(rng.uniform(*STRONG)), float(rng.uniform(*WEAK))
    masked = rng.random() < MASK_SHARE
    others = [other for other in LABELS if other not in (label, "neutral")]
    other = others[int(rng.integers(len(others)))]
    true = (label, 0.0 if label == "neutral" else strong)
    false = ("neutral", 0.0) if masked and label != "neutral" else (other, weak)
    return (*true, *false) if subset == "video_aligned" else (*false, *true)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def _vary(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = (float(value) for value in np.clip(np.array(colour) + rng.normal(0, spread, 3), 5, 250))
    return red, green, blue


_SKINS: tuple[Colour, ...] = ((250, 214, 190), (236, 188, 154), (208, 152, 112), (158, 106, 74), (106, 70, 50))
_HAIRS: tuple[Colour, ...] = ((34, 26, 24), (74, 48, 32), (128, 86, 48), (206, 166, 98), (150, 146, 142), (132, 58, 34))
_EYES: tuple[Colour, ...] = ((74, 46, 26), (96, 66, 36), (66, 104, 150), (84, 122, 82), (96, 110, 120))


def _draw_identity(rng: np.random.Generator) -> Identity:
    tone = float(rng.uniform(0, len(_SKINS) - 1.001))
    skin = _vary(rng, _mix(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1.0), 4.0)

    def factor(spread: float) -> float:
        return float(np.clip(rng.normal(1.0, spread), 1.0 - 2.2 * spread, 1.0 + 2.2 * spread))

    return Identity(
        skin=skin,
        hair=_vary(rng, _HAIRS[int(rng.integers(len(_HAIRS)))], 6.0),
        eyes=_vary(rng, _EYES[int(rng.integers(len(_EYES)))], 8.0),
        lips=float(rng.uniform(0.25, 0.6)),
        hair_style=int(rng.integers(5)),
        face_width=factor(0.05),
        jaw=float(rng.uniform(0.0, 1.0)),
        eye_size=factor(0.07),
        eye_spacing=factor(0.05),
        brow_height=float(rng.normal(0.0, 0.016)),
        brow_thickness=factor(0.2),
        brow_slope=float(rng.normal(0.0, 0.018)),
        nose=factor(0.1),
        mouth_width=factor(0.08),
        lip_thickness=factor(0.15),
        mouth_rest=float(rng.normal(0.0, 0.012)),
        glasses=bool(rng.random() < 0.22),
        beard=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.2 else 0.0,
    )


def _draw_scene(rng: np.random.Generator) -> Scene:
    grey = float(rng.uniform(70, 205))
    base = _vary(rng, (grey, grey, grey), 16.0)
    return Scene(
        background=(base, _vary(rng, base, 14.0)),
        shirt=_vary(rng, (110, 110, 120), 38.0),
        light_angle=float(rng.uniform(0, 2 * math.pi)),
        light_strength=float(rng.uniform(0.05, 0.32)),
        exposure=float(rng.uniform(0.82, 1.12)),
        warmth=float(rng.uniform(-0.06, 0.06)),
        shift=(float(rng.normal(0, 0.013)), float(rng.normal(0, 0.013))),
        zoom=float(rng.uniform(0.95, 1.05)),
        roll=float(rng.normal(0, 0.04)),
        yaw=float(np.clip(rng.normal(0, 0.12), -0.26, 0.26)),
        sway=tuple(float(value) for value in rng.uniform(0, 2 * math.pi, 3)),  # type: ignore[arg-type]
        blinks=tuple(float(value) for value in rng.uniform(0.1, 2.9, int(rng.integers(3)))),
        blur=float(rng.uniform(0.0, 0.005)),
        noise=float(rng.uniform(1.0, 6.0)),
    )


def _draw_expression(rng: np.random.Generator, label: str, intensity: float) -> Expression:
    return Expression(
        peaks=draw_activations(rng, label, intensity),
        onset_s=float(rng.uniform(-0.1, 0.5)),
        rise_s=float(rng.uniform(0.2, 0.45)),
        offset_s=float(rng.uniform(1.7, 2.8)),
        start=float(rng.uniform(0.15, 0.6)),
        end=float(rng.uniform(0.4, 0.9)),
        phases=tuple(float(value) for value in rng.uniform(0, 2 * math.pi, len(UNITS))),
    )


def _draw_speaker(rng: np.random.Generator) -> Speaker:
    high = rng.random() < 0.5
    return Speaker(
        f0=float(rng.normal(205, 16) if high else rng.normal(118, 11)),
        formant_scale=float(rng.normal(1.16, 0.04) if high else rng.normal(1.0, 0.04)),
        open_quotient=float(rng.uniform(0.5, 0.7)),
        gain=float(rng.normal(0.0, 1.5)),
        noise=float(rng.uniform(-66.0, -50.0)),
        noise_colour=float(rng.uniform(0.0, 0.97)),
    )
