"""Contrast after WCAG 2, and how colours look to people with other colour vision."""

import re
from pathlib import Path

import numpy as np

Colour = tuple[float, float, float]

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB. The last is no colour vision at all.
SIGHTS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "achromatopsia": [[0.2126, 0.7152, 0.0722]] * 3,
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(axis=1)


def palette(css: Path, theme: str) -> dict[str, Colour]:
    """The colours that a stylesheet gives to its custom properties, 0 to 1 by channel."""
    blocks = re.findall(r":root \{(.*?)\}", css.read_text(encoding="utf-8"), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", block)) for block in blocks[:2])
    assert set(light) == set(dark)
    assert light
    chosen = {"light": light, "dark": dark}[theme]
    return {
        name: (int(text[:2], 16) / 255, int(text[2:4], 16) / 255, int(text[4:], 16) / 255)
        for name, text in chosen.items()
    }


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio, 1 to 21."""
    high, low = sorted((float(_linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def difference(one: Colour, other: Colour, sight: str) -> float:
    """The distance in CIE Lab (ΔE 1976) as somebody with that sight sees the two."""
    matrix = np.array(SIGHTS[sight])
    seen = [_lab(np.clip(matrix @ _linear(each), 0, 1)) for each in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def _linear(colour: Colour) -> np.ndarray:
    channels = np.array(colour)
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    ratio = _XYZ @ linear / _WHITE
    curved = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * curved[1] - 16, 500 * (curved[0] - curved[1]), 200 * (curved[1] - curved[2])])
