"""Faces: determinism, sizes, and what expressions do to the picture, measured on pixels."""

import dataclasses

import cv2
import numpy as np
import pytest

from mosear.clips.synthetic import LABELS, draw_spec, render_face
from mosear.clips.synthetic.action_units import PROTOTYPES, UNITS

SIDE = 192


def plain(seed: int, label: str):
    """A clip at the full prototype of `label`, of a person without glasses, beard or movement, in plain light."""
    spec = draw_spec(seed, "consistent", label)
    peaks = tuple(PROTOTYPES[label].get(unit, 0.0) for unit in UNITS)
    expression = dataclasses.replace(spec.expression, peaks=peaks, onset_s=0.0, rise_s=0.2, offset_s=9.0)
    identity = dataclasses.replace(
        spec.identity, glasses=False, beard=0.0, hair_style=0, skin=(230, 190, 160), hair=(40, 30, 30)
    )
    scene = dataclasses.replace(
        spec.scene, blinks=(), blur=0.0, noise=0.0, roll=0.0, yaw=0.0, shift=(0.0, 0.0), zoom=1.0, light_strength=0.0,
        exposure=1.0, warmth=0.0,
    )  # fmt: skip
    return dataclasses.replace(spec, expression=expression, identity=identity, scene=scene)


def dark_rows(picture: np.ndarray, columns: slice, rows: slice) -> np.ndarray:
    """Rows of the picture, in `rows` and `columns`, of pixels much darker than skin."""
    grey = picture[rows, columns].astype(float).mean(axis=2)
    return np.nonzero(grey < 110)[0] + rows.start


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_the_same_clip_and_time_give_the_same_pixels() -> None:
    spec = draw_spec(5, "consistent", "happy")
    assert np.array_equal(render_face(spec, 1.0, SIDE), render_face(draw_spec(5, "consistent", "happy"), 1.0, SIDE))


def test_another_seed_is_another_picture() -> None:
    one, other = (render_face(draw_spec(seed, "consistent", "happy"), 1.0, SIDE) for seed in (5, 6))
    assert difference(one, other) > 5


def test_shape_and_type() -> None:
    picture = render_face(draw_spec(0, "consistent"), 0.0, 100)
    assert picture.shape == (100, 100, 3)
    assert picture.dtype == np.uint8


def test_sizes_show_the_same_picture() -> None:
    for seed in range(4):
        spec = draw_spec(seed, "video_aligned", "surprise")
        spec = dataclasses.replace(spec, scene=dataclasses.replace(spec.scene, noise=0.0))
        large = cv2.resize(render_face(spec, 1.3, 2 * SIDE), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        small = render_face(spec, 1.3, SIDE)
        # Edges are a little softer in the small picture, but nothing lies one pixel further.
        assert difference(large, small) < 3.0
        for axis in (0, 1):
            for pixels in (-1, 1):
                assert difference(large, small) < difference(np.roll(large, pixels, axis), small)


def test_the_face_moves() -> None:
    spec = draw_spec(1, "consistent", "surprise")
    assert difference(render_face(spec, 0.0, SIDE), render_face(spec, 1.3, SIDE)) > 1.0


@pytest.mark.parametrize("label", LABELS[1:])
def test_a_strong_expression_differs_from_the_neutral_face(label) -> None:
    for seed in range(3):
        calm = dataclasses.replace(plain(seed, label), expression=plain(seed, "neutral").expression)
        assert difference(render_face(plain(seed, label), 1.4, SIDE), render_face(calm, 1.4, SIDE)) > 0.8


def test_brows_rise_in_surprise_and_sink_in_anger() -> None:
    heights = {}
    for label in ("neutral", "surprise", "angry"):
        found = [
            dark_rows(render_face(plain(seed, label), 1.4, SIDE), slice(100, 135), slice(25, 77)).mean()
            for seed in range(4)
        ]
        heights[label] = np.mean(found)
    assert heights["surprise"] < heights["neutral"] - 4
    assert heights["angry"] > heights["neutral"] + 2


def mouth_bend(picture: np.ndarray) -> float:
    """How far the mouth's corners lie above its middle, in pixels, from its reddish and dark pixels."""
    area = picture[112:150, 55:137].astype(float)
    mask = (area[..., 1] < 0.66 * area[..., 0]) | (area.mean(axis=2) < 110)
    columns = np.nonzero(mask.sum(axis=0))[0]
    left, right = columns[0], columns[-1]
    rows = np.arange(mask.shape[0])

    def height(low: int, high: int) -> float:
        weights = mask[:, low:high].sum(axis=1)
        return float((rows * weights).sum() / weights.sum())

    width = right - left
    ends = (height(left, left + width // 6 + 1) + height(right - width // 6, right + 1)) / 2
    return height(left + 2 * width // 5, right - 2 * width // 5) - ends


def test_mouth_corners_rise_in_joy_and_fall_in_sadness() -> None:
    for seed in range(4):
        happy, sad = (mouth_bend(render_face(plain(seed, label), 1.4, SIDE)) for label in ("happy", "sad"))
        assert happy > 2.0
        assert sad < -2.0


def test_a_picture_too_small_for_a_face_is_refused() -> None:
    with pytest.raises(ValueError, match="16 pixels"):
        render_face(draw_spec(0, "consistent"), 0.0, 8)
