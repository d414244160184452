"""A whole model's decoder as the canonical graph, run by ONNX's own reference evaluator, against PyTorch.

PyTorch is the unmerged model with its gates held constant and reallocation in the probability form. It takes the rows
one at a time and without padding; the graph takes them as one batch, padded on the left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from mosear.calibration.gates import GateStatistics, measure_gates
from mosear.calibration.record import Calibration
from mosear.export.clips import synthetic_examples
from mosear.export.graphs.decoder import decoder_weights, trace_decoder
from mosear.export.graphs.signatures import TELEMETRY
from mosear.export.merge import fix_gates, merging
from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE, VERSION
from mosear.export.tensors import attach
from mosear.model.attention import Telemetry
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.model.reallocation import Reallocation
from mosear.runtime.modality import Modality

Arrays = dict[str, NDArray[np.float32]]


@dataclass
class Rows:
    """Prompts [R] with their projected media [R, N, D], and the modality that each of them hides."""

    transcripts: list[str | None]
    visual: torch.Tensor
    audio: torch.Tensor
    hidden: list[Modality | None]


def pytorch(model: Any, gates: GateStatistics | None, rows: Rows) -> Arrays:
    """Last-position logits and telemetry, row by row."""
    fix_gates(model, gates)
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in ("logits", *TELEMETRY)}
    for i, hidden in enumerate(rows.hidden):
        visual = None if hidden == Modality.VISUAL else rows.visual[i : i + 1]
        audio = None if hidden == Modality.AUDIO else rows.audio[i : i + 1]
        telemetry = Telemetry()
        with torch.no_grad():
            sequence = model.sequence([rows.transcripts[i]], "emotion", visual, audio)
            parts["logits"].append(model(sequence, telemetry, keep=1))
        for name in TELEMETRY if telemetry.layers else ():
            parts[name].append(getattr(telemetry, name))
    fix_gates(model, None)
    return {name: torch.cat(values).numpy() for name, values in parts.items() if values}


def evaluate(graph: onnx.ModelProto, model: Any, rows: Rows) -> Arrays:
    """The graph's outputs for all rows as one batch, on an empty past."""
    sequence = model.sequence(rows.transcripts, "emotion", rows.visual, rows.audio)
    for modality, hidden in zip(sequence.modality, rows.hidden, strict=True):
        if hidden is not None:
            modality[modality == hidden] = Modality.HIDDEN
    with torch.no_grad():
        feeds = {
            "inputs_embeds": model.embed(sequence).numpy(),
            "position_ids": sequence.position_ids.numpy(),
            "key_modality": sequence.modality.numpy(),
        }
    for value in graph.graph.input:
        if value.name.startswith("past_"):
            _, heads, _, size = (d.dim_value for d in value.type.tensor_type.shape.dim)
            feeds[value.name] = np.zeros((len(rows.hidden), heads, 0, size), np.float32)
    names = [value.name for value in graph.graph.output]
    return dict(zip(names, ReferenceEvaluator(graph).run(None, feeds), strict=True))


def compare(found: Arrays, wanted: Arrays, tolerance: float) -> None:
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_allclose(found[name], value, atol=tolerance, rtol=0, err_msg=name)


def reallocating_layers(graph: onnx.ModelProto) -> list[int]:
    """Layers of the graph's AttentionReallocation nodes, by the cache that their keys come from."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    nodes = [node for node in graph.graph.node if (node.domain, node.op_type) == (DOMAIN, OP_TYPE)]
    return [int(made_by[node.input[1]].input[0].removeprefix("past_key_")) for node in nodes]


def standard_attention(nodes: Any) -> int:
    return sum((node.domain, node.op_type) == ("", "Attention") for node in nodes)


def assert_contains_the_operator(graph: onnx.ModelProto, layers: list[int], of: int) -> None:
    """One node for each of ``layers``, plain attention in the others, and the operator's body on standard operators."""
    assert DOMAIN == "mosear"
    assert OP_TYPE == "AttentionReallocation"
    assert reallocating_layers(graph) == layers
    assert standard_attention(graph.graph.node) == of - len(layers)
    assert {opset.domain: opset.version for opset in graph.opset_import}[DOMAIN] == VERSION
    assert [(body.domain, body.name) for body in graph.functions] == [(DOMAIN, OP_TYPE)]
    assert {node.domain for node in graph.functions[0].node} == {""}
    assert standard_attention(graph.functions[0].node) == 1
    onnx.checker.check_model(graph)


def sharpen(model: Any) -> None:
    """Make attention far from uniform, or reallocation would move less than the tolerance."""
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if "self_attn" in name and "lora" not in name:
                parameter.mul_(15)


def canonical(model: Any, gates: GateStatistics) -> onnx.ModelProto:
    """The merged decoder's graph with its weights in it."""
    with merging(model, gates) as merged:
        structure = trace_decoder(model.decoder, reallocation=model.reallocation)
        return attach(structure.graph, decoder_weights(model.decoder, structure) | merged.weights)


@pytest.mark.parametrize(("chosen", "layers"), [(None, [0, 1]), ((1,), [1])])
def test_a_small_model(tiny_model: Any, chosen: tuple[int, ...] | None, layers: list[int]) -> None:
    model = tiny_model(seed=1)
    sharpen(model)
    model.reallocation = replace(model.reallocation, layers=chosen)
    torch.manual_seed(7)
    encoded = torch.randn(3, model.visual_tokens, 16), torch.randn(3, 3, 16)
    transcripts: list[str | None] = ["a few words", None, "more words than that"]
    with torch.no_grad():
        gates = measure_gates(model, transcripts, encoded)
        visual, audio = model.visual_projector(encoded[0]), model.audio_projector(encoded[1])
    rows = Rows(transcripts, visual, audio, [None, Modality.AUDIO, Modality.VISUAL])
    wanted = pytorch(model, gates, rows)
    graph = canonical(model, gates)
    assert_contains_the_operator(graph, layers, of=2)
    found = evaluate(graph, model, rows)
    compare(found, wanted, 1e-4)
    np.testing.assert_array_equal(found["selected"], wanted["selected"])

    assert set(wanted["selected"][0].ravel()) == {0.0, 1.0}, "the first row has heads of both kinds"
    assert not wanted["selected"][1:].any(), "with one modality hidden there is nothing to reallocate"
    dynamic = pytorch(model, None, rows)
    model.reallocation = None
    plain = pytorch(model, gates, rows)
    for other, why in ((plain, "reallocation"), (dynamic, "the choice of gates")):
        assert np.abs(other["logits"] - wanted["logits"])[0].max() > 1e-3, f"{why} must show in the logits"


@pytest.mark.slow
def test_the_reference_checkpoint() -> None:
    model = load_checkpoint("reference")
    folder = resolve("reference")
    gates = Calibration.load(folder, checkpoint_hash(folder)).gates
    windows = [example.window for example in synthetic_examples(model.config, 2) for _ in range(3)]
    with torch.no_grad():
        visual = model.encode_visual(torch.stack([torch.from_numpy(window.frames) for window in windows]))
        audio = model.encode_audio(torch.stack([torch.from_numpy(window.samples) for window in windows]))
    hidden = [None, Modality.AUDIO, Modality.VISUAL] * 2
    rows = Rows([window.transcript for window in windows], visual, audio, hidden)
    assert isinstance(model.reallocation, Reallocation), "the reference checkpoint reallocates"
    graph = canonical(model, gates)
    count = model.config.decoder["num_hidden_layers"]
    assert_contains_the_operator(graph, model.reallocation.active_layers(count), of=count)
    wanted = pytorch(model, gates, rows)
    assert set(wanted) == {"logits", *TELEMETRY}
    compare(evaluate(graph, model, rows), wanted, 1e-3)
