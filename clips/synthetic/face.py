"""Renders the face of a clip at any time of it."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mosear.clips.synthetic.action_units import UNITS, time_course, wander
from mosear.clips.synthetic.canvas import Canvas, Points, mix, oval
from mosear.clips.synthetic.face_parts import draw_brows, draw_eyes, draw_forehead, draw_mouth, draw_nose
from mosear.clips.synthetic.specification import ClipSpec, Identity, Scene
from mosear.clips.synthetic.speech import loudness_at

_UNIT = 0.44
_WANDER = 0.035
_BLINK_S = 0.09
_NOISE_SIDE = 192


def activations(spec: ClipSpec, time_s: float) -> dict[str, float]:
    """Activation of every action unit at `time_s`: the course of the expression and small movements around it."""
    expression = spec.expression
    course = time_course(
        time_s, expression.onset_s, expression.rise_s, expression.offset_s, expression.start, expression.end
    )
    values = np.array(expression.peaks) * course + wander(time_s, expression.phases, _WANDER)
    return dict(zip(UNITS, np.maximum(values, 0.0).tolist(), strict=True))


def render_face(spec: ClipSpec, time_s: float, size: int) -> NDArray[np.uint8]:
    """The clip's picture at `time_s` seconds, [size, size, 3] uint8 RGB.

    Deterministic in all three arguments; other sizes give the same picture at another resolution.

    Raises:
        ValueError: size under 16.
    """
    if size < 16:
        raise ValueError(f"a face needs at least 16 pixels a side, not {size}")
    scene, person = spec.scene, spec.identity
    background, light = _backdrop(scene, size)
    sway = [
        math.sin(2 * math.pi * rate * time_s + phase) for rate, phase in zip((0.3, 0.4, 0.5), scene.sway, strict=True)
    ]
    centre = (0.5 + scene.shift[0] + 0.008 * sway[0], 0.485 + scene.shift[1] + 0.005 * sway[1])
    canvas = Canvas(
        background.copy(),
        centre,
        _UNIT * scene.zoom,
        scene.roll + 0.02 * sway[2],
        scene.yaw + 0.03 * sway[1],
    )
    au = activations(spec, time_s)
    _draw_head(canvas, person, scene, au["jaw_drop"])
    draw_forehead(canvas, person, au)
    _draw_hair(canvas, person)
    draw_nose(canvas, person, au)
    draw_mouth(canvas, person, au, loudness_at(spec, time_s))
    draw_eyes(canvas, person, au, _blink(scene, time_s))
    draw_brows(canvas, person, au)
    if person.glasses:
        _draw_glasses(canvas)
    return _expose(canvas.picture, light, spec, time_s)


def _blink(scene: Scene, time_s: float) -> float:
    return max((math.exp(-(((time_s - at) / _BLINK_S) ** 2)) for at in scene.blinks), default=0.0)


@lru_cache(maxsize=4)
def _backdrop(scene: Scene, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(background [size, size, 3] uint8, light [size, size, 3] float32 by which the picture is multiplied)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    ramp = axis[None, :] * math.cos(scene.light_angle) + axis[:, None] * math.sin(scene.light_angle)
    first, second = (np.array(colour, dtype=np.float32) for colour in scene.background)
    background = first + (second - first) * (0.5 + ramp[..., None])
    tint = np.array([1.0 + scene.warmth, 1.0, 1.0 - scene.warmth], dtype=np.float32)
    light = scene.exposure * (1.0 + 2.0 * scene.light_strength * ramp[..., None]) * tint
    return np.clip(background, 0, 255).astype(np.uint8), light.astype(np.float32)


def _outline(person: Identity, drop: float) -> Points:
    """Outline of the face: an oval with a jaw between pointed and square, longer when the jaw drops."""
    angle = np.linspace(0.0, 2.0 * math.pi, 48, endpoint=False)
    x, y = np.cos(angle), np.sin(angle)
    below = np.maximum(y, 0.0)
    width = 0.73 * person.face_width * (1.0 - (0.16 - 0.12 * person.jaw) * below**2)
    return np.stack([width * x, y * (1.0 - 0.06 * person.jaw * below) + 0.07 * drop * below**2], axis=1)


def _draw_head(canvas: Canvas, person: Identity, scene: Scene, drop: float) -> None:
    shadow = mix(person.skin, (40, 20, 20), 0.22)
    outline = _outline(person, drop)
    if person.hair_style in (2, 3):
        back = np.array([[-0.88, -0.3], [0.88, -0.3], [0.95, 0.9], [0.75, 1.25], [-0.75, 1.25], [-0.95, 0.9]])
        canvas.fill(np.concatenate([oval((0.0, -0.3), (0.88, 0.85)), back[[1, 2, 3, 4, 5, 0]]]), person.hair, 0.0)
        canvas.fill(back, person.hair, 0.0)
    canvas.fill(oval((0.0, 2.05), (1.35, 0.85)), scene.shirt, 0.0)
    neck = np.array([[-0.34, 0.5], [0.34, 0.5], [0.38, 1.25], [0.0, 1.42], [-0.38, 1.25]])
    canvas.fill(neck, shadow, 0.0)
    for side in (-1.0, 1.0):
        canvas.fill(oval((side * 0.74 * person.face_width, -0.02), (0.1, 0.19), 16), shadow, 0.0)
    canvas.fill(outline, person.skin, 0.0)
    lit = 1.0 if math.cos(scene.light_angle) > 0 else -1.0
    inner = outline[outline[:, 0] * lit <= 0.0]
    inner = inner[np.argsort(inner[:, 1])]
    side_shadow = np.concatenate([inner, np.stack([inner[:, 0] * 0.78, inner[:, 1]], 1)[::-1]])
    canvas.fill(side_shadow, mix(person.skin, shadow, 0.25 + 1.5 * scene.light_strength), 0.0)
    if person.beard:
        lower = outline[outline[:, 1] > 0.12]
        lower = lower[np.argsort(-lower[:, 0])]
        rim = np.stack([np.linspace(-0.6, 0.6, 15), 0.36 - 0.1 * np.cos(np.linspace(-4.7, 4.7, 15))], axis=1)
        canvas.fill(np.concatenate([lower, rim]), mix(person.skin, person.hair, 0.75 * person.beard), 0.0)


def _draw_hair(canvas: Canvas, person: Identity) -> None:
    """The hair over the forehead: bald, short, parted long, fringe, or a high hairline."""
    if person.hair_style == 0:
        return
    line = {1: -0.62, 2: -0.66, 3: -0.52, 4: -0.74}[person.hair_style]
    wide = 0.77 * person.face_width
    angle = np.linspace(math.pi, 2 * math.pi, 25)
    cap = np.stack([wide * np.cos(angle), -0.28 + 0.84 * np.sin(angle)], axis=1)
    x = np.linspace(1.0, -1.0, 19)
    drop = 0.36 * np.abs(x) ** (5 if person.hair_style == 3 else 2.5)
    if person.hair_style == 2:
        drop = 0.42 * np.abs(x - 0.25) ** 1.5
    canvas.fill(np.concatenate([cap, np.stack([wide * 0.96 * x, line + drop], axis=1)]), person.hair, 0.0)


def _draw_glasses(canvas: Canvas) -> None:
    frame = (38.0, 36.0, 40.0)
    for side in (-1.0, 1.0):
        ring = oval((side * 0.26, -0.1), (0.215, 0.185), 25)
        canvas.line(np.concatenate([ring, ring[:2]]), frame, 0.026)
        arm = np.array([[side * 0.46, -0.13], [side * 0.58, -0.14], [side * 0.7, -0.14]])
        canvas.line(arm, frame, 0.03)
    canvas.line(np.array([[-0.06, -0.12], [0.0, -0.14], [0.06, -0.12]]), frame, 0.03)


@lru_cache(maxsize=1)
def _noise_tile() -> NDArray[np.float32]:
    """Sensor noise of unit deviation, larger than a picture: each frame takes another part of it."""
    return np.random.default_rng(0).normal(size=(2 * _NOISE_SIDE, 2 * _NOISE_SIDE, 3)).astype(np.float32)


def _expose(picture: NDArray[np.uint8], light: NDArray[np.float32], spec: ClipSpec, time_s: float) -> NDArray[np.uint8]:
    """Light, lens blur and sensor noise. Noise has one grain whatever the size, so sizes stay comparable."""
    size = picture.shape[0]
    sigma = spec.scene.blur * size
    if sigma > 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.uint8)
    x, y = np.random.default_rng([spec.seed, 9, round(max(time_s, 0.0) * 1000)]).integers(0, _NOISE_SIDE, 2)
    grain = _noise_tile()[y : y + _NOISE_SIDE, x : x + _NOISE_SIDE]
    if size != _NOISE_SIDE:
        method = cv2.INTER_AREA if size < _NOISE_SIDE else cv2.INTER_LINEAR
        grain = np.asarray(cv2.resize(np.ascontiguousarray(grain), (size, size), interpolation=method), np.float32)
    exposed = picture * light + grain * np.float32(spec.scene.noise)
    return np.clip(exposed, 0, 255, out=exposed).astype(np.uint8)
