"""The decoder as a canonical ONNX graph: one ``mosear::AttentionReallocation`` node for each reallocating layer.

B batch, S present tokens, P past tokens, T = P + S, L layers, R reallocating layers, D hidden size, V vocabulary::

    inputs_embeds [B, S, D]      position_ids int64 [B, S]      key_modality int64 [B, T], past then present
    past_key_{l}, past_value_{l} [B, Hkv, P, Dh]
    -> logits [B, 1, V] of the last position, present_key_{l}, present_value_{l} [B, Hkv, T, Dh]
       audio_share, selected [B, R, Hq], modality_mass [B, R, Hq, 3]

The attention mask is made in the graph: key j is visible to row i when ``j <= P + i`` and ``key_modality[j] >= 0``.
The value that enters layer l is called ``hidden_{l}``, and ``hidden_{L}`` is what leaves the last one: lowerings keep
these names, so that any backend's decoder can be tapped there.

Weights are initializers under the names of the torch parameters; the weight of a linear module is stored transposed,
[in, out], as MatMul wants it. The table of token embeddings stays outside.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from mosear.export.graphs.signatures import GraphSignature, decoder_signature
from mosear.export.graphs.text_only import text_only
from mosear.export.graphs.tracing import Structure, trace
from mosear.export.ops.attention_reallocation import DOMAIN, ONNX_ATTENTION, VERSION, function
from mosear.export.tensors import Weight, Weights, attach, float_weight, is_placeholder
from mosear.model.attention import Telemetry
from mosear.model.experts import TokenModality
from mosear.model.reallocation import MASKED, Reallocation

_WRAPPED = "decoder"


class ExplicitCache:
    """A key/value cache whose past comes in as tensors and whose present goes out as tensors."""

    def __init__(self, past: list[tuple[Tensor, Tensor]]) -> None:
        self.past = past
        self.present: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append one layer's present to its past, both [B, Hkv, *, Dh]."""
        past_key, past_value = self.past[layer]
        self.present[layer] = (torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2))
        return self.present[layer]

    def get_seq_length(self, layer: int = 0) -> int:
        """Number of past tokens."""
        return self.past[layer][0].shape[2]


class ExportableDecoder(nn.Module):
    """The decoder with every input and output explicit, in the order of the graph."""

    def __init__(self, decoder: nn.Module, reallocation: Reallocation | None) -> None:
        super().__init__()
        self.decoder = decoder
        self.reallocation = reallocation
        self.holders = token_modality_holders(decoder)

    def forward(
        self, inputs_embeds: Tensor, position_ids: Tensor, key_modality: Tensor, past: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, ...]:
        """Inputs and outputs as in the module's text; without reallocating layers there is no telemetry."""
        rows, keys = inputs_embeds.shape[1], key_modality.shape[1]
        query_positions = torch.arange(rows).unsqueeze(1) + (keys - rows)
        causal = torch.arange(keys).unsqueeze(0) <= query_positions
        visible = causal.unsqueeze(0) & (key_modality >= 0).unsqueeze(1)
        mask = torch.where(visible, 0.0, MASKED).to(inputs_embeds.dtype).unsqueeze(1)
        for holder in self.holders:
            holder.value = key_modality[:, keys - rows :]
        cache, telemetry = ExplicitCache(past), Telemetry()
        with _watched(self.decoder) as hidden:
            logits = self.decoder(
                inputs_embeds=inputs_embeds,
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                key_modality=key_modality,
                reallocation=self.reallocation,
                telemetry=telemetry,
            ).logits
        present = [tensor for layer in sorted(cache.present) for tensor in cache.present[layer]]
        seen = [telemetry.audio_share, telemetry.selected, telemetry.modality_mass] if telemetry.layers else []
        return logits, *present, *seen, *hidden


@contextlib.contextmanager
def _watched(decoder: Any) -> Iterator[list[Tensor]]:
    """What leaves each layer during the forward inside the block."""
    hidden: list[Tensor] = []

    def leave(module: nn.Module, given: Any, result: Any) -> None:
        hidden.append(result[0] if isinstance(result, tuple) else result)

    handles = [layer.register_forward_hook(leave) for layer in decoder.get_decoder().layers]
    try:
        yield hidden
    finally:
        for handle in handles:
            handle.remove()


def token_modality_holders(decoder: nn.Module) -> list[TokenModality]:
    """The holders through which a decoder's adapters learn which rows are visual, each once."""
    holders = [module.modality for module in decoder.modules() if hasattr(module, "modality")]
    return list({id(holder): holder for holder in holders if isinstance(holder, TokenModality)}.values())


def trace_decoder(decoder: nn.Module, *, reallocation: Reallocation | None = None) -> Structure:
    """The canonical graph of a transformers causal language model, without weights.

    decoder: the model, on the CPU; only the names and shapes of its parameters matter. Its projections may be
        `VisualLowRankLinear`, or modules that read the row modality from a `TokenModality`.
    reallocation: what to reallocate; None gives a graph of plain attention without telemetry.

    Raises ValueError for a decoder with sliding-window or otherwise special layers, or for a layer that is not there.
    """
    config: Any = decoder.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    if kinds:
        raise ValueError(f"only full attention can be exported, this decoder has layers of kind {', '.join(kinds)}")
    layers = config.num_hidden_layers
    active = [] if reallocation is None else reallocation.active_layers(layers)
    signature = decoder_signature(config, len(active))
    hidden = [f"hidden_{place}" for place in range(1, layers + 1)]
    with _exporting(decoder):
        wrapper = ExportableDecoder(decoder, reallocation if active else None).eval()
        example = _nested(
            [torch.zeros(given.example_shape(), dtype=getattr(torch, given.dtype)) for given in signature.inputs]
        )
        dynamic = _nested([dict.fromkeys(given.dynamic_axes, torch.export.Dim.DYNAMIC) for given in signature.inputs])
        structure = trace(wrapper, example, signature.input_names, signature.output_names + hidden, dynamic)
    model = structure.graph
    _hide_taps(model, hidden)
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.removeprefix(f"{_WRAPPED}.")
    for node in model.graph.node:
        node.input[:] = [name.removeprefix(f"{_WRAPPED}.") for name in node.input]
    _name_dimensions(model, signature)
    if reallocation is not None and active:
        model.functions.append(function(reallocation.rows))
        if DOMAIN not in {opset.domain for opset in model.opset_import}:
            model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    return Structure(model, frozenset(name.removeprefix(f"{_WRAPPED}.") for name in structure.transposed))


def decoder_weights(decoder: nn.Module, structure: Structure) -> Weights:
    """The weights of ``structure`` as float32, each read from ``decoder``'s parameter of its name when it is wanted."""
    parameters = dict(decoder.named_parameters(remove_duplicate=False))

    def weight(name: str, shape: tuple[int, ...]) -> Weight:
        turned = name in structure.transposed
        return float_weight(shape, lambda: _array(parameters[name], turned))

    return {
        tensor.name: weight(tensor.name, tuple(tensor.dims))
        for tensor in structure.graph.graph.initializer
        if is_placeholder(tensor)
    }


def _array(parameter: Tensor, turned: bool) -> NDArray[np.float32]:
    values = parameter.detach()
    return (values.T if turned else values).float().contiguous().numpy()


def export_decoder(
    decoder: nn.Module, *, reallocation: Reallocation | None = None, low_rank: bool = True
) -> ModelProto:
    """`trace_decoder` with its weights in it, ``low_rank=False`` after `text_only`: for decoders that fit in memory."""
    structure = trace_decoder(decoder, reallocation=reallocation)
    graph = structure.graph if low_rank else text_only(structure.graph)
    return attach(graph, decoder_weights(decoder, structure))


def _hide_taps(model: ModelProto, hidden: list[str]) -> None:
    """Make the hidden states plain values again, and give the first one, the input, a name like theirs."""
    kept = [value for value in model.graph.output if value.name not in hidden]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    for node in model.graph.node:
        if node.op_type != "Shape":
            node.input[:] = ["hidden_0" if name == "inputs_embeds" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["inputs_embeds"], ["hidden_0"]))


@contextlib.contextmanager
def _exporting(decoder: Any) -> Iterator[None]:
    """The decoder as it should be traced; everything that is changed is put back."""
    implementation, training = decoder.config._attn_implementation, decoder.training
    held = [(holder, holder.value) for holder in token_modality_holders(decoder)]
    decoder.set_attn_implementation(ONNX_ATTENTION)
    decoder.eval()
    try:
        yield
    finally:
        decoder.set_attn_implementation(implementation)
        decoder.train(training)
        for holder, value in held:
            holder.value = value


def _nested(values: list[Any]) -> tuple[Any, ...]:
    """One value an input → as the module takes them: the cache as a pair a layer."""
    return *values[:3], list(zip(values[3::2], values[4::2], strict=True))


def _name_dimensions(model: ModelProto, signature: GraphSignature) -> None:
    """Readable symbols on inputs and outputs, instead of the tracer's own."""
    axes = {tensor.name: tensor.dynamic_axes for tensor in (*signature.inputs, *signature.outputs)}
    for value in [*model.graph.input, *model.graph.output]:
        for axis, symbol in axes[value.name].items():
            value.type.tensor_type.shape.dim[axis].dim_param = symbol
    # Intermediate shapes still speak in the tracer's symbols, and shape inference can make them again.
    del model.graph.value_info[:]
