"""Damaged media through the decoder processes of `mosear serve`: no crash, no hang, nothing left behind.

    python benchmarks/fuzz_media.py --count 2000 --seed 0 [--folder examples/clips] [--keep DIR]

Real clips, and small files of other containers that are made here, are mutated: flipped bits, spliced bytes, cut ends,
doubled and swapped pieces, edited numbers of the headers, one file's middle in another. File number I of seed S is
always the same. What crashes or hangs a decoder process is contained by the pool, but makes the exit code 1 all the
same, as does any exception that is no MosearError, a window that is malformed, and a file, a process or a descriptor
that is left.
"""

from __future__ import annotations

import os
import random
import re
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Annotated

import av
import numpy as np
import typer

from mosear.runtime.errors import BadInput, MosearError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.server.decoding import DecodeLimits, DecoderCrashed, DecoderPool, TooSlow
from mosear.runtime.windows import Window

PREPROCESSING = Preprocessing(frame_size=64, frames=8, sample_rate=16000, window_s=3.0)
LIMITS = DecodeLimits(seconds=30, pixels=4_000_000, decode_s=10, memory_mb=1024)
STATES = {"no_video", "no_audio", "no_speech", "short", "truncated"}

MADE = [
    ("a.mkv", "libx264", "aac"),
    ("a.webm", "libvpx-vp9", "libopus"),
    ("b.webm", "libvpx", "libopus"),
    ("a.avi", "mpeg4", "libmp3lame"),
    ("a.ts", "libx264", "aac"),
    ("a.mpg", "mpeg2video", "mp2"),
    ("a.mov", "mjpeg", "pcm_s16le"),
    ("a.flv", "flv1", "libmp3lame"),
    ("a.wav", None, "pcm_s16le"),
    ("a.flac", None, "flac"),
    ("a.ogg", None, "libopus"),
    ("a.mp3", None, "libmp3lame"),
    ("a.m4a", None, "aac"),
    ("a.gif", "gif", None),
    ("a.png", "png", None),
    ("a.jpeg", "mjpeg", None),
]
_PIXELS = {"gif": "rgb8", "png": "rgb24", "mjpeg": "yuvj420p"}
_ODD = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 44100, 8192]
_NAMES = re.compile(
    rb"moov|trak|mdhd|mvhd|tkhd|stsd|stts|stsc|stsz|stco|ctts|elst|edts|avcC|esds|avc1|mp4a|mdat|"
    rb"RIFF|avih|strh|strf|idx1|fmt |data|IHDR|IDAT|fLaC|OggS|GIF89a|\xff\xc0|\xff\xc4|\xff\xdb|"
    rb"\x1a\x45\xdf\xa3|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x44\x89|\xb0|\xba|\x1f\x43\xb6\x75|\x47\x40"
)


def make(path: Path, video: str | None, audio: str | None, seconds: float = 1.0) -> None:
    """A moving pattern and a tone; a picture file gets one frame."""
    still = path.suffix in {".png", ".jpeg"}
    rate = 44100 if path.suffix == ".flv" else 48000
    with av.open(str(path), "w", format="image2" if still else None) as container:
        picture = container.add_stream(video, rate=12) if video else None
        track = container.add_stream(audio, rate=rate) if audio else None
        if track is not None:
            track.layout = "mono"
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, _PIXELS.get(video or "", "yuv420p")
            for index in range(1 if still else round(12 * seconds)):
                pixels = np.add.outer(np.arange(48) * 5, np.arange(64) * 4 + 9 * index)
                frame = av.VideoFrame.from_ndarray(np.stack([pixels] * 3, -1).astype(np.uint8), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 12)
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
        if track is not None:
            tone = (0.4 * np.sin(np.arange(round(rate * seconds)) / 20)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            resampler = av.AudioResampler(track.format, track.layout, rate, track.codec_context.frame_size or 1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(track.encode(piece))
            container.mux(track.encode())


def _flip_bits(data: bytearray, chance: random.Random, other: bytes) -> None:
    where = chance.choice([len(data), min(len(data), 4096)])
    for _ in range(chance.choice([1, 8, 64, 512])):
        data[chance.randrange(where)] ^= 1 << chance.randrange(8)


def _splice_bytes(data: bytearray, chance: random.Random, other: bytes) -> None:
    at = chance.randrange(len(data))
    count = chance.choice([1, 4, 100, 2000])
    data[at : at + chance.choice([0, count])] = chance.choice([chance.randbytes(count), bytes(count), b"\xff" * count])


def _cut(data: bytearray, chance: random.Random, other: bytes) -> None:
    if chance.random() < 0.7:
        del data[chance.randrange(1, len(data)) :]
    else:
        del data[: chance.randrange(1, len(data))]


def _double_piece(data: bytearray, chance: random.Random, other: bytes) -> None:
    at, count = chance.randrange(len(data)), chance.choice([16, 188, 1000, 20_000])
    data[at:at] = data[at : at + count] * chance.choice([1, 2, 10])


def _swap_pieces(data: bytearray, chance: random.Random, other: bytes) -> None:
    count = min(len(data) // 2, chance.choice([8, 188, 4000]))
    a, b = sorted(chance.randrange(len(data) - count + 1) for _ in range(2))
    if a + count <= b:
        data[a : a + count], data[b : b + count] = data[b : b + count], data[a : a + count]


def _edit_header(data: bytearray, chance: random.Random, other: bytes) -> None:
    """Another number near a name that a header has: a size, a dimension, a count, a duration, a rate."""
    places = [match.start() for match in _NAMES.finditer(data)] or [0]
    for _ in range(chance.choice([1, 1, 3])):
        at = max(0, min(len(data) - 8, chance.choice(places) + chance.randrange(-4, 48)))
        number = chance.choice([chance.choice(_ODD), chance.getrandbits(32), chance.randrange(70_000)])
        code = chance.choice([">I", "<I", ">H", "<H", "B"])
        packed = struct.pack(code, number & (256 ** struct.calcsize(code) - 1))
        data[at : at + len(packed)] = packed


def _cross(data: bytearray, chance: random.Random, other: bytes) -> None:
    at, start = chance.randrange(len(data)), chance.randrange(len(other))
    piece = other[start : start + chance.choice([100, 5000, 100_000])]
    data[at : at + chance.choice([0, len(piece)])] = piece


MUTATIONS: list[Callable[[bytearray, random.Random, bytes], None]] = [
    _flip_bits,
    _splice_bytes,
    _cut,
    _double_piece,
    _swap_pieces,
    _edit_header,
    _edit_header,
    _edit_header,
    _cross,
]


def mutate(sources: list[tuple[str, bytes]], seed: int, index: int) -> tuple[str, bytes]:
    """Name and bytes of damaged file ``index``."""
    chance = random.Random(f"{seed}:{index}")
    # Half of them from the made files, which are many kinds, half from whichever there are.
    name, whole = chance.choice(sources[-len(MADE) :] if chance.random() < 0.5 else sources)
    data = bytearray(whole)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        if len(data) > 16:
            chance.choice(MUTATIONS)(data, chance, chance.choice(sources)[1])
    ending = Path(name).suffix if chance.random() < 0.9 else chance.choice(["", ".mp4", ".wav", ".jpg", ".m3u8"])
    return f"{seed}_{index}{ending}", bytes(data)


def flaw(window: Window) -> str | None:
    """What is wrong with a window, or None."""
    frames, samples = window.frames, window.samples
    if not 0 <= window.start <= window.end <= window.start + PREPROCESSING.window_s + 1e-3:
        return "times"
    if not set(window.states) <= STATES or len(set(window.states)) != len(window.states):
        return "states"
    if frames is not None and (frames.dtype != np.uint8 or frames.shape != (8, 64, 64, 3)):
        return "frames"
    if samples is not None and (samples.shape != (48000,) or not np.isfinite(samples).all()):
        return "samples"
    if (frames is None) != ("no_video" in window.states):
        return "no_video"
    if (samples is None) != bool({"no_audio", "no_speech"} & set(window.states)):
        return "no_audio"
    return None


def outcome(pool: DecoderPool, path: Path) -> tuple[str, bool]:
    """What became of one file in words, and whether it is a failure of ours or of a decoder process."""
    try:
        for window in pool.windows(path):
            wrong = flaw(window)
            if wrong:
                return f"MALFORMED window ({wrong})", True
    except DecoderCrashed:
        return "CRASHED a decoder process", True
    except TooSlow:
        return "HUNG a decoder process", True
    except BadInput as error:
        return f"{type(error).__name__}: {re.sub('[0-9]+', 'N', error.what)}", False
    except MosearError as error:
        return f"FAILED: {error.what}", True
    except Exception as error:
        return f"ESCAPED: {error!r}", True
    return "windows", False


def descriptors() -> int:
    """Open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    """States of this process's children, such as Z for a zombie."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.append(state)
    return found


def read_sources(folder: Path, made: Path) -> list[tuple[str, bytes]]:
    """Names and bytes of the clips and of the files that are made here, these last."""
    clips = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.suffix in {".mp4", ".wav"}]
    for name, video, audio in MADE:
        make(made / name, video, audio)
    return clips + [(name, (made / name).read_bytes()) for name, _, _ in MADE]


def fuzz(count: int, seed: int, folder: Path, keep: Path | None, processes: int = 1) -> list[str]:
    """Run ``count`` files and print what became of them; the failures in words."""
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    slowest = (0.0, "")
    before = descriptors()
    with tempfile.TemporaryDirectory() as made:
        sources = read_sources(folder, Path(made))
    with tempfile.TemporaryDirectory() as scratch:
        pool = DecoderPool(PREPROCESSING, LIMITS, processes, Path(scratch))
        pool.start()
        begun = perf_counter()
        try:
            for index in range(count):
                name, data = mutate(sources, seed, index)
                path = Path(scratch) / name
                path.write_bytes(data)
                started = perf_counter()
                said, failed = outcome(pool, path)
                slowest = max(slowest, (perf_counter() - started, name))
                outcomes[said] += 1
                if failed:
                    failures.append(f"{name}: {said}")
                    if keep:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / name).write_bytes(data)
                path.unlink()
        finally:
            pool.stop()
        taken = perf_counter() - begun
        failures += [f"left behind: {path.name}" for path in Path(scratch).iterdir()]
    failures += [f"a child is left in state {state}" for state in children()]
    if descriptors() != before:
        failures.append(f"{before} descriptors were open before, {descriptors()} are now")
    for said, times in outcomes.most_common():
        print(f"{times:6d}  {said}")
    print(f"{count} files in {taken:.0f} s; the slowest took {slowest[0]:.2f} s: {slowest[1]}")
    return failures


def main(
    count: Annotated[int, typer.Option(min=1)] = 2000,
    seed: int = 0,
    folder: Annotated[Path, typer.Option(exists=True, file_okay=False)] = Path("examples/clips"),
    keep: Annotated[Path | None, typer.Option(help="where files that fail go")] = None,
) -> None:
    """Fuzz, print the counts, and fail if anything failed."""
    failures = fuzz(count, seed, folder, keep)
    for failure in failures:
        print(failure, file=sys.stderr)
    raise typer.Exit(1 if failures else 0)


if __name__ == "__main__":
    typer.run(main)
