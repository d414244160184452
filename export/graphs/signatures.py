"""What goes into each canonical graph and what comes out: names, types and shapes, in the graph's order.

The one place where they are written down: the exports in this folder and the exporter configurations in
`mosear.export.optimum` both read it. A size that is a word is an axis whose length is known only when the graph runs:

    N     clips that an encoder reads together      sequence  present tokens of a row
    batch rows that the decoder reads together      past      tokens of a row in the KV cache
                                                    total     past and present together
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from mosear.model.configuration import MosearConfig

TELEMETRY = ("audio_share", "selected", "modality_mass")
# Sizes to trace with: all differ and none is 0 or 1, which a tracer would take for constants.
EXAMPLE_SIZES: Mapping[str, int] = {"N": 2, "batch": 2, "sequence": 5, "past": 3, "total": 8}


@dataclass(frozen=True)
class TensorSignature:
    """One input or output.

    Attributes:
        name: its name in the graph.
        dtype: as NumPy spells it.
        shape: sizes; a word is the symbol of a dynamic axis.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Symbol of every axis whose length is known only when the graph runs."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}

    def example_shape(self, sizes: Mapping[str, int] = EXAMPLE_SIZES) -> tuple[int, ...]:
        """The shape with every symbol replaced by its size.

        Raises:
            KeyError: a symbol has no size.
        """
        return tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True)
class GraphSignature:
    """Every input and output of one graph, in its order."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return [tensor.name for tensor in self.outputs]


def decoder_configuration(config: MosearConfig) -> Any:
    """The decoder's transformers configuration, with its defaults filled in."""
    values = {key: value for key, value in config.decoder.items() if key != "model_type"}
    return AutoConfig.for_model(config.decoder["model_type"], **values)


def vision_signature(config: MosearConfig) -> GraphSignature:
    """``frames`` [N, f, H, W, 3] → ``visual_embeds`` [N, k, D]; f is 1 for an encoder of images."""
    side, frames = config.preprocessing.frame_size, config.frames_per_clip
    steps = 1
    if config.vision["model_type"] == "videomae":
        steps = frames // _configured(config.vision, "tubelet_size")
    tokens = steps * config.visual_grid**2
    return GraphSignature(
        inputs=(TensorSignature("frames", "uint8", ("N", frames, side, side, 3)),),
        outputs=(TensorSignature("visual_embeds", "float32", ("N", tokens, _width(config))),),
    )


def audio_signature(config: MosearConfig) -> GraphSignature:
    """``samples`` [N, window_samples], 16 kHz mono → ``audio_embeds`` [N, a, D]."""
    return GraphSignature(
        inputs=(TensorSignature("samples", "float32", ("N", config.preprocessing.window_samples)),),
        outputs=(TensorSignature("audio_embeds", "float32", ("N", config.audio_tokens, _width(config))),),
    )


def decoder_signature(decoder: Any, reallocating: int, cache_dtype: str = "float32") -> GraphSignature:
    """The canonical decoder; prefill and decode are the same but for their sizes.

    Args:
        decoder: a transformers configuration of a causal language model.
        reallocating: number of layers that reallocate; without any there is no telemetry.
        cache_dtype: type of the KV cache, the graph's own; everything else stays float32.
    """
    heads, kv_heads = decoder.num_attention_heads, decoder.num_key_value_heads
    size = getattr(decoder, "head_dim", None) or decoder.hidden_size // heads
    entries = [f"{kind}_{layer}" for layer in range(decoder.num_hidden_layers) for kind in ("key", "value")]
    seen: list[tuple[str, tuple[int | str, ...]]] = []
    if reallocating:
        head_shape: tuple[int | str, ...] = ("batch", reallocating, heads)
        seen = list(zip(TELEMETRY, (head_shape, head_shape, (*head_shape, 3)), strict=True))
    return GraphSignature(
        inputs=(
            TensorSignature("inputs_embeds", "float32", ("batch", "sequence", decoder.hidden_size)),
            TensorSignature("position_ids", "int64", ("batch", "sequence")),
            TensorSignature("key_modality", "int64", ("batch", "total")),
            *(TensorSignature(f"past_{name}", cache_dtype, ("batch", kv_heads, "past", size)) for name in entries),
        ),
        outputs=(
            TensorSignature("logits", "float32", ("batch", 1, decoder.vocab_size)),
            *(TensorSignature(f"present_{name}", cache_dtype, ("batch", kv_heads, "total", size)) for name in entries),
            *(TensorSignature(name, "float32", shape) for name, shape in seen),
        ),
    )


def signatures(config: MosearConfig) -> dict[str, GraphSignature]:
    """Signatures of the four graphs of a checkpoint: vision, audio, prefill, decode."""
    decoder = decoder_configuration(config)
    reallocation = config.reallocation
    active = [] if reallocation is None else reallocation.active_layers(decoder.num_hidden_layers)
    language = decoder_signature(decoder, len(active))
    return {
        "vision": vision_signature(config),
        "audio": audio_signature(config),
        "prefill": language,
        "decode": language,
    }


def _width(config: MosearConfig) -> int:
    return int(decoder_configuration(config).hidden_size)


def _configured(values: Mapping[str, Any], name: str) -> int:
    rest = {key: value for key, value in values.items() if key != "model_type"}
    return int(getattr(AutoConfig.for_model(values["model_type"], **rest), name))
