"""read_windows(): which frames and which sound a window gets, how a clip is cut, and what its states say."""

import math
import tracemalloc
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import runtime_media
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media.file import pictures, probe, sound
from mosear.runtime.media.opening import Limits, OverLimit
from mosear.runtime.windows import Plan, is_silent, read_windows


def _greys(frames: np.ndarray) -> list[int]:
    return [int(frame.mean().round()) for frame in frames]


def _newest(times: list[float], at: float) -> int:
    """Index of the newest frame that is not later than ``at``, else the first: by plain search."""
    return max((i for i, time in enumerate(times) if time <= at + 1e-3), default=0)


def test_frames_are_the_newest_at_each_sampling_time(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 3.0, fps=16)
    (window,) = read_windows(path, preprocessing)
    expected = [4 * math.floor((i + 0.5) * 3 / 8 * 16 + 1e-6) for i in range(8)]
    assert _greys(window.frames) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_variable_frame_rate(tmp_path, preprocessing: Preprocessing, container: str) -> None:
    times = [0.0, 0.1, 0.15, 0.9, 1.0, 1.01, 1.8, 2.5, 2.6, 2.9]
    path = runtime_media.write(
        tmp_path / f"v.{container}",
        frames=lambda i: runtime_media.flat((64, 48), 20 * i + 20),
        times=times,
        sound=runtime_media.tone(3.0, 48000),
    )
    window = next(read_windows(path, preprocessing))
    at = [(i + 0.5) * window.end / 8 for i in range(8)]
    assert _greys(window.frames) == pytest.approx([20 * _newest(times, t) + 20 for t in at], abs=3)


def test_a_still_at_a_low_rate_fills_every_window(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(
        tmp_path / "still.mp4",
        frames=lambda i: runtime_media.flat((64, 48), 60 + 60 * i),
        times=[0.0, 10.0, 20.0],
        audio=False,
    )
    windows = list(read_windows(path, preprocessing))
    assert [w.start for w in windows[:7]] == [0, 3, 6, 9, 12, 15, 18]
    assert _greys(windows[1].frames) == pytest.approx([60] * 8, abs=3)
    assert _greys(windows[5].frames) == pytest.approx([120] * 8, abs=3)


@pytest.mark.parametrize(("rate", "layout"), [(8000, "mono"), (44100, "stereo"), (48000, "5.1")])
@pytest.mark.parametrize("at", [0.25, 1.0, 2.5])
def test_a_click_is_heard_at_its_time(tmp_path, preprocessing: Preprocessing, rate, layout, at) -> None:
    path = runtime_media.write(tmp_path / "c.mp4", sound=runtime_media.click(3.0, rate, at), rate=rate, layout=layout)
    (window,) = read_windows(path, preprocessing)
    assert window.samples.shape == (48000,)
    assert np.argmax(np.abs(window.samples)) / 16000 == pytest.approx(at, abs=0.002)


@pytest.mark.parametrize("at", [0.5, 4.5, 7.25])
def test_a_click_falls_in_the_right_window(tmp_path, preprocessing: Preprocessing, at: float) -> None:
    path = runtime_media.write(tmp_path / "c.mp4", 9.0, sound=runtime_media.click(9.0, 48000, at))
    windows = list(read_windows(path, preprocessing))
    assert len(windows) == 3
    for window in windows:
        if window.start <= at < window.end:
            peak = np.argmax(np.abs(window.samples)) / 16000
            assert window.start + peak == pytest.approx(at, abs=0.002)
        else:
            assert "no_speech" in window.states
            assert window.samples is None


def test_sound_that_starts_late_stays_late(tmp_path, preprocessing: Preprocessing) -> None:
    heard = runtime_media.click(2.0, 48000, 0.5)
    path = runtime_media.write(tmp_path / "late.mkv", sound=heard, sound_delay=1.0, audio_codec="pcm_s16le")
    window = next(read_windows(path, preprocessing))
    assert np.argmax(np.abs(window.samples)) / 16000 == pytest.approx(1.5, abs=0.003)


def test_a_clock_that_does_not_start_at_zero(tmp_path, preprocessing: Preprocessing) -> None:
    """A transport stream starts at some time of its own; windows count from its first picture or sound."""
    path = runtime_media.write(tmp_path / "a.ts", sound=runtime_media.click(3.0, 48000, 1.0))
    assert probe(path).origin > 0.05
    window = next(read_windows(path, preprocessing))
    assert window.start == 0
    # The container gives the encoder's priming (1,024 samples) as sound.
    assert np.argmax(np.abs(window.samples)) / 16000 == pytest.approx(1.0, abs=0.03)


def test_stereo_of_equal_channels_is_as_loud_as_mono(tmp_path, preprocessing: Preprocessing) -> None:
    levels = []
    for layout in ("mono", "stereo", "5.1"):
        path = runtime_media.write(tmp_path / f"{layout}.wav", video=False, layout=layout, audio_codec="pcm_s16le")
        samples = next(read_windows(path, preprocessing)).samples
        levels.append(float(np.sqrt(np.mean(samples[1000:47000] ** 2))))
    assert levels == pytest.approx([0.5 / math.sqrt(2)] * 3, rel=0.01)


def test_samples_that_are_no_numbers_are_silence(tmp_path, preprocessing: Preprocessing) -> None:
    spoilt = runtime_media.tone(3.0, 16000)
    spoilt[8000:8100] = np.nan
    path = runtime_media.write(
        tmp_path / "nan.wav", video=False, sound=spoilt, rate=16000, layout="mono", audio_codec="pcm_f32le"
    )
    samples = next(read_windows(path, preprocessing)).samples
    assert np.isfinite(samples).all()
    assert np.abs(samples[8000:8100]).max() == 0
    assert np.abs(samples[9000:]).max() > 0.4


def test_a_hole_in_the_sound_is_silence_in_its_place(tmp_path, preprocessing: Preprocessing) -> None:
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16000)
        track.layout = "mono"
        for start in (0.0, 2.0):
            data = (runtime_media.tone(0.5, 16000)[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, round(start * 16000)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    samples = next(read_windows(path, preprocessing)).samples
    assert np.abs(samples[:8000]).max() > 0.4
    assert np.abs(samples[8200:31800]).max() == 0
    assert np.abs(samples[32000:40000]).max() > 0.4


STATES = {
    "both": ({}, ()),
    "no sound": ({"audio": False}, ("no_audio",)),
    "no picture": ({"video": False}, ("no_video",)),
    "silence": ({"sound": np.zeros(144000, np.float32)}, ("no_speech",)),
    "short": ({"seconds": 0.1}, ("short",)),
}


@pytest.mark.parametrize("case", STATES)
def test_states(tmp_path, preprocessing: Preprocessing, case: str) -> None:
    arguments, states = STATES[case]
    (window,) = read_windows(runtime_media.write(tmp_path / "a.mp4", **arguments), preprocessing)
    assert window.states == states
    assert (window.frames is None) == ("no_video" in states)
    assert (window.samples is None) == bool({"no_audio", "no_speech"} & set(states))


def test_a_short_clip_is_one_window_over_its_own_length(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 1.0, fps=16)
    (window,) = read_windows(path, preprocessing)
    assert (window.start, window.end) == (0, pytest.approx(1.0, abs=0.01))
    assert _greys(window.frames) == pytest.approx([4 * (2 * i + 1) for i in range(8)], abs=3)
    assert np.abs(window.samples[:15000]).max() > 0.4
    assert np.abs(window.samples[16100:]).max() == 0
    assert window.samples.shape == (48000,)


def test_a_track_that_ends_early_is_missing_from_later_windows(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 3.0, sound=runtime_media.tone(9.0, 48000))
    assert [w.states for w in read_windows(path, preprocessing)] == [(), ("no_video",), ("no_video",)]


def test_a_cover_picture_is_no_film(tmp_path, preprocessing: Preprocessing) -> None:
    path = tmp_path / "song.mp4"
    plain = runtime_media.write(tmp_path / "plain.mp4", 0.2, fps=10, codec="mjpeg", pixels="yuvj420p", audio=False)
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        cover = container.add_stream_from_template(source.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        track = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(runtime_media.tone(3.0, 48000)[None], format="fltp", layout="mono")
        track.layout = "mono"
        frame.sample_rate, frame.pts = 48000, 0
        for packet in source.demux():
            if packet.size:
                packet.stream = cover
                container.mux(packet)
                break
        container.mux(track.encode(frame))
        container.mux(track.encode())
    with av.open(str(path)) as written:
        assert written.streams.video[0].disposition & av.stream.Disposition.attached_pic
    assert probe(path).video is None
    (window,) = read_windows(path, preprocessing)
    assert window.states == ("no_video",)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_a_picture_is_a_short_clip(tmp_path, preprocessing: Preprocessing, name: str) -> None:
    av.VideoFrame.from_ndarray(runtime_media.flat((64, 48), 90), format="rgb24").to_image().save(tmp_path / name)
    (window,) = read_windows(tmp_path / name, preprocessing)
    assert window.states == ("no_audio", "short")
    assert _greys(window.frames) == pytest.approx([90] * 8, abs=2)


def test_a_camera_s_bare_jpeg_is_a_picture_too(tmp_path, preprocessing: Preprocessing) -> None:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(runtime_media.flat((64, 48), 90), format="rgb24").reformat(format="yuvj420p")
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    assert b"JFIF" not in data
    for name in ("a.jpg", "b.JPEG"):
        (tmp_path / name).write_bytes(data)
        (window,) = read_windows(tmp_path / name, preprocessing)
        assert _greys(window.frames) == pytest.approx([90] * 8, abs=2)
    av.VideoFrame.from_ndarray(runtime_media.flat((64, 48), 90), format="rgb24").to_image().save(tmp_path / "c.png")
    (tmp_path / "c.png").rename(tmp_path / "c.jpg")
    (window,) = read_windows(tmp_path / "c.jpg", preprocessing)
    assert _greys(window.frames) == pytest.approx([90] * 8, abs=2)


@pytest.mark.parametrize(
    ("size", "codec", "pixels"), [((1, 1), "ffv1", "yuv444p"), ((3840, 2160), "libx264", "yuv420p")]
)
def test_the_smallest_and_a_large_frame(tmp_path, preprocessing: Preprocessing, size, codec, pixels) -> None:
    path = runtime_media.write(
        tmp_path / "a.mkv",
        0.5,
        fps=8,
        size=size,
        frames=lambda i: runtime_media.flat(size, 90),
        codec=codec,
        pixels=pixels,
    )
    (window,) = read_windows(path, preprocessing)
    assert window.frames.shape == (8, 64, 64, 3)
    assert _greys(window.frames) == pytest.approx([90] * 8, abs=2)


def test_overlapping_windows_equal_the_same_stretch_read_alone(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 6.0)
    overlapping = list(read_windows(path, preprocessing, hop_s=1.0))
    apart = {w.start: w for w in read_windows(path, preprocessing)}
    assert [w.start for w in overlapping] == [0, 1, 2, 3]
    for window in overlapping:
        if window.start in apart:
            assert np.array_equal(window.frames, apart[window.start].frames)
            assert np.array_equal(window.samples, apart[window.start].samples)
    assert np.array_equal(overlapping[0].samples[16000:], overlapping[1].samples[:-16000])


def test_gaps_between_windows(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 8.0, fps=8, sound=runtime_media.click(8.0, 48000, 5.5))
    windows = list(read_windows(path, preprocessing, window_s=1.0, hop_s=2.5))
    assert [(w.start, w.end) for w in windows] == [(0, 1), (2.5, 3.5), (5, 6), (7.5, 8)]
    assert np.argmax(np.abs(windows[2].samples)) / 16000 == pytest.approx(0.5, abs=0.002)
    assert _greys(windows[1].frames) == pytest.approx(
        [4 * math.floor((2.5 + (i + 0.5) / 8) * 8 + 1e-6) for i in range(8)], abs=3
    )


def test_the_transcript_is_in_every_window(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 6.0)
    assert [w.transcript for w in read_windows(path, preprocessing, transcript="hello")] == ["hello", "hello"]


@pytest.mark.parametrize(
    ("window", "hop"), [(3.5, None), (0.4, None), (-1, None), (math.nan, None), (None, 0), (None, -1), (None, math.inf)]
)
def test_lengths_out_of_range(tmp_path, preprocessing: Preprocessing, window, hop) -> None:
    with pytest.raises(UsageError):
        read_windows(tmp_path / "never read", preprocessing, window, hop)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.01, 100), st.floats(0.5, 3), st.floats(0.05, 5))
def test_plans(duration: float, length: float, hop: float) -> None:
    spans = list(Plan(duration, length, hop))
    assert spans[0][0] == 0
    for index, (start, end) in enumerate(spans):
        assert start == pytest.approx(index * hop)
        assert start < end <= duration + 1e-9
        whole = end - start > length - 1e-5
        assert whole or index == len(spans) - 1
        assert whole or index == 0 or end - start >= length / 2 - 1e-9
    if hop <= length:
        assert duration - spans[-1][1] < max(hop, length / 2) + 1e-6


@pytest.mark.parametrize(
    ("duration", "hop", "spans"),
    [
        (7.0, 3.0, [(0, 3), (3, 6)]),
        (7.4, 3.0, [(0, 3), (3, 6)]),
        (7.5, 3.0, [(0, 3), (3, 6), (6, 7.5)]),
        (1.0, 3.0, [(0, 1.0)]),
        (5.0, 1.0, [(0, 3), (1, 4), (2, 5)]),
        (5.4, 1.0, [(0, 3), (1, 4), (2, 5), (3, 5.4)]),
        (5.05, 1.0, [(0, 3), (1, 4), (2, 5)]),
        (2.9999999, 3.0, [(0, 2.9999999)]),
    ],
)
def test_what_becomes_of_the_rest(duration: float, hop: float, spans: list[tuple[float, float]]) -> None:
    assert list(Plan(duration, 3.0, hop)) == spans


@pytest.mark.parametrize(("level", "silent"), [(-61, True), (-59, False)])
def test_silence_is_measured_as_rms(level: float, silent: bool) -> None:
    amplitude = 10 ** (level / 20) * math.sqrt(2)
    assert is_silent(runtime_media.tone(1.0, 16000, amplitude), -60) is silent
    assert is_silent(np.zeros(0, np.float32), -60)


def test_memory_does_not_grow_with_the_clip(tmp_path, preprocessing: Preprocessing) -> None:
    """Ten minutes of sound and stills: what is held at once stays under a few windows' worth."""
    path = runtime_media.write(
        tmp_path / "long.mkv",
        times=[float(i) for i in range(0, 600, 10)],
        sound=runtime_media.tone(600.0, 16000),
        rate=16000,
        layout="mono",
        audio_codec="pcm_s16le",
    )
    count = 0
    tracemalloc.start()
    try:
        for window in read_windows(path, preprocessing, hop_s=1.5):
            assert window.samples is not None
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 399
    assert peak < 6_000_000


def test_sound_keeps_its_length(tmp_path) -> None:
    path = runtime_media.write(tmp_path / "a.wav", 10.0, video=False, rate=44100, audio_codec="pcm_s16le")
    assert sum(len(samples) for _, samples in sound(probe(path), 16000)) == pytest.approx(160000, abs=2)


def test_limits_end_the_reading_of_a_file_early(tmp_path, preprocessing: Preprocessing) -> None:
    path = runtime_media.write(tmp_path / "a.mp4", 6.0)
    width, height = (lambda frame: (frame.width, frame.height))(next(pictures(probe(path)))[1])
    assert len(list(read_windows(path, preprocessing, limits=Limits(7.0, width * height)))) == 2
    with pytest.raises(OverLimit, match="longer than 4 s") as caught:
        read_windows(path, preprocessing, limits=Limits(4.0))
    assert caught.value.which == "seconds"
    with pytest.raises(OverLimit, match="pixels") as caught:
        read_windows(path, preprocessing, limits=Limits(pixels=width * height - 1))
    assert caught.value.which == "pixels"


def test_a_sound_track_that_claims_an_absurd_rate_is_left_out(tmp_path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(268_435_456)
        file.writeframes(bytes(200_000))
    with pytest.raises(BadInput, match="neither a picture nor a sound"):
        probe(path)
