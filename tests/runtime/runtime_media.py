"""Media files for the tests of the runtime, written with PyAV, whose content is known exactly."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def tone(seconds: float, rate: int, amplitude: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    """float32 [n], a sine."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def click(seconds: float, rate: int, at: float) -> np.ndarray:
    """float32 [n], silence but for a click of 1 ms."""
    samples = np.zeros(round(seconds * rate), np.float32)
    samples[round(at * rate) : round((at + 0.001) * rate)] = 0.9
    return samples


def flat(size: tuple[int, int], grey: int) -> np.ndarray:
    """uint8 [height, width, 3] of one grey; ``size`` is (width, height)."""
    return np.full((size[1], size[0], 3), grey, np.uint8)


def write(
    path: Path,
    seconds: float = 3.0,
    fps: int = 16,
    size: tuple[int, int] = (64, 48),
    frames: Callable[[int], np.ndarray] | None = None,
    times: list[float] | None = None,
    sound: np.ndarray | None = None,
    rate: int = 48000,
    layout: str = "stereo",
    codec: str = "libx264",
    audio_codec: str = "aac",
    pixels: str = "yuv420p",
    video: bool = True,
    audio: bool = True,
    rotation: int = 0,
    sound_delay: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip: frames from ``frames(i)`` (grey 0, 4, 8 … by default), sound from ``sound`` (a tone by default)."""
    picture = frames or (lambda index: flat(size, index * 4 % 256))
    with av.open(str(path), "w", options=options or {}) as container:
        if video:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = size[0], size[1], pixels
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            if rotation:
                stream.set_display_rotation(rotation)
        if audio:
            track = container.add_stream(audio_codec, rate=rate)
            track.layout = layout
        if video:
            stamps = times if times is not None else [index / fps for index in range(round(seconds * fps))]
            for index, stamp in enumerate(stamps):
                frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
                frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        if audio:
            mono = tone(seconds, rate) if sound is None else sound
            channels = len(av.AudioLayout(layout).channels)
            planes = np.repeat(mono[None], channels, axis=0)
            planar = track.format.is_planar
            data = planes if planar else planes.T.reshape(1, -1)
            if "s16" in track.format.name:
                data = (data * 32767).astype(np.int16)
            for first in range(0, data.shape[1], 4096 * (1 if planar else channels)):
                piece = np.ascontiguousarray(data[:, first : first + 4096 * (1 if planar else channels)])
                frame = av.AudioFrame.from_ndarray(piece, format=track.format.name, layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(sound_delay * rate) + first // (1 if planar else channels)
                container.mux(track.encode(frame))
            container.mux(track.encode())
    return path
