"""Writes synthetic clips as real MP4 files (H.264 and AAC), and the CSV file of their labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mosear.clips.synthetic.description import describe
from mosear.clips.synthetic.face import render_face
from mosear.clips.synthetic.specification import DURATION_S, ClipSpec
from mosear.clips.synthetic.voice import render_voice
from mosear.clips.synthetic.window import CLIP_FPS, CLIP_SIZE

SAMPLE_RATE = 16_000
LABEL_COLUMNS: tuple[str, ...] = (
    "name",
    "subset",
    "label",
    "visual_label",
    "audio_label",
    "visual_intensity",
    "audio_intensity",
    "transcript",
    "seed",
    "reason",
)
# The same clip gives the same bytes: one thread, no text about the encoder, and no macroblock tree, whose result in
# x264 (found with the build in PyAV 18) depends on what memory held before.
_VIDEO_OPTIONS = {"crf": "20", "preset": "medium", "threads": "1", "x264-params": "threads=1:mbtree=0:no-info=1"}
_AUDIO_BITRATE = 48_000
_AUDIO_FRAME = 1024


def write_clip(spec: ClipSpec, path: Path, size: int = CLIP_SIZE, fps: int = CLIP_FPS) -> None:
    """Write the clip to `path` as MP4: H.264 yuv420p [size, size] at `fps`, AAC mono at 16 kHz, both of 3.0 s.

    The file appears whole or not at all: it is written under another name and then renamed.

    Raises:
        ValueError: an odd size, or a rate at which the clip is no whole number of frames.
        OSError: the folder cannot be written.
    """
    if size % 2:
        raise ValueError(f"H.264 in yuv420p needs an even size, not {size}")
    if not float(DURATION_S * fps).is_integer():
        raise ValueError(f"{DURATION_S} s at {fps} frames a second is no whole number of frames")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
    try:
        _encode(spec, part, size, fps)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(spec: ClipSpec, path: Path, size: int, fps: int) -> None:
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps, options=dict(_VIDEO_OPTIONS))
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        video.codec_context.time_base = Fraction(1, fps)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.codec_context.bit_rate = _AUDIO_BITRATE
        for index in range(round(DURATION_S * fps)):
            picture = av.VideoFrame.from_ndarray(render_face(spec, index / fps, size), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            container.mux(video.encode(picture))
        samples = render_voice(spec, SAMPLE_RATE)
        for start in range(0, len(samples), _AUDIO_FRAME):
            chunk = np.ascontiguousarray(samples[None, start : start + _AUDIO_FRAME])
            sound = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def write_labels(specs: Sequence[tuple[str, ClipSpec]], path: Path) -> None:
    """Write the CSV of labels of (file name, specification) pairs, in their order, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(LABEL_COLUMNS)
            for name, spec in specs:
                writer.writerow(_row(name, spec))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _row(name: str, spec: ClipSpec) -> tuple[object, ...]:
    return (
        name,
        spec.subset,
        spec.label,
        spec.visual_label,
        spec.audio_label,
        f"{spec.visual_intensity:.3f}",
        f"{spec.audio_intensity:.3f}",
        spec.transcript,
        spec.seed,
        describe(spec),
    )
