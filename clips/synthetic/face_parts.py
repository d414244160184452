"""Brows, eyes, nose and mouth, drawn from the activation of the facial action units.

Every function takes `au`, the activation of each unit (0 to about 1) by name. What a unit does follows its
description in FACS (Ekman, Friesen & Hager 2002), reduced to what shows in a frontal drawing.
"""

from __future__ import annotations

import numpy as np

from mosear.clips.synthetic.canvas import Canvas, Colour, curve, mix, oval
from mosear.clips.synthetic.specification import Identity

Units = dict[str, float]
_DARK: Colour = (48, 26, 22)
_TEETH: Colour = (236, 232, 222)
_BROW = -0.345


def draw_forehead(canvas: Canvas, person: Identity, au: Units) -> None:
    """The lines across the forehead, under any hair."""
    both = min(au["inner_brow_raiser"], au["outer_brow_raiser"])
    if both <= 0.1:
        return
    colour = mix(person.skin, _DARK, 0.32 * both)
    for row, reach in ((0.16, 0.3), (0.25, 0.26)):
        y = _BROW - person.brow_height - row
        canvas.line(curve(((-reach, y + 0.01), (0.0, y - 0.02), (reach, y + 0.01))), colour, 0.018)


def draw_brows(canvas: Canvas, person: Identity, au: Units) -> None:
    """Brows and the furrow between them."""
    inner_up, outer_up, lower = au["inner_brow_raiser"], au["outer_brow_raiser"], au["brow_lowerer"]
    base = _BROW - person.brow_height
    colour = mix(person.hair, (40, 30, 26), 0.35)
    crease = mix(person.skin, _DARK, 0.45)
    for side in (-1.0, 1.0):
        inner = (side * (0.115 - 0.045 * lower), base + 0.01 - 0.17 * inner_up + 0.14 * lower)
        middle = (
            side * 0.265,
            base - 0.045 - 0.07 * inner_up - 0.11 * outer_up + 0.095 * lower,
        )
        outer = (side * 0.415, base + 0.02 + person.brow_slope + 0.02 * inner_up - 0.15 * outer_up + 0.02 * lower)
        canvas.line(curve((inner, middle, outer)), colour, 0.075 * person.brow_thickness)
        if lower > 0.1:
            shade = mix(person.skin, crease, lower * 0.9)
            x = side * 0.045
            canvas.line(curve(((x, base - 0.02), (x * 0.8, base + 0.05), (x, base + 0.13)), 7), shade, 0.022)


def draw_eyes(canvas: Canvas, person: Identity, au: Units, closed: float) -> None:
    """Eyes with lids; `closed` is the blink, from 0 to 1."""
    wide, tight, cheek = au["upper_lid_raiser"], au["lid_tightener"], au["cheek_raiser"]
    droop = au["lid_droop"]
    opening = (1.0 - closed) * person.eye_size
    upper = 0.096 * max(0.12, 1.0 + 0.75 * wide - 0.4 * tight - 0.2 * cheek - 0.55 * droop) * opening
    lower = 0.06 * max(0.05, 1.0 + 0.25 * wide - 0.55 * tight - 0.75 * cheek) * opening
    half = 0.165 * person.eye_size
    for side in (-1.0, 1.0):
        x, y = side * 0.255 * person.eye_spacing, -0.115
        across = np.linspace(-1.0, 1.0, 13)
        arch = 1.0 - np.abs(across) ** 2.2
        outer_drop = 0.012 * across * side + 0.03 * droop * np.maximum(0.0, across * side)
        top, bottom = y - upper * arch + outer_drop, y + lower * arch + outer_drop
        xs = x + half * across
        if closed < 0.85:
            edge = np.concatenate([np.stack([xs, top], 1), np.stack([xs, bottom], 1)[::-1]])
            canvas.fill(edge, (238, 234, 230))
            for radius, colour in ((0.082, person.eyes), (0.04, (16, 12, 12))):
                disc = oval((x, y - 0.012), (radius, radius), 18)
                disc[:, 1] = np.clip(disc[:, 1], np.interp(disc[:, 0], xs, top), np.interp(disc[:, 0], xs, bottom))
                canvas.fill(disc, colour)
        lid = np.stack([xs, top], 1)
        canvas.line(lid, mix(person.skin, _DARK, 0.85), 0.034)
        crease = lid - np.array([0.0, 0.035 + 0.025 * droop])
        canvas.line(crease[2:-2], mix(person.skin, _DARK, 0.25), 0.018)
        if cheek > 0.12:
            shade = mix(person.skin, _DARK, 0.35 * cheek)
            canvas.line(curve(((x - 0.12, y + 0.1), (x, y + 0.125), (x + 0.12, y + 0.1))), shade, 0.022)
            for lift in (-0.05, 0.0, 0.05):
                start = (x + side * 0.17, y + lift * 0.5)
                end = (x + side * 0.235, y + lift)
                canvas.line(curve((start, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), end), 5), shade, 0.014)


def draw_nose(canvas: Canvas, person: Identity, au: Units) -> None:
    """Nose, and the fold from its wings to the corners of the mouth."""
    wrinkle, smile = au["nose_wrinkler"], au["lip_corner_puller"]
    shade = mix(person.skin, _DARK, 0.3)
    width, tip = 0.085 * person.nose, 0.2 - 0.035 * wrinkle
    bridge = curve(((0.035, -0.14), (0.03, 0.02), (0.07 * person.nose, tip - 0.04)))
    canvas.line(bridge, mix(person.skin, _DARK, 0.16), 0.03)
    for side in (-1.0, 1.0):
        wing = ((side * width, tip - 0.04), (side * width * 1.2, tip), (side * width * 0.5, tip + 0.025))
        canvas.line(curve(wing), shade, 0.03)
        canvas.fill(oval((side * width * 0.45, tip + 0.015), (0.022, 0.014), 10), mix(person.skin, _DARK, 0.65))
        fold = max(0.15 * person.lips, 0.75 * smile, 0.6 * wrinkle)
        if fold > 0.12:
            path = ((side * width * 1.35, tip - 0.02), (side * 0.25, 0.3 - 0.04 * smile), (side * 0.31, 0.44))
            canvas.line(curve(path), mix(person.skin, _DARK, 0.42 * fold), 0.026)
        if wrinkle > 0.12:
            for row in (0.0, 0.05):
                path = ((side * 0.015, -0.06 + row), (side * 0.045, -0.075 + row), (side * 0.075, -0.05 + row))
                canvas.line(curve(path, 5), mix(person.skin, _DARK, 0.5 * wrinkle), 0.018)


def draw_mouth(canvas: Canvas, person: Identity, au: Units, speech: float) -> None:
    """Mouth; `speech` from 0 to 1 opens the jaw with the voice."""
    smile, frown, stretch = au["lip_corner_puller"], au["lip_corner_depressor"], au["lip_stretcher"]
    tight, part, jaw, chin = au["lip_tightener"], au["lips_part"], au["jaw_drop"], au["chin_raiser"]
    y = 0.47 + 0.01 * jaw - 0.02 * chin
    half = 0.25 * person.mouth_width
    half *= 1.0 + 0.24 * smile + 0.38 * stretch - 0.16 * tight - 0.3 * jaw - 0.05 * speech
    corner = person.mouth_rest - 0.165 * smile + 0.15 * frown + 0.035 * stretch
    gap = 0.085 * part + 0.29 * jaw + (0.05 - 0.035 * tight) * speech
    upper = 0.058 * person.lip_thickness * (1.0 - 0.6 * tight - 0.35 * stretch - 0.2 * smile)
    lower = 0.082 * person.lip_thickness * (1.0 - 0.6 * tight - 0.35 * stretch - 0.15 * smile)
    across = np.linspace(-1.0, 1.0, 17)
    arch = 1.0 - across**2
    xs = half * across
    middle = y + 0.03 * smile - 0.04 * frown
    ends = y + corner + 0.35 * gap
    top = ends + (middle - 0.1 * gap - ends) * arch
    bottom = ends + (middle + 0.9 * gap - ends) * arch
    bow = upper * (arch - 0.35 * np.exp(-((across / 0.16) ** 2)))
    lips = mix(person.skin, (150, 44, 50), person.lips)
    canvas.fill(_band(xs, top - bow, bottom + lower * arch**0.7), lips)
    if gap > 0.02:
        canvas.fill(_band(xs * 0.94, top, bottom), (70, 22, 26))
        teeth = np.minimum(top + 0.07 * arch * max(part, 0.5 * jaw, 0.1), bottom)
        canvas.fill(_band(xs * 0.9, top, teeth), _TEETH)
    else:
        canvas.line(np.stack([xs, top], 1), mix(lips, _DARK, 0.7), 0.024 + 0.008 * tight)
    for side in (-1.0, 1.0):
        dimple = ((side * half * 1.04, ends - 0.015), (side * half * 1.08, ends), (side * half * 1.04, ends + 0.02))
        canvas.line(curve(dimple, 5), mix(person.skin, _DARK, 0.25 + 0.3 * max(smile, stretch, frown)), 0.02)
    if chin > 0.15:
        path = ((-0.1, 0.71), (0.0, 0.675), (0.1, 0.71))
        canvas.line(curve(path), mix(person.skin, _DARK, 0.4 * chin), 0.03)


def _band(xs: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack([xs, top], 1), np.stack([xs, np.maximum(top, bottom)], 1)[::-1]])
