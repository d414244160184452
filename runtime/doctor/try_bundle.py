"""In the child: answers of a bundle to a made-up window, how long they took and how much memory."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.memory import peak_bytes
from mosear.runtime.bundle import Bundle
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.windows import Window


def answers(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the time to open, the first and the second answer, whether they are equal, and the peak of memory.

    question: ``bundle``, its folder, whose files were checked before; ``threads`` or None.
    """
    began = perf_counter()
    bundle = Bundle.open(Path(question["bundle"]), verify=False)
    pipeline = Pipeline(bundle, question["threads"])
    yield {"open_ms": (perf_counter() - began) * 1000}
    window = made_up_window(bundle.manifest.preprocessing)
    told = []
    for name in ("first_ms", "second_ms"):
        began = perf_counter()
        emotion = pipeline.analyse(window)
        yield {name: (perf_counter() - began) * 1000}
        told.append({**emotion.to_dict(), "timings_ms": None})
    scores = np.array(list(emotion.scores.values()))
    yield {
        "repeats": told[0] == told[1],
        "sums_to_one": bool(np.isfinite(scores).all() and abs(scores.sum() - 1) < 1e-3),
        "labels": len(scores),
        "peak_bytes": peak_bytes(Machine()),
    }


def made_up_window(preprocessing: Preprocessing) -> Window:
    """Noise and a hum: neither black nor silent, and the same every time."""
    random = np.random.default_rng(11)
    size = preprocessing.frame_size
    frames = random.integers(0, 256, (preprocessing.frames, size, size, 3), dtype=np.uint8)
    times = np.arange(preprocessing.window_samples) / preprocessing.sample_rate
    hum = 0.1 * np.sin(2 * np.pi * 140 * times) + 0.01 * random.normal(size=times.shape)
    return Window(0.0, preprocessing.window_s, frames, hum.astype(np.float32))
