"""Profiles with every part filled, for tests of the forms; no figure in them comes from a model."""

from __future__ import annotations

import random
from typing import Any

from mosear.runtime.profiling.compare import FASTER, SLOWER, UNSEEN, Comparison, Contrast
from mosear.runtime.profiling.record import STAGES, Energy, Memory, Operator, Profile, Reading, Span

_TYPICAL = {
    "capture": 2.1,
    "media_decode": 14.0,
    "preprocess": 3.4,
    "vision": 9.5,
    "audio": 4.2,
    "prefill": 41.0,
    "label_scoring": 1.3,
    "text_prefill": 22.0,
    "token_decode": 180.0,
}


def full_profile(runs: int = 30, warmup: int = 3, layers: int = 6, name: str = "reference-int8") -> Profile:
    """A profile of an Orin Nano that warms up while it is measured."""
    draw = random.Random(11)
    samples: dict[str, list[float]] = {stage: [] for stage in _TYPICAL}
    samples |= {"end_to_end": [], "time_to_first_token": [], "inter_token_latency": []}
    samples |= {"output_token_throughput": [], "real_time_factor": []}
    spans: list[Span] = []
    now = 2.0
    for run in range(-warmup, runs):
        start = now
        times = {stage: ms * draw.lognormvariate(0.0, 0.08) for stage, ms in _TYPICAL.items()}
        for stage, ms in times.items():
            spans.append(Span(stage, run, now, ms / 1000))
            now += ms / 1000
        if run >= 0:
            whole = sum(times[stage] for stage in STAGES[:-1]) + draw.uniform(0.5, 1.5)
            tokens = [times["token_decode"] / 8 * draw.uniform(0.9, 1.1) for _ in range(8)]
            for stage, ms in times.items():
                samples[stage].append(ms)
            samples["end_to_end"].append(whole)
            samples["time_to_first_token"].append(whole - 12.0)
            samples["inter_token_latency"] += tokens
            samples["output_token_throughput"].append(8000 / sum(tokens))
            samples["real_time_factor"].append(whole / 3000)
        now = start + sum(times.values()) / 1000 + 0.002
    return Profile(
        bundle=_bundle(name),
        clip="built-in, 3 s",
        settings={"runs": runs, "warmup": warmup, "threads": None, "provider": "cpu", "tokens": 8, "window_s": 3.0},
        scenario={"kind": "single-stream"},
        samples=samples,
        units=dict.fromkeys(samples, "ms") | {"output_token_throughput": "tokens/s", "real_time_factor": "ratio"},
        cold_start={
            "imports": [412.0, 431.5],
            "opening": [88.1, 79.4],
            "graphs": [641.0, 655.2],
            "first answer": [97, 96],
        },
        memory=[
            Memory("process", 812_345_678, "VmHWM of /proc/self/status, reset before the runs"),
            Memory("device", 1_204_000_000, "cuMemGetInfo, device-wide, less what was used before loading"),
        ],
        energy=Energy("VDD_IN", "INA3221 every 50 ms", 4.81, 9.37, 0.7214, 0.3511, {"VDD_IN": 9.37, "VDD_SOC": 2.25}),
        timeline=[_reading(draw, 0.1 * step, 2.0) for step in range(int(now / 0.1) + 1)],
        operators=_operators(draw, layers),
        operators_method="ONNX Runtime's own profile, 5 runs",
        spans=spans,
        context=_context(),
        warnings=["clocks are not locked: run sudo jetson_clocks", "power mode is 15W, not MAXN_SUPER"],
        created="2026-11-29T06:15:00Z",
    )


def _bundle(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"demo/{name}",
        "sha256": "5f" * 32,
        "target": "cpu",
        "precision": "int8",
        "backend": "onnxruntime",
    }


def _reading(draw: random.Random, time: float, busy_from: float) -> Reading:
    busy = time >= busy_from
    power = draw.gauss(9.4 if busy else 4.8, 0.2)
    clock = 1510.4 if busy else 729.6
    return Reading(
        time=time,
        power_w={"VDD_IN": power, "VDD_CPU_GPU_CV": power * 0.4, "VDD_SOC": power * 0.24},
        temperature_c={"cpu": 45 + 2 * max(time - busy_from, 0) ** 0.5, "gpu": 44.5, "tj": 46.2},
        clock_mhz={**{f"cpu{core}": clock for core in range(6)}, "gpu": 624.0 if busy else 306.0},
    )


def _operators(draw: random.Random, layers: int) -> list[Operator]:
    found = [Operator("vision", None, "Conv", 1, 1.25), Operator("audio", None, "STFT", 1, 0.75)]
    for graph, scale in (("prefill", 1.0), ("decode", 0.3)):
        for layer in range(layers):
            for operator, ms in (("MatMulInteger", 3.0), ("Softmax", 0.4), ("LayerNormalization", 0.2)):
                found.append(Operator(graph, layer, operator, 4, scale * ms * draw.uniform(0.8, 1.2)))
        found.append(Operator(graph, None, "Gather", 2, 0.111))
    return found


def _context() -> dict[str, Any]:
    return {
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "jetpack": "6.2.1",
        "power_mode": {"name": "15W", "number": 0},
        "clocks_locked": False,
        "governor": "schedutil",
        "temperatures": {"cpu": 45.0, "gpu": 44.5},
        "git_commit": None,
        "versions": {"mosear": "0.1.0", "onnxruntime": "1.23.0"},
        "after": {"temperatures": {"cpu": 51.25, "gpu": 44.5}, "throttled": False},
    }


def full_comparison() -> Comparison:
    """A faster B, whose prefill is slower, with a metric of each verdict and one that was measured too seldom."""
    found = [
        Contrast("vision", "ms", 9.5, 9.6, 1.0105, 0.991, 1.0302, 30, UNSEEN),
        Contrast("prefill", "ms", 41.0, 45.1, 1.1, 1.0804, 1.1219, 30, SLOWER),
        Contrast("end_to_end", "ms", 76.9, 61.52, 0.8, 0.7813, 0.8207, 30, FASTER),
        Contrast("output_token_throughput", "tokens/s", 44.0, 55.0, 1.25, 1.2203, 1.2811, 30, FASTER),
        Contrast("label_scoring", "ms", 1.3, 1.2, 0.9231, None, None, 3, UNSEEN),
    ]
    return Comparison(
        kind="bundles",
        a=_bundle("reference-int8"),
        b={**_bundle("reference-int4"), "precision": "int4"},
        clip="built-in, 3 s",
        settings={"runs": 30, "warmup": 3, "threads": None, "seed": 7},
        metrics=found,
        method="median of the pairs' ratios, percentile bootstrap, 2000 resamples",
        context={"board": "NVIDIA Jetson Orin Nano Developer Kit", "clocks_locked": False},
        warnings=["clocks are not locked: run sudo jetson_clocks"],
        created="2026-11-29T06:15:00Z",
    )
