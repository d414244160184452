"""Reports with every section filled, for tests of the page."""

from __future__ import annotations

import random

from mosear.evaluation.metrics.calibration import Bin
from mosear.export.checks.record import Check, Report
from mosear.export.checks.rows import (
    Divergence,
    GateRow,
    HeadsRow,
    Identity,
    Latency,
    LayerRow,
    Reliability,
    SensitivityRow,
    SizeRow,
    SubsetRow,
)


def full_report(layers: int = 3, heads: int = 4, name: str = "example") -> Report:
    """A report of a decoder of this size; no figure in it comes from a model."""
    draw = random.Random(4)

    def bins() -> tuple[Bin, ...]:
        return tuple(Bin(k / 15, (k + 1) / 15, draw.randint(0, 40), draw.random(), draw.random()) for k in range(15))

    def gate(layer: int, projection: str, modality: str) -> GateRow:
        share = draw.uniform(0.2, 0.8)
        mean = {"visual": 0.0, "non_visual": 0.0, "omni": 1 - share} | {modality: share}
        path = f"model.layers.{layer}.self_attn.{projection}"
        return GateRow(path, layer, projection, modality, mean, dict.fromkeys(mean, draw.random() / 50))

    return Report(
        identity=Identity(
            name=name,
            checkpoint="c7" * 32,
            target="cpu",
            backend="onnxruntime",
            precision="mixed",
            precisions={"vision": "fp16", "audio": "int8", "decoder": "int4"},
            mose="merged",
            reallocation="rate 0.05, threshold 0.35, text rows, 3 layers",
            labels=("neutral", "angry"),
            created="2026-01-02T03:04:05+00:00",
            tool_version="9.8.7",
            calibration_clips=917,
            calibration_source="clips of a test",
            calibration_sha256="a1" * 32,
            intended_use="research",
            notice="Reads nobody.",
            licences=("Apache-2.0",),
        ),
        checks=(
            Check("vision tokens, cosine", 0.99987, ">=", 0.9999, "vision", "fp16", 60),
            Check("heads selected alike", 0.9961, ">=", 0.95, "decoder", "int4", 60),
            Check("accuracy lost, consistent", 0.031, "<=", 0.01, "whole", "int4", 100, 0.0287),
            Check("modality gap, PyTorch", 0.213, "<=", None, "PyTorch", "fp32", 200),
        ),
        examples=313,
        numeric_examples=61,
        accuracy={
            "audio_aligned": SubsetRow(101, 0.9109, 0.9208, 0.9703, 1, 2),
            "video_aligned": SubsetRow(99, 0.7071, 0.6869, 0.9596, 3, 1),
        },
        reliability=Reliability(1.19, 300, bins(), bins(), 0.0376, 0.0278, 0.00417),
        divergence=Divergence(313, 0.9968, 1.239e-4, 6.22e-3),
        gates=tuple(
            gate(layer, projection, modality)
            for layer in range(layers)
            for projection in ("q_proj", "v_proj")
            for modality in ("visual", "non_visual")
        ),
        heads=tuple(HeadsRow(i, tuple(draw.random() for _ in range(heads)), draw.random()) for i in range(layers)),
        layers=tuple(LayerRow(i, 1 - draw.random() / 100, draw.random(), draw.random(), 0.998) for i in range(layers)),
        sensitivity=tuple(
            SensitivityRow(f"layer {i}", "int4", 1000 + i, draw.random(), draw.random(), draw.random())
            for i in range(layers)
        ),
        sizes=(
            SizeRow("vision", "fp16", {"vision.onnx": 1108864}, 2217728),
            SizeRow("decoder", "int4", {"decoder.weights": 901120, "decoder_prefill.onnx": 32123}, 7206656),
            SizeRow("tokenizer", "", {"tokenizer.json": 39236}, 0),
        ),
        latency=Latency(
            2,
            59,
            {"vision": 5.263, "audio": 3.428, "prefill": 8.788, "labels": 0.1328, "total": 17.76},
            {"vision": 13.01, "audio": 6.869, "prefill": 26.42, "labels": 0.2335, "total": 46.85},
        ),
    )
