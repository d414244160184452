"""Overlapping live windows with and without what they share: the prompt's beginning, and the frames of their overlap.

    python benchmarks/live_windows.py BUNDLE [--threads N] [--runs N] [--hop S]

The same stream of windows (the example clips one after the other) is answered by four pipelines of one bundle, which
take turns. Milliseconds are of the wall; CPU is what the process used. Below that: how many milliseconds a window takes
when several are answered in one batch, which is what `mosear serve --max-batch` does.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated

import numpy as np
import typer

from mosear.runtime.bundle import Bundle
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.windows import Window, read_windows

CLIPS = sorted((Path(__file__).parents[1] / "examples" / "clips").glob("*.mp4"))


def stream(preprocessing: Preprocessing, hop: float) -> Iterator[Window]:
    """Windows over the example clips one after the other, on the grid of live windows, without end."""
    read = [next(read_windows(clip, preprocessing)) for clip in CLIPS]
    frames = np.concatenate([each.frames for each in read if each.frames is not None])
    samples = np.concatenate([each.samples for each in read if each.samples is not None])
    step = preprocessing.window_s / preprocessing.frames
    end = preprocessing.window_s
    while True:
        last = int(end / step + 1e-9)
        keys = tuple(range(last - preprocessing.frames + 1, last + 1))
        begin = round((end - preprocessing.window_s) * preprocessing.sample_rate)
        places = np.arange(begin, begin + preprocessing.window_samples) % len(samples)
        yield Window(
            end - preprocessing.window_s,
            end,
            frames[np.array(keys) % len(frames)],
            samples[places],
            frame_keys=keys,
        )
        end += hop


def sharing(bundle: Bundle, threads: int, runs: int, hop: float) -> None:
    """The four pipelines against each other."""
    pipelines = {
        "neither": Pipeline(bundle, threads=threads, hold_beginning=False),
        "prompt's beginning": Pipeline(bundle, threads=threads),
        "frames": Pipeline(bundle, threads=threads, hold_beginning=False),
        "both": Pipeline(bundle, threads=threads),
    }
    wall: dict[str, list[float]] = {name: [] for name in pipelines}
    cpu: dict[str, list[float]] = {name: [] for name in pipelines}
    labels: dict[str, list[str]] = {name: [] for name in pipelines}
    windows = stream(bundle.manifest.preprocessing, hop)
    for count in range(runs + 5):
        window = next(windows)
        for name, pipeline in pipelines.items():
            given = window if name in ("frames", "both") else replace(window, frame_keys=None)
            began, used = perf_counter(), process_time()
            labels[name].append(pipeline.analyse(given).label)
            if count >= 5:
                wall[name].append((perf_counter() - began) * 1000)
                cpu[name].append((process_time() - used) * 1000)
    base, base_cpu = statistics.median(wall["neither"]), statistics.mean(cpu["neither"])
    print(f"window {bundle.manifest.preprocessing.window_s:g} s, hop {hop:g} s, {threads} threads, {runs} windows")
    print("| shared | median ms | ratio | CPU ms a window | ratio | labels alike |")
    print("|---|---|---|---|---|---|")
    for name in pipelines:
        median, used = statistics.median(wall[name]), statistics.mean(cpu[name])
        alike = statistics.mean(a == b for a, b in zip(labels[name], labels["neither"], strict=True))
        print(f"| {name} | {median:.2f} | {median / base:.2f} | {used:.2f} | {used / base_cpu:.2f} | {alike:.1%} |")


def batching(bundle: Bundle, threads: int, runs: int) -> None:
    """Windows in one batch against windows one by one."""
    pipeline = Pipeline(bundle, threads=threads)
    windows = stream(bundle.manifest.preprocessing, bundle.manifest.preprocessing.window_s)
    some = [replace(next(windows), frame_keys=None) for _ in range(8)]
    sizes = (1, 2, 4, 8)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for count in range(max(3, runs // 8) + 2):
        for size in sizes:
            began = perf_counter()
            for start in range(0, 8, size):
                pipeline.analyse_many(some[start : start + size], [""] * size)
            if count >= 2:
                times[size].append((perf_counter() - began) * 1000 / 8)
    base = statistics.median(times[1])
    print("\n| windows in a batch | median ms a window | ratio |")
    print("|---|---|---|")
    for size in sizes:
        median = statistics.median(times[size])
        print(f"| {size} | {median:.2f} | {median / base:.2f} |")


def main(
    bundle: Annotated[Path, typer.Argument()],
    threads: Annotated[int, typer.Option(min=1)] = 1,
    runs: Annotated[int, typer.Option(min=3)] = 200,
    hop: Annotated[float, typer.Option()] = 1.0,
) -> None:
    """Measure and print medians and ratios."""
    opened = Bundle.open(bundle)
    sharing(opened, threads, runs, hop)
    batching(opened, threads, runs)


if __name__ == "__main__":
    typer.run(main)
