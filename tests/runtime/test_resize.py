"""resize(): sizes, upright pictures, grey levels, and what is not a picture."""

import av
import numpy as np
import pytest
import runtime_media
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.media.file import pictures, probe
from mosear.runtime.media.resize import resize


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 2000), (2000, 3), (64, 64), (65, 64), (1280, 720), (3840, 2160)])
def test_a_flat_picture_of_any_size_stays_flat(size: tuple[int, int]) -> None:
    out = resize(runtime_media.flat(size, 77), 64)
    assert out.shape == (64, 64, 3)
    assert out.dtype == np.uint8
    assert out.min() >= 76
    assert out.max() <= 78


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 96), st.integers(0, 255))
def test_every_shape_gives_the_asked_square(width: int, height: int, side: int, grey: int) -> None:
    out = resize(runtime_media.flat((width, height), grey), side)
    assert out.shape == (side, side, 3)
    assert np.abs(out.astype(int) - grey).max() <= 1


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_scaling_by_whole_factors_is_the_mean_of_blocks(factor: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64 * factor, 64 * factor, 3), np.uint8)
    blocks = noise.reshape(64, factor, 64, factor, 3).mean(axis=(1, 3))
    assert np.abs(resize(noise, 64) - blocks).max() <= 1.5


def test_the_centre_is_cropped() -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200
    assert resize(wide, 64).min() >= 198
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    assert resize(tall, 64).min() >= 198


def test_channels_keep_their_order() -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 250
    assert resize(red, 8)[4, 4].tolist() == pytest.approx([250, 0, 0], abs=1)


def _corners(index: int) -> np.ndarray:
    """Bright in the upper left quarter."""
    picture = runtime_media.flat((96, 96), 20)
    picture[:48, :48] = 220
    return picture


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_display_matrix_is_honoured(tmp_path, rotation: int) -> None:
    path = runtime_media.write(tmp_path / "r.mp4", 0.5, frames=_corners, size=(96, 96), rotation=rotation, audio=False)
    frame = next(pictures(probe(path)))[1]
    assert round(frame.rotation) % 360 == rotation % 360
    out = resize(frame, 64)[..., 0]
    quarters = {
        "upper left": out[:28, :28],
        "upper right": out[:28, 36:],
        "lower left": out[36:, :28],
        "lower right": out[36:, 36:],
    }
    # The matrix turns counter-clockwise: by 90 degrees, upper left goes to lower left.
    bright = {0: "upper left", 90: "lower left", 180: "lower right", -90: "upper right"}[rotation]
    for name, quarter in quarters.items():
        assert (quarter.mean() > 180) == (name == bright), name


def test_the_rotation_that_a_telephone_writes_is_honoured(tmp_path) -> None:
    """The matrix in tkhd of a portrait video: turn by 90 degrees clockwise to show it."""
    path = runtime_media.write(tmp_path / "p.mp4", 0.5, frames=_corners, size=(96, 96), audio=False)
    data = bytearray(path.read_bytes())
    unity = (0x10000).to_bytes(4, "big")
    one = (0x40000000).to_bytes(4, "big")
    plain = unity + bytes(12) + unity + bytes(12) + one
    at = data.index(plain, data.index(b"tkhd"))
    minus = (-0x10000).to_bytes(4, "big", signed=True)
    turned = bytes(4) + unity + bytes(4) + minus + bytes(4) + bytes(4) + (96 << 16).to_bytes(4, "big") + bytes(4) + one
    data[at : at + 36] = turned
    path.write_bytes(data)
    out = resize(next(pictures(probe(path)))[1], 64)[..., 0]
    assert out[:28, 36:].mean() > 180
    assert out[:28, :28].mean() < 60


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le", "nv12", "gray", "rgba"])
def test_pixel_formats_give_the_same_grey(pixels: str) -> None:
    frame = av.VideoFrame.from_ndarray(runtime_media.flat((64, 48), 120), format="rgb24").reformat(format=pixels)
    assert np.abs(resize(frame, 64).astype(int) - 120).max() <= 2


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        resize(wrong, 64)


def test_a_view_is_taken() -> None:
    base = np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8)
    assert np.array_equal(resize(base[:, ::2], 64), resize(base[:, ::2].copy(), 64))
