"""What signatures say is what the exported graphs have, and what the PyTorch modules take and give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch

from mosear.export.graphs.decoder import ExportableDecoder, export_decoder
from mosear.export.graphs.encoders import export_audio, export_vision
from mosear.export.graphs.signatures import (
    EXAMPLE_SIZES,
    GraphSignature,
    TensorSignature,
    decoder_signature,
    signatures,
)
from mosear.model.reallocation import Reallocation

VIDEO = {
    "model_type": "videomae",
    "image_size": 32,
    "patch_size": 16,
    "num_frames": 4,
    "tubelet_size": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def found_in(model: onnx.ModelProto) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    def read(value: onnx.ValueInfoProto) -> tuple[Any, ...]:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        return value.name, dtype, tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)

    return [read(value) for value in model.graph.input], [read(value) for value in model.graph.output]


def stated(signature: GraphSignature) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    def row(tensor: TensorSignature) -> tuple[Any, ...]:
        return tensor.name, tensor.dtype, tensor.shape

    return [row(tensor) for tensor in signature.inputs], [row(tensor) for tensor in signature.outputs]


def test_the_exported_graphs_have_the_stated_names_order_types_and_axes(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model()
    said = signatures(model.config)
    assert found_in(export_vision(model)) == stated(said["vision"])
    assert found_in(export_audio(model)) == stated(said["audio"])
    assert found_in(export_decoder(model.decoder, reallocation=model.reallocation)) == stated(said["prefill"])


def test_without_reallocation_a_graph_has_no_telemetry(tiny_model: Callable[..., Any]) -> None:
    decoder = {"model_type": "llama", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1,
               "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 10, "vocab_size": 400}  # fmt: skip
    model = tiny_model(decoder=decoder, reallocation=None, mose=None)
    assert found_in(export_decoder(model.decoder, low_rank=False)) == stated(signatures(model.config)["decode"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"vision": VIDEO, "visual_grid": 2, "audio_tokens": 5},
        {"reallocation": {"rate": 0.5, "threshold": 0.2, "layers": [1]}},
        {"decoder": {"model_type": "llama", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3,
                     "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 10, "vocab_size": 400}},
    ],
    ids=["images", "video", "one layer reallocates", "llama with its own head size"],
)  # fmt: skip
@torch.no_grad()
def test_pytorch_takes_and_gives_the_stated_shapes(tiny_model: Callable[..., Any], changes: dict[str, Any]) -> None:
    model = tiny_model(**changes)
    model.decoder.set_attn_implementation("mosear")
    for component, signature in signatures(model.config).items():
        sizes = {**EXAMPLE_SIZES, "sequence": 1, "total": 4} if component == "decode" else EXAMPLE_SIZES
        given = {
            tensor.name: torch.zeros(tensor.example_shape(sizes), dtype=getattr(torch, tensor.dtype))
            for tensor in signature.inputs
        }
        made = forward(model, component, given)
        assert [tuple(tensor.shape) for tensor in made] == [t.example_shape(sizes) for t in signature.outputs]


def forward(model: Any, component: str, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """A component of the PyTorch model on named inputs, outputs in the graph's order."""
    if component == "vision":
        return [model.visual_projector(model.vision(given["frames"]))]
    if component == "audio":
        return [model.audio_projector(model.audio(given["samples"]))]
    layers = range(model.decoder.config.num_hidden_layers)
    past = [(given[f"past_key_{layer}"], given[f"past_value_{layer}"]) for layer in layers]
    leading = [given[name] for name in ("inputs_embeds", "position_ids", "key_modality")]
    made = ExportableDecoder(model.decoder, model.reallocation)(*leading, past)
    # The module also gives the hidden states, which are no outputs of the graph and come last.
    return list(made)[: 1 + 2 * len(past) + (3 if model.reallocation is not None else 0)]


def test_a_half_precision_decoder_has_only_its_cache_in_half_precision(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model()
    signature = decoder_signature(model.decoder.config, 2, cache_dtype="float16")
    half = {tensor.name for tensor in [*signature.inputs, *signature.outputs] if tensor.dtype == "float16"}
    assert half == {
        f"{when}_{kind}_{layer}" for when in ("past", "present") for kind in ("key", "value") for layer in (0, 1)
    }


def test_a_layer_that_does_not_exist_is_an_error(tiny_model: Callable[..., Any]) -> None:
    config = tiny_model().config
    object.__setattr__(config, "reallocation", Reallocation(0.1, 0.5, layers=(7,)))
    with pytest.raises(ValueError, match="layer 7 does not exist"):
        signatures(config)


def test_a_symbol_without_a_size_is_an_error() -> None:
    tensor = TensorSignature("x", "float32", ("batch", 3, "other"))
    assert tensor.dynamic_axes == {0: "batch", 2: "other"}
    with pytest.raises(KeyError, match="other"):
        tensor.example_shape()
