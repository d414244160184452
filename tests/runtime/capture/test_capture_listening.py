"""Sound without seams."""

from fractions import Fraction

import av
import numpy as np
import pytest
import runtime_media
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.capture.listening import Listener, SoundRun

RATE = 16000


@given(st.lists(st.tuples(st.floats(-2, 2), st.integers(0, 4000)), max_size=50))
@settings(deadline=None)
def test_chunks_never_overlap(chunks: list[tuple[float, int]]) -> None:
    run, clock, end = SoundRun(RATE), 0.0, -np.inf
    for off, count in chunks:
        clock += count / RATE
        sound = run.place(clock + off, np.zeros(count, np.float32))
        if sound is None:
            continue
        assert 0 < len(sound.samples) <= count
        assert sound.time >= end - 1e-9
        end = sound.time + len(sound.samples) / RATE


def test_small_errors_leave_no_seam_and_large_ones_a_hole() -> None:
    run = SoundRun(RATE)
    chunk = np.ones(1600, np.float32)
    assert run.place(1.0, chunk).time == 1.0
    assert run.place(1.135, chunk).time == pytest.approx(1.1)
    assert run.place(1.192, chunk).time == pytest.approx(1.2)
    assert run.place(1.5, chunk).time == 1.5
    late = run.place(1.55, np.arange(1600, dtype=np.float32))
    assert late.time == pytest.approx(1.6)
    assert late.samples[0] == 800
    assert run.place(1.0, chunk) is None


@pytest.mark.parametrize(
    ("rate", "layout", "form"), [(48000, "stereo", "s16"), (44100, "mono", "fltp"), (8000, "mono", "s16p")]
)
def test_resampled_to_mono(rate: int, layout: str, form: str) -> None:
    """A click at 1 s stays at 1 s, and a second of sound stays a second."""
    listener = Listener(RATE)
    heard = np.zeros(3 * RATE, np.float32)
    mono = runtime_media.click(2.0, rate, 1.0)
    channels = len(av.AudioLayout(layout).channels)
    for first in range(0, len(mono), 480):
        piece = mono[first : first + 480]
        data = np.repeat(piece[None], channels, axis=0)
        if not form.endswith("p"):
            data = data.T.reshape(1, -1)
        if form.startswith("s16"):
            data = (data * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=form, layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        for sound in listener.hear(0.5 + first / rate, frame):
            place = round(sound.time * RATE)
            heard[place : place + len(sound.samples)] += sound.samples
    assert abs(int(np.abs(heard).argmax()) / RATE - 1.5) < 0.004
    assert np.abs(heard).max() > 0.3
    assert not heard[: RATE // 2 - 10].any()
