"""A black or covered camera against dim, blurred and plain pictures."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mosear.runtime.perception.lens import lens_state

CLIPS = sorted((Path(__file__).parents[3] / "examples" / "clips").glob("*.mp4"))
SIZES = [(480, 640), (192, 192), (64, 64), (1080, 1920)]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    found = []
    for path in CLIPS:
        with av.open(str(path)) as container:
            found += [f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i % 12 == 6]
    assert len(found) >= 3 * 18
    return found


def noisy(picture: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=picture.shape) * sigma
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def blurred(picture: np.ndarray, share: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), share * picture.shape[0])


@pytest.mark.parametrize("size", [192, 64])
def test_no_picture_of_the_clips_raises_an_alarm(pictures, size: int) -> None:
    for picture in pictures:
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        for exposure in (1.0, 0.5, 0.2, 0.1, 0.05):
            dim = (small * exposure).astype(np.uint8)
            assert lens_state(dim) is None, exposure
            if exposure >= 0.1:
                assert lens_state(blurred(dim, 0.06)) is None, exposure
                assert lens_state(noisy(dim, 3)) is None, exposure
        for share in (0.03, 0.06, 0.1):
            assert lens_state(blurred(small, share)) is None, share


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0, 2, 6, 12])
def test_black_with_sensor_noise_is_dark(size, sigma: float) -> None:
    for level in (0, 16):
        for seed in range(3):
            assert lens_state(noisy(np.full((*size, 3), level), sigma, seed)) == "dark"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0, 2, 6, 12])
def test_even_grey_with_noise_is_covered(size, sigma: float) -> None:
    for level in (60, 120, 200):
        for seed in range(3):
            assert lens_state(noisy(np.full((*size, 3), level), sigma, seed)) == "covered"


@pytest.mark.parametrize("size", SIZES)
def test_a_finger_that_glows_red_is_covered(size) -> None:
    down, across = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    for left, top, falloff in ((0.2, 0.3, 1.0), (0.5, 0.5, 2.0), (1.0, 0.8, 0.5), (1.0, 0.3, 1.5)):
        glow = np.exp(-((across - left) ** 2 + (down - top) ** 2) * falloff)
        picture = np.stack([40 + 200 * glow, 8 + 60 * glow, 5 + 40 * glow], axis=-1)
        assert lens_state(noisy(picture, 5)) == "covered", (left, top, falloff)


@pytest.mark.parametrize("size", [(480, 640), (192, 192)])
@pytest.mark.parametrize("edge", [0.5, 0.8])
def test_a_plain_room_is_not_covered(size, edge: float) -> None:
    """A wall and a floor that differ by a sixth, lit from one side: nothing else in it."""
    down, across = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    for light in (1.0, 0.3):
        room = np.where(down > edge, 150.0, 180.0) * (0.85 + 0.3 * across) * light
        picture = np.repeat(room[..., None], 3, axis=2)
        for turned in (picture, picture.swapaxes(0, 1)):
            assert lens_state(noisy(turned, 3)) is None


def test_a_picture_too_small_to_tell_is_let_pass() -> None:
    assert lens_state(np.zeros((8, 8, 3), np.uint8)) is None


def test_a_view_is_taken_like_a_copy(pictures) -> None:
    view = np.rot90(pictures[0])[::2]
    assert lens_state(view) is None
    assert lens_state(np.rot90(np.zeros((100, 60, 3), np.uint8))[:, ::-1]) == "dark"
