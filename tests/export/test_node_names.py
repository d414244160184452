"""Nodes named by their layers: told against the weights that they read and the hidden states that they come from."""

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from small_decoders import LAYERS, exported
from tensorrt_decoders import FORMS

from mosear.export.build import save
from mosear.export.graphs.encoders import export_audio, export_vision
from mosear.export.layers.segments import TELEMETRY
from mosear.export.lowering import onnxruntime as for_onnxruntime
from mosear.export.lowering import standard, standard_weights, tensorrt
from mosear.export.lowering.rewriting import keep_needed, without_weights
from mosear.export.lowering.weights import AUDIO, DECODE, LABELS, VISION
from mosear.export.lowering.weights import PREFILL as PREFILL_FILE
from mosear.export.node_names import name_nodes
from mosear.export.parts import Part, Parts
from mosear.export.precision import product_weights
from mosear.export.quantization.quantize import quantize as for_onnxruntime_quantize
from mosear.export.tensors import Weights, attach, detach

COUNT = 3
"""Layers of the small decoders."""

NAME = re.compile(r"(?:layers\.(\d+)|head|shared|stem)/([A-Za-z]+)_(\d+)")
STEM, BEHIND = -1, 99

Graph = tuple[ModelProto, Weights]


def quantized(quantize: Callable[..., Graph], form: str, graph: ModelProto, **settings: Any) -> ModelProto:
    _, weights = detach(exported("qwen3").graph)
    formats = dict.fromkeys((name for name in product_weights(graph) if name in weights), form)
    return quantize(graph, weights, formats, None, **settings)[0]


PREFILL: dict[str, Callable[[ModelProto], ModelProto]] = {
    "onnxruntime": lambda model: for_onnxruntime.lower(model, "prefill"),
    "standard": lambda model: standard.lower(model, "prefill"),
    "tensorrt": lambda model: tensorrt.lower(model, "prefill", FORMS["native"], 64),  # type: ignore[arg-type]
}
DECODERS: dict[str, Callable[[ModelProto], ModelProto]] = {
    **PREFILL,
    "onnxruntime decode": lambda model: for_onnxruntime.lower(model, "decode"),
    "tensorrt written out": lambda model: tensorrt.lower(model, "prefill", FORMS["plain"], 64),  # type: ignore[arg-type]
    "onnxruntime int8": lambda model: quantized(
        for_onnxruntime_quantize, "int8", PREFILL["onnxruntime"](model), minimum_size=1
    ),
    "standard int8": lambda model: quantized(standard_weights.quantize, "int8", PREFILL["standard"](model)),
}


@cache
def decoder(kind: str) -> ModelProto:
    """A lowered decoder; it must not be changed."""
    structure, _ = detach(exported("qwen3").graph)
    return DECODERS[kind](structure)


def places(model: ModelProto) -> list[tuple[str, int | None]]:
    """What stands before the slash of each name, and the layer in it; every name keeps to the form."""
    found = []
    for node in model.graph.node:
        match = NAME.fullmatch(node.name)
        assert match, node.name
        assert match[2] == node.op_type
        found.append((node.name.split("/")[0], int(match[1]) if match[1] else None))
    return found


def unnamed(model: ModelProto) -> bytes:
    bare = ModelProto()
    bare.CopyFrom(model)
    for node in bare.graph.node:
        node.name = ""
    return bare.SerializeToString(deterministic=True)


def read_by(node: onnx.NodeProto, pattern: str) -> set[str]:
    return {match[1] for name in node.input if (match := re.search(pattern, name))}


@pytest.mark.parametrize("kind", DECODERS)
def test_nothing_but_names_changes(kind: str) -> None:
    model = decoder(kind)
    before = model.SerializeToString(deterministic=True)
    named = name_nodes(model)
    assert model.SerializeToString(deterministic=True) == before
    assert unnamed(named) == unnamed(model)
    names = [node.name for node in named.graph.node]
    assert len(set(names)) == len(names)
    assert name_nodes(named) == named


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoders_layers_are_those_of_its_weights(kind: str) -> None:
    named = name_nodes(decoder(kind))
    seen = set()
    for node, (folder, layer) in zip(named.graph.node, places(named), strict=True):
        if weights := read_by(node, r"^model\.layers\.(\d+)\."):
            assert {str(layer)} == weights, node.name
            seen.add(layer)
        if read_by(node, r"^((?:lm_head|model\.norm)\..*)"):
            assert folder == "head", node.name
    assert seen == set(range(COUNT))


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoders_layers_are_between_its_hidden_states(kind: str) -> None:
    """From which hidden state a value comes, by a walk of its own; the first one is an input that all may read."""
    named = name_nodes(decoder(kind))
    deepest: dict[str, int] = {}
    folders = Counter[str]()
    for node, (folder, layer) in zip(named.graph.node, places(named), strict=True):
        before = max((deepest.get(name, -1) for name in node.input), default=-1)
        made = max((int(name[7:]) for name in node.output if re.fullmatch(r"hidden_\d+", name)), default=-1)
        deepest.update(dict.fromkeys(filter(None, node.output), max(before, made)))
        folders[folder] += 1
        if layer is not None:
            # A norm that makes the next hidden state along with its own value belongs to the next layer.
            assert before in (-1, layer) or (before == made - 1 == layer - 1 and len(node.output) > 1), node.name
        elif folder == "head":
            assert before in (-1, COUNT) or made == COUNT, node.name
    readers: dict[str, set[str]] = {}
    for node, (folder, _) in zip(named.graph.node, places(named), strict=True):
        for name in node.input:
            readers.setdefault(name, set()).add(folder)
    telemetry = set()
    for node, (folder, _) in zip(named.graph.node, places(named), strict=True):
        from_layers = any(deepest.get(name, -1) > 0 for name in node.input)
        if folder == "shared" and from_layers:
            telemetry.add(node.op_type)
        elif folder == "shared":
            around = set().union(*(readers.get(name, set()) for name in node.output))
            assert len(around) > 1 or around == {"shared"}, node.name
    assert "Concat" in telemetry
    assert set(folders) == {"shared", "head", *(f"layers.{layer}" for layer in range(COUNT))}
    # The reallocating layers do the same; the one between them does less.
    assert LAYERS == (0, 2)
    assert folders["layers.1"] > 10


def test_a_decoder_without_telemetry_joins_nothing() -> None:
    model = without_weights(decoder("onnxruntime"))
    for output in [each for each in model.graph.output if each.name in TELEMETRY]:
        model.graph.output.remove(output)
    keep_needed(model.graph, decoder("onnxruntime").graph.initializer)
    named = name_nodes(model)
    assert len(named.graph.node) < len(decoder("onnxruntime").graph.node)
    after: set[str] = set()
    for node, (folder, _) in zip(named.graph.node, places(named), strict=True):
        if after.intersection(node.input) or any(re.fullmatch(r"hidden_[1-9]\d*", name) for name in node.output):
            after.update(filter(None, node.output))
            assert folder != "shared", node.name


VIDEO = {
    "model_type": "videomae", "num_frames": 4, "tubelet_size": 2, "image_size": 32, "patch_size": 8, "hidden_size": 16,
    "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
HUBERT = {
    "model_type": "hubert", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [160, 2],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
ENCODERS = {"videomae": ("vision", VIDEO), "hubert": ("audio", HUBERT)}
"""Their weights are called ``layer.0`` and ``layers.0``; the second has ``conv_layers.0`` besides."""


@cache
def encoder(make: Callable[..., Any], name: str) -> ModelProto:
    """An encoder of two layers; it must not be changed."""
    which, values = ENCODERS[name]
    model = make(**{which: values})
    return export_vision(model) if which == "vision" else export_audio(model)


@pytest.mark.parametrize("lowering", ["none", "standard", "tensorrt"])
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoders_layers_are_those_of_its_products(tiny_model: Callable[..., Any], name: str, lowering: str) -> None:
    model = encoder(tiny_model, name)
    if lowering == "standard":
        model = standard.lower_encoder(model)
    elif lowering == "tensorrt":
        model = tensorrt.lower_encoder(model, FORMS["plain"])
    named = name_nodes(model)
    assert unnamed(named) == unnamed(model)
    rank: dict[str, int] = {}
    seen = Counter[str]()
    for node, (folder, layer) in zip(named.graph.node, places(named), strict=True):
        place = BEHIND if folder == "head" else STEM if folder == "stem" else layer
        assert place is not None, node.name
        # Nothing goes back to a layer that is done.
        assert place >= max((rank.get(value, STEM) for value in node.input), default=STEM), node.name
        rank.update(dict.fromkeys(node.output, place))
        seen[folder] += 1
        # Fresh norms and biases are equal in all layers and stored once; products' weights are random.
        if node.op_type in ("MatMul", "Gemm"):
            if weights := read_by(node, r"\.layers?\.(\d+)\."):
                assert weights == {str(layer)}, node.name
            elif read_by(node, r"^(encoder\.pool|projector\.weight)$"):
                assert folder == "head", node.name
        if node.op_type == "Conv":
            assert folder == "stem", node.name
    assert set(seen) == {"stem", "layers.0", "layers.1", "head"}
    # Both layers are alike; where the next norm is stored under the first one's name, it goes with the layer before.
    assert abs(seen["layers.0"] - seen["layers.1"]) <= 2
    assert seen["head"] <= 5


def test_an_encoder_without_layers_is_all_stem() -> None:
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "projector.weight")
    nodes = [helper.make_node("MatMul", ["x", "projector.weight"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    named = name_nodes(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])))
    assert [node.name for node in named.graph.node] == ["stem/MatMul_0"]


def test_a_named_graph_gives_the_same_numbers_and_its_profile_tells_layers(tmp_path: Path) -> None:
    graph, weights = detach(exported("qwen3").graph)
    lowered = for_onnxruntime.lower(graph, "decode")
    outputs = []
    for number, model in enumerate((lowered, name_nodes(lowered))):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = bool(number)
        options.profile_file_prefix = str(tmp_path / "profile")
        whole = attach(model, weights).SerializeToString()
        session = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
        random = np.random.default_rng(0)
        feeds = {}
        for given in session.get_inputs():
            if given.type == "tensor(int64)":
                feeds[given.name] = random.integers(0, 3, (2, 9 if given.name == "key_modality" else 1))
            else:
                shape = (2, 1, 48) if given.name == "inputs_embeds" else (2, given.shape[1], 20, given.shape[3])
                feeds[given.name] = random.normal(size=shape).astype(np.float32)
        outputs.append(session.run(None, feeds))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    names = [event["name"] for event in events if event["name"].endswith("_kernel_time")]
    told = [re.search(r"\b(layers\.\d+|head|shared)/", name) for name in names]
    assert len(names) > 50
    assert sum(match is not None for match in told) > 0.95 * len(names)
    assert {match[1] for match in told if match} == {"head", "shared", *(f"layers.{n}" for n in range(COUNT))}


def test_graphs_are_named_when_they_are_saved(tmp_path: Path, tiny_model: Callable[..., Any]) -> None:
    def part(model: ModelProto, weights: Weights) -> Part:
        return Part(model, weights, {}, model, weights)

    weights = detach(exported("qwen3").graph)[1]
    vision, audio = (part(*detach(encoder(tiny_model, name))) for name in ENCODERS)
    prefill, decode = (part(decoder(kind), weights) for kind in ("onnxruntime", "onnxruntime decode"))
    save(Parts(vision, audio, prefill, decode, prefill, [1], False), tiny_model(), tmp_path, lambda *_: None)
    files = {path.name: path for path in tmp_path.glob("*.onnx")}
    made = {VISION: vision, AUDIO: audio, PREFILL_FILE: prefill, DECODE: decode, LABELS: prefill}
    assert files.keys() == made.keys()
    for name, source in made.items():
        saved = onnx.load(files[name], load_external_data=False)
        assert [node.name for node in saved.graph.node] == [node.name for node in name_nodes(source.graph).graph.node]
        assert {layer for _, layer in places(saved)} == {None, *range(2 if source in (vision, audio) else COUNT)}
