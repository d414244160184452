"""One window of a synthetic clip straight from the renderers, as a model receives it: training without files."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from mosear.clips.synthetic.face import render_face
from mosear.clips.synthetic.specification import DURATION_S, ClipSpec
from mosear.clips.synthetic.voice import render_voice
from mosear.runtime.media.resize import resize

CLIP_SIZE = 192
CLIP_FPS = 15


def shrink(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Rendered picture [side, side, 3] to [size, size, 3], by the runtime's own resizing.

    It goes through yuv420p first, as a decoded frame does: half the resolution in colour, and rounding.
    """
    return resize(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1), size)


def render_window(
    spec: ClipSpec,
    frame_size: int = 64,
    frames: int = 8,
    sample_rate: int = 16_000,
    clip_size: int = CLIP_SIZE,
    fps: float = CLIP_FPS,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(frames [frames, frame_size, frame_size, 3] uint8 RGB, samples [3 * sample_rate] float32).

    The window is the whole clip. Pictures are those of the clip's file at the sampling times (i + 0.5) * 3 / frames:
    rendered at `clip_size`, the newest frame at `fps` at or before the time, then shrunk.
    """
    times = (np.arange(frames) + 0.5) * DURATION_S / frames
    shown = np.floor(times * fps + 1e-6) / fps
    pictures = np.stack([shrink(render_face(spec, float(time), clip_size), frame_size) for time in shown])
    return pictures, render_voice(spec, sample_rate)
