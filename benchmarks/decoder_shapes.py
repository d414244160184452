"""What MoSE and attention reallocation cost in a decoder of Qwen2.5-0.5B's shape: a graph with both, and with neither.

    python benchmarks/decoder_shapes.py CACHE [--rounds N] [--threads N] [--prefill PRECISION] [--decode PRECISION]

Prefill takes a prompt of 384 tokens (256 visual, 64 audio), decode goes on from it, one token at a time. The contenders
take turns, in another order every round, so that a slow moment of the machine hits them alike. CACHE keeps the models
(2 GB of weights and 0.3 to 2 GB for each graph); the first run makes them, in minutes and about 4 GB of memory. Prints
Markdown: medians over the rounds, ratios to the plain graph, and the head of the whole vocabulary beside the labels'.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import onnxruntime
import typer
from half_billion import PROMPT, Build, Runner, built, prompt_feeds, step_feeds, stored_bytes

WARM_UP = 2


def in_turns(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of what each contender returns; turns are taken in another order every round."""
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + WARM_UP):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            value = contenders[name]()
            if number >= WARM_UP:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def decode_steps(runner: Runner, steps: int) -> Callable[[], float]:
    """Seconds a token over the first ``steps`` tokens behind the prompt."""
    feeds = [step_feeds(step) for step in range(steps)]
    return lambda: sum(runner.run(each) for each in feeds) / steps


def main(
    cache: Annotated[Path, typer.Argument(help="folder for the models")],
    rounds: Annotated[int, typer.Option(min=3)] = 15,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    steps: Annotated[int, typer.Option(min=1, help="decode steps a turn")] = 16,
    prefill: Annotated[str, typer.Option(help="fp32, int8 or int4")] = "int8",
    decode: Annotated[str, typer.Option(help="fp32, int8 or int4")] = "int4",
) -> None:
    """Build what is missing, measure, and print the tables."""
    cache.mkdir(parents=True, exist_ok=True)
    plain, full = Build("prefill", prefill, mosear=False), Build("prefill", prefill)
    labels = Build("prefill", prefill, labels=True)
    plain_step, full_step = Build("decode", decode, mosear=False), Build("decode", decode)
    paths = built(cache, [plain, full, labels, plain_step, full_step])
    print(f"ONNX Runtime {onnxruntime.__version__}, {PROMPT} tokens, {rounds} rounds, threads: {threads}; medians\n")

    runners = {build: Runner(paths[build], threads) for build in (plain, full, labels)}
    prompt = prompt_feeds()
    times = in_turns({build.name: partial(runner.run, prompt) for build, runner in runners.items()}, rounds)
    caches = {plain_step: runners[plain], full_step: runners[full]}
    steppers = {build: Runner(paths[build], threads, share) for build, share in caches.items()}
    runners.clear()
    times |= in_turns({build.name: decode_steps(runner, steps) for build, runner in steppers.items()}, rounds)
    print("| | neither, ms | MoSE and AR, ms | ratio |\n|---|---|---|---|")
    for kind, without, both in ((f"prefill, {prefill}", plain, full), (f"decode, {decode}", plain_step, full_step)):
        one, two = times[without.name], times[both.name]
        print(f"| {kind} | {1000 * one:.1f} | {1000 * two:.1f} | {two / one:.3f} |")
    print("\n| head of the prefill | ms | stored, MB |\n|---|---|---|")
    for kind, build in (("whole vocabulary", full), ("labels", labels)):
        print(f"| {kind} | {1000 * times[build.name]:.1f} | {stored_bytes(paths[build]) / 1e6:.0f} |")


if __name__ == "__main__":
    typer.run(main)
