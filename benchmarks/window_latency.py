"""One window, end to end: the bundles (fp32, int8) against the PyTorch model in eager mode, same threads, same run.

    python benchmarks/window_latency.py fp32=BUNDLE int8=BUNDLE --checkpoint reference [--threads N] [--runs N]

A run answers one decoded window with all that an answer holds: label scores with all modalities, with the picture only
and with the sound only. The contenders take turns, so that a slow moment of the machine hits them alike. Memory is
measured apart, in a process that only runs `mosear run`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated

import psutil
import torch
import typer

from mosear.export.clips import synthetic_examples
from mosear.model.checkpoint import load_checkpoint
from mosear.model.modeling import Mosear
from mosear.runtime.bundle import Bundle
from mosear.runtime.modality import Modality
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.windows import Window


@torch.no_grad()
def eager(model: Mosear, window: Window) -> torch.Tensor:
    """Label log-probabilities [3, labels] of the three rows (all, picture only, sound only), in one batch."""
    visual = model.encode_visual(torch.from_numpy(window.frames)[None]).expand(3, -1, -1)
    audio = model.encode_audio(torch.from_numpy(window.samples)[None]).expand(3, -1, -1)
    sequence = model.sequence([window.transcript] * 3, "emotion", visual, audio)
    for row, hidden in ((1, Modality.AUDIO), (2, Modality.VISUAL)):
        sequence.modality[row].masked_fill_(sequence.modality[row] == hidden, int(Modality.HIDDEN))
    labels = [ids[0] for ids in model.label_token_ids()]
    return model(sequence, keep=1)[:, 0].log_softmax(-1)[:, labels]


def peak_memory(bundle: Path, clip: Path) -> float:
    """Peak resident memory of ``mosear run``, in MB, sampled every 5 ms."""
    command = [sys.executable, "-m", "mosear.runtime.cli", "run", str(bundle), str(clip), "--format", "jsonl"]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.Error:
            break
        try:
            process.wait(0.005)
        except psutil.TimeoutExpired:
            continue
    return peak / 1e6


def main(
    bundles: Annotated[list[str], typer.Argument(help="NAME=BUNDLE")],
    checkpoint: Annotated[str, typer.Option(help="the PyTorch model")] = "reference",
    threads: Annotated[int, typer.Option(min=1)] = 2,
    runs: Annotated[int, typer.Option(min=3)] = 60,
    clip: Annotated[Path | None, typer.Option(help="measure memory of `mosear run` on this clip")] = None,
) -> None:
    """Measure and print medians and ratios."""
    torch.set_num_threads(threads)
    model = load_checkpoint(checkpoint)
    examples = synthetic_examples(model.config, 18)
    contenders: dict[str, Callable[[int], object]] = {
        "PyTorch eager": lambda i: eager(model, examples[i % len(examples)].window)
    }
    for item in bundles:
        name, _, path = item.partition("=")
        pipeline = Pipeline(Bundle.open(Path(path)), threads=threads)
        contenders[name] = lambda i, p=pipeline: p.analyse(examples[i % len(examples)].window)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(runs + 5):
        for name, call in contenders.items():
            start = perf_counter()
            call(run)
            if run >= 5:
                times[name].append(1000 * (perf_counter() - start))
    slow = statistics.median(times["PyTorch eager"])
    print(f"{runs} windows each, {threads} threads\n\n| | median ms | p90 ms | times as fast |\n|---|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.1f} | {statistics.quantiles(values, n=10)[8]:.1f} | {slow / median:.2f} |")
    if clip:
        for item in bundles:
            name, _, path = item.partition("=")
            print(f"\npeak memory of `mosear run`, {name}: {peak_memory(Path(path), clip):.0f} MB")


if __name__ == "__main__":
    typer.run(main)
