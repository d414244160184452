"""The decoder as a canonical ONNX graph: one ``mosear::AttentionReallocation`` node for each reallocating layer.

B batch, S present tokens, P past tokens, T = P + S, L layers, R reallocating layers, D hidden size, V vocabulary::

    inputs_embeds [B, S, D]      position_ids int64 [B, S]      key_modality int64 [B, T], past then present
    past_key_{l}, past_value_{l} [B, Hkv, P, Dh]
    -> logits [B, 1, V] of the last position, present_key_{l}, present_value_{l} [B, Hkv, T, Dh]
       audio_share, selected [B, R, Hq], modality_mass [B, R, Hq, 3]

The attention mask is made in the graph: key j is visible to row i when ``j <= P + i`` and ``key_modality[j] >= 0``.
Weights are initializers under the names of the torch parameters; the weight of a linear module is stored transposed,
[in, out], as MatMul wants it. The table of token embeddings stays outside, unless it is also the output projection.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from mosear.export.graphs.low_rank import VisualLowRankLinear
from mosear.export.ops.attention_reallocation import DOMAIN, ONNX_ATTENTION, OPSET, VERSION, function
from mosear.model.attention import Telemetry
from mosear.model.experts import TokenModality
from mosear.model.reallocation import MASKED, Reallocation

TELEMETRY = ("audio_share", "selected", "modality_mass")
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
        return logits, *present, *seen


def token_modality_holders(decoder: nn.Module) -> list[TokenModality]:
    """The holders through which a decoder's adapters learn which rows are visual, each once."""
    holders = [module.modality for module in decoder.modules() if hasattr(module, "modality")]
    return list({id(holder): holder for holder in holders if isinstance(holder, TokenModality)}.values())


def export_decoder(
    decoder: nn.Module, *, reallocation: Reallocation | None = None, low_rank: bool = True
) -> ModelProto:
    """Export a transformers causal language model.

    decoder: the model, float32 and on the CPU. Its projections may be `VisualLowRankLinear`, or modules that read the
        row modality from a `TokenModality`.
    reallocation: what to reallocate; None gives a graph of plain attention without telemetry.
    low_rank: False leaves the visual low-rank terms out, for the graph that only ever sees text rows.

    Raises ValueError for a decoder with sliding-window or otherwise special layers, or for a layer that is not there.
    """
    config: Any = decoder.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    if kinds:
        raise ValueError(f"only full attention can be exported, this decoder has layers of kind {', '.join(kinds)}")
    layers = config.num_hidden_layers
    active = [] if reallocation is None else reallocation.active_layers(layers)
    wrapper = ExportableDecoder(decoder, reallocation if active else None).eval()
    inputs, outputs = _names(layers, bool(active))
    with _exporting(decoder, low_rank), torch.no_grad():
        program: Any = torch.onnx.export(
            wrapper,
            _example(config, decoder),
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=_dynamic_shapes(layers),
            verbose=False,
        )
    model = program.model_proto
    _name_weights(model, wrapper)
    _name_dimensions(model)
    _strip_traces(model)
    if reallocation is not None and active:
        model.functions.append(function(reallocation.rows))
        if DOMAIN not in {opset.domain for opset in model.opset_import}:
            model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    return model


@contextlib.contextmanager
def _exporting(decoder: Any, low_rank: bool) -> Iterator[None]:
    """The decoder as it should be traced; everything that is changed is put back."""
    implementation, training = decoder.config._attn_implementation, decoder.training
    terms = [module for module in decoder.modules() if isinstance(module, VisualLowRankLinear)]
    enabled = [term.enabled for term in terms]
    held = [(holder, holder.value) for holder in token_modality_holders(decoder)]
    decoder.set_attn_implementation(ONNX_ATTENTION)
    decoder.eval()
    for term in terms:
        term.enabled = low_rank
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        decoder.set_attn_implementation(implementation)
        decoder.train(training)
        for term, before in zip(terms, enabled, strict=True):
            term.enabled = before
        for holder, value in held:
            holder.value = value


def _example(config: Any, decoder: nn.Module) -> tuple[Any, ...]:
    """Inputs to trace with. All sizes differ and none is 0 or 1, which the tracer would take for constants."""
    batch, rows, past = 2, 5, 3
    dtype = next(decoder.parameters()).dtype
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = torch.zeros(batch, config.num_key_value_heads, past, head_size, dtype=dtype)
    return (
        torch.zeros(batch, rows, config.hidden_size, dtype=dtype),
        torch.arange(past, past + rows).repeat(batch, 1),
        torch.zeros(batch, past + rows, dtype=torch.int64),
        [(cache.clone(), cache.clone()) for _ in range(config.num_hidden_layers)],
    )


def _dynamic_shapes(layers: int) -> tuple[Any, ...]:
    dynamic = torch.export.Dim.DYNAMIC
    sequence, cache = {0: dynamic, 1: dynamic}, {0: dynamic, 2: dynamic}
    return sequence, sequence, sequence, [(cache, cache)] * layers


def _names(layers: int, telemetry: bool) -> tuple[list[str], list[str]]:
    cache = [f"{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]
    inputs = ["inputs_embeds", "position_ids", "key_modality", *(f"past_{name}" for name in cache)]
    return inputs, ["logits", *(f"present_{name}" for name in cache), *(TELEMETRY if telemetry else ())]


def _name_weights(model: ModelProto, wrapper: nn.Module) -> None:
    """Give every weight the name of its torch parameter; the exporter names the transposed ones itself."""
    parameters = dict(wrapper.named_parameters(remove_duplicate=False))
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    renamed = {name: name.removeprefix(f"{_WRAPPED}.") for name in initializers if name in parameters}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in initializers or node.input[1] in renamed:
            continue
        scopes = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "[]")
        # From the innermost module outwards: the first parameter whose transpose is this tensor.
        for scope in reversed([part.strip(" []'") for part in scopes.split(",")]):
            inside = [name for name in parameters if name.startswith(f"{scope}.")] if scope else []
            free = [name for name in inside if name.removeprefix(f"{_WRAPPED}.") not in renamed.values()]
            match = next((n for n in free if _is_transposed(initializers[node.input[1]], parameters[n])), None)
            if match is not None:
                renamed[node.input[1]] = match.removeprefix(f"{_WRAPPED}.")
                break
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name).removeprefix(f"{_WRAPPED}.")
    names = dict(zip(initializers, (tensor.name for tensor in model.graph.initializer), strict=True))
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _is_transposed(tensor: onnx.TensorProto, parameter: Tensor) -> bool:
    if list(tensor.dims) != list(parameter.shape)[::-1]:
        return False
    return np.array_equal(numpy_helper.to_array(tensor), parameter.detach().T.numpy())


def _name_dimensions(model: ModelProto) -> None:
    """Readable symbols on inputs and outputs, instead of the tracer's own."""
    cache = {"past": "past", "present": "total"}
    for value in [*model.graph.input, *model.graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        dimensions[0].dim_param = "batch"
        if value.name in ("inputs_embeds", "position_ids"):
            dimensions[1].dim_param = "sequence"
        elif value.name == "key_modality":
            dimensions[1].dim_param = "total"
        elif value.name.split("_")[0] in cache:
            dimensions[2].dim_param = cache[value.name.split("_")[0]]
    # Intermediate shapes still speak in the tracer's symbols, and shape inference can make them again.
    del model.graph.value_info[:]


def _strip_traces(model: ModelProto) -> None:
    """Remove what the exporter notes on nodes: stack traces hold paths of the machine that exported."""
    del model.graph.metadata_props[:]
    for holder in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
