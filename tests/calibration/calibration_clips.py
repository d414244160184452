"""Clips and windows to calibrate on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from mosear.model.data import AUDIO_CUES, COLUMNS, FRAMES, LABELS_TABLE, SAMPLES, VISUAL_CUES

LABELS = ("neutral", "angry", "happy")
SUBSETS = ("video_aligned", "audio_aligned", "consistent")
FRAME, COUNT, RATE = 32, 4, 16000


def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A few smooth blobs on each of 4 frames, uint8 [4, 32, 32, 3]."""
    y, x = np.mgrid[0:FRAME, 0:FRAME] / FRAME
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(0.2, 1.5, (COUNT * 3, 3))]
    return np.moveaxis((128 + 100 * np.reshape(waves, (COUNT, 3, FRAME, FRAME))), 1, -1).astype(np.uint8)


def voice(rng: np.random.Generator) -> NDArray[np.float32]:
    """One second of a vibrating tone with overtones, float32 [16000]."""
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * rng.uniform(100, 250) * time + rng.uniform(0, 5) * np.sin(2 * np.pi * 5 * time)
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 9))).astype(np.float32)


def noise(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """White noise as picture and sound."""
    return rng.integers(0, 256, (COUNT, FRAME, FRAME, 3), dtype=np.uint8), rng.normal(0, 0.2, RATE).astype(np.float32)


def write_arrays(folder: Path, media: list[tuple[Any, Any]], rows: list[tuple[str, str, str]]) -> Path:
    """A folder of arrays: (frames, samples) and (label, subset, transcript) of every window."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / FRAMES, np.stack([frames for frames, _ in media]))
    sounds = [np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16) for _, samples in media]
    np.save(folder / SAMPLES, np.stack(sounds))
    np.save(folder / VISUAL_CUES, np.zeros((len(media), COUNT, 2), np.float32))
    np.save(folder / AUDIO_CUES, np.zeros((len(media), 2), np.float32))
    with (folder / LABELS_TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="0")
        writer.writeheader()
        for label, subset, transcript in rows:
            writer.writerow({"label": label, "subset": subset, "transcript": transcript})
    return folder


def balanced(count: int) -> list[tuple[str, str, str]]:
    """Labels and subsets that take turns, with transcripts of several lengths."""
    words = ("yes", "he put the keys on the shelf", "it takes ten minutes", "")
    return [(LABELS[i // 3 % 3], SUBSETS[i % 3], words[i % len(words)]) for i in range(count)]


def write_clip(path: Path, frames: Any | None, samples: NDArray[np.float32] | None) -> None:
    """A one-second MP4 with H.264 and AAC, of frames [F, H, W, 3] and samples at 16 kHz; None leaves a track out."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25) if frames is not None else None
        audio = container.add_stream("aac", rate=RATE, layout="mono") if samples is not None else None
        if video is not None:
            video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
            for index in range(25):
                frame = av.VideoFrame.from_ndarray(frames[index % len(frames)], format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode())
        if audio is not None:
            for start in range(0, len(samples), 1024):
                block = np.ascontiguousarray(samples[None, start : start + 1024])
                sound = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                sound.sample_rate, sound.pts = RATE, start
                container.mux(audio.encode(sound))
            container.mux(audio.encode())


def write_folder(folder: Path, media: list[tuple[Any, Any]], rows: list[tuple[str, str, str]] | None = None) -> Path:
    """A folder of MP4 clips with labels.csv: (frames, samples), and (label, subset, transcript) of every clip."""
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "subset", "label", "transcript"))
        for index, (frames, samples) in enumerate(media):
            write_clip(folder / f"{index}.mp4", frames, samples)
            label, subset, transcript = (rows or balanced(len(media)))[index]
            writer.writerow((f"{index}.mp4", subset, label, transcript))
    return folder
