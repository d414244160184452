"""`mosear watch` at real speed: does it keep up with its hop, with how much CPU, and how soon is the first answer.

    python benchmarks/live_watch.py BUNDLE [--seconds N] [--hop S] [--size WxH] [--fps N] [--cores N]

The example clips are joined and scaled to a camera's size and rate (H.264 with sound, so decoding is part of the
load), and played in a loop in the place of a camera. CPU is that of the process and its threads over all windows after
the first, in % of one core. A start's first answer is also measured for `mosear run` and `mosear serve`, warm: the
second of two starts, files in the page cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from fractions import Fraction
from pathlib import Path
from time import perf_counter, sleep
from typing import Annotated, Any

import av
import psutil
import typer

CLIPS = sorted((Path(__file__).parents[1] / "examples" / "clips").glob("*.mp4"))
MOSEAR = [sys.executable, "-m", "mosear.runtime.cli"]


def camera_like(path: Path, size: tuple[int, int], fps: int) -> None:
    """The example clips, joined, at a camera's size and rate."""
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio: Any = out.add_stream("aac", rate=16000, layout="mono")
        shown = heard = 0
        for clip in CLIPS:
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    until = shown + 1 if frame.time is None else round((CLIPS.index(clip) * 3 + frame.time) * fps) + 1
                    scaled = frame.reformat(*size, format="yuv420p")
                    while shown < until:
                        scaled.pts, scaled.time_base = shown, Fraction(1, fps)
                        out.mux(video.encode(scaled))
                        shown += 1
            with av.open(str(clip)) as source:
                resampler = av.AudioResampler("fltp", "mono", 16000)
                for sound in source.decode(audio=0):
                    for piece in resampler.resample(sound):
                        piece.pts, piece.time_base = heard, Fraction(1, 16000)
                        heard += piece.samples
                        out.mux(audio.encode(piece))
        for stream in (video, audio):
            out.mux(stream.encode(None))


def watch(bundle: Path, film: Path, seconds: float, hop: float, cores: int, extra: list[str]) -> None:
    """Run it, and print what it did."""
    command = [
        *MOSEAR,
        "watch",
        str(bundle),
        "--camera",
        str(film),
        "--loop",
        "--hop",
        str(hop),
        "--format",
        "jsonl",
        *extra,
    ]
    began = perf_counter()
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process.cpu_affinity(list(range(cores)))
    first = json.loads(process.stdout.readline())
    to_first = perf_counter() - began
    used, since = process.cpu_times(), perf_counter()
    answers = [first]
    while perf_counter() - since < seconds:
        answers.append(json.loads(process.stdout.readline()))
    after, took = process.cpu_times(), perf_counter() - since
    memory = process.memory_info().rss / 1e6
    process.terminate()
    process.wait()
    share = (after.user + after.system - used.user - used.system) / took
    latency = sorted(each["live"]["latency_ms"] for each in answers)
    model = sorted(each["timings_ms"]["total"] for each in answers)
    dropped = sum(each["live"]["dropped"] for each in answers)
    print(f"watch {' '.join(extra)}: {len(answers)} answers in {took:.0f} s, dropped {dropped}")
    print(
        f"  CPU {share:.1%} of one core, resident {memory:.0f} MB, first answer after {to_first:.2f} s (hop {hop:g} s)"
    )
    print(
        f"  latency p50 {latency[len(latency) // 2]:.0f} ms, p95 {latency[int(len(latency) * 0.95)]:.0f} ms; "
        f"model p50 {model[len(model) // 2]:.1f} ms"
    )


def first_answers(bundle: Path) -> None:
    """From the start of the process to the first answer, warm."""
    for _ in range(2):
        began = perf_counter()
        process = subprocess.Popen(
            [*MOSEAR, "run", str(bundle), str(CLIPS[0]), "--format", "jsonl"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        process.stdout.readline()
        took = perf_counter() - began
        process.wait()
    print(f"run: first answer after {took:.2f} s")
    for _ in range(2):
        began = perf_counter()
        server = subprocess.Popen(
            [*MOSEAR, "serve", str(bundle), "--port", "18461"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        while "listening on" not in server.stderr.readline():
            pass
        request = urllib.request.Request("http://127.0.0.1:18461/v1/emotion", data=CLIPS[0].read_bytes(), method="POST")
        urllib.request.urlopen(request).read()
        took = perf_counter() - began
        server.terminate()
        server.wait()
        sleep(0.5)
    print(f"serve: first answer after {took:.2f} s")


def main(
    bundle: Annotated[Path, typer.Argument()],
    seconds: Annotated[float, typer.Option()] = 30.0,
    hop: Annotated[float, typer.Option()] = 1.0,
    size: Annotated[str, typer.Option(help="of the picture")] = "640x480",
    fps: Annotated[int, typer.Option()] = 30,
    cores: Annotated[int, typer.Option()] = 2,
) -> None:
    """Measure and print."""
    width, height = (int(each) for each in size.split("x"))
    os.sched_setaffinity(0, range(cores))
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "camera.mp4"
        camera_like(film, (width, height), fps)
        print(f"{size} at {fps} frames a second, {cores} cores")
        for extra in ([], ["--no-vad"]):
            watch(bundle, film, seconds, hop, cores, extra)
    first_answers(bundle)


if __name__ == "__main__":
    typer.run(main)
