"""Small random decoders of the families that users have, and inputs for them."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mosear.export.graphs.decoder import export_decoder
from mosear.export.graphs.low_rank import VisualLowRankLinear
from mosear.export.ops.attention_reallocation import DOMAIN, function
from mosear.model.attention import Telemetry
from mosear.model.experts import TokenModality
from mosear.model.reallocation import Reallocation

torch.set_num_threads(1)

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
FAMILIES = ("llama", "qwen2", "qwen3")


def small_decoder(family: str, seed: int = 0, **changes: Any) -> Any:
    """A decoder whose attention is far from uniform, so that heads differ in what they look at."""
    torch.manual_seed(seed)
    values = SHAPE | ({"head_dim": 16} if family == "qwen3" else {}) | changes
    config = AutoConfig.for_model(family, **values)
    decoder = AutoModelForCausalLM.from_config(config, attn_implementation="mosear").eval()
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            spread = 0.25 if parameter.dim() == 2 else 0.1
            parameter.copy_(torch.randn_like(parameter) * spread + (1.0 if "norm" in name else 0.0))
    return decoder


def add_low_rank(decoder: Any, rank: int = 4) -> TokenModality:
    """Put a visual low-rank term on every q_proj and v_proj; returns the holder that they read."""
    holder = TokenModality()
    for layer in decoder.model.layers:
        for name in ("q_proj", "v_proj"):
            base = getattr(layer.self_attn, name)
            down = torch.randn(rank, base.in_features) * 0.2
            up = torch.randn(base.out_features, rank) * 0.2
            setattr(layer.self_attn, name, VisualLowRankLinear(base, base.weight, down, up, holder))
    return holder


class Exported(NamedTuple):
    """A decoder with low-rank terms, the holder of its row modality, and its canonical graph."""

    decoder: Any
    holder: TokenModality
    graph: onnx.ModelProto


LAYERS = (0, 2)
"""The reallocating layers of every exported decoder; layer 1 is plain."""


def exported(family: str, low_rank: bool = True) -> Exported:
    """Export once a process; exports take seconds. The graph must not be changed."""
    return _exported(family, low_rank)


@cache
def _exported(family: str, low_rank: bool) -> Exported:
    decoder = small_decoder(family)
    holder = add_low_rank(decoder)
    reallocation = Reallocation(0.5, 0.35, layers=LAYERS)
    return Exported(decoder, holder, export_decoder(decoder, reallocation=reallocation, low_rank=low_rank))


@cache
def exported_plain() -> tuple[Any, onnx.ModelProto]:
    """A decoder without reallocation and adapters, whose vocabulary is tied, and its canonical graph."""
    decoder = small_decoder("qwen2", num_hidden_layers=2, tie_word_embeddings=True)
    return decoder, export_decoder(decoder)


def with_settings(graph: onnx.ModelProto, reallocation: Reallocation) -> onnx.ModelProto:
    """The graph as if it had been exported with another rate, threshold and choice of rows."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    for node in changed.graph.node:
        if node.domain == DOMAIN:
            for entry in node.attribute:
                if entry.name == "rows":
                    entry.s = reallocation.rows.encode()
                elif entry.name in ("rate", "threshold"):
                    entry.f = getattr(reallocation, entry.name)
    del changed.functions[:]
    changed.functions.append(function(reallocation.rows))
    return changed


class Reference:
    """PyTorch in the probability form, with transformers' own cache."""

    def __init__(self, decoder: Any, holder: TokenModality, reallocation: Reallocation) -> None:
        self.decoder, self.holder, self.reallocation = decoder, holder, reallocation
        self.cache: Any = None

    def run(self, feeds: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Logits and telemetry of one more chunk."""
        modality, rows = feeds["key_modality"], feeds["inputs_embeds"].shape[1]
        self.holder.value = modality[:, -rows:]
        telemetry = Telemetry()
        with torch.no_grad():
            output = self.decoder(
                inputs_embeds=feeds["inputs_embeds"],
                attention_mask=(modality >= 0).long(),
                position_ids=feeds["position_ids"],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
                key_modality=modality,
                reallocation=self.reallocation,
                telemetry=telemetry,
            )
        self.cache = output.past_key_values
        return {
            "logits": output.logits.numpy(),
            "audio_share": telemetry.audio_share.numpy(),
            "selected": telemetry.selected.numpy(),
            "modality_mass": telemetry.modality_mass.numpy(),
        }


PROMPTS = torch.tensor(
    [
        [0, 0, 1, 1, 1, 1, 2, 2, 1, 0, 0, 0],
        [-1, -1, -1, 0, 2, 0, 1, 1, 2, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, -1, -1, 1, 0, 0, 0],
        [0, 0, -1, -1, -1, -1, 2, 2, -1, 0, 0, 0],
    ]
)
"""All modalities; all, padded, with a text row that sees audio but no video yet; no audio; no video."""
PADDED = torch.tensor([0, 3, 0, 0])


def feeds_of(modality: torch.Tensor, padded: torch.Tensor, rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random embeddings for the last ``rows`` tokens, and their positions."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "inputs_embeds": torch.randn(len(modality), rows, SHAPE["hidden_size"], generator=generator),
        "position_ids": positions_of(modality, padded)[:, -rows:],
        "key_modality": modality,
    }


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-4) -> None:
    """Equal logits and telemetry; the choice of heads exactly."""
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=tolerance, rtol=tolerance, err_msg=name)
    np.testing.assert_array_equal(found["selected"], expected["selected"])


def positions_of(modality: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
    """Positions that start at 0 after the padding on the left. ``padded`` [B] counts it."""
    return (torch.arange(modality.shape[1])[None] - padded[:, None]).clamp_min(0)


def session(model: Any) -> onnxruntime.InferenceSession:
    """A session on one thread; ``model`` is a ModelProto or a path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_canonical(
    runner: onnxruntime.InferenceSession, feeds: dict[str, torch.Tensor], cache: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Run a canonical decoder graph; without a cache, on an empty past."""
    values = {name: tensor.numpy() for name, tensor in feeds.items()}
    batch = feeds["inputs_embeds"].shape[0]
    for value in runner.get_inputs():
        if value.name.startswith("past_"):
            empty = np.zeros((batch, value.shape[1], 0, value.shape[3]), np.float32)
            values[value.name] = cache[value.name.replace("past", "present")] if cache else empty
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(None, values), strict=True))


class StaticCache:
    """Buffers of a lowered decoder, filled with NaN where nothing was written: reading past the end shows."""

    def __init__(self, runner: onnxruntime.InferenceSession, batch: int, capacity: int) -> None:
        self.buffers = {
            value.name.removeprefix("past_"): onnxruntime.OrtValue.ortvalue_from_numpy(
                np.full((batch, value.shape[1], capacity, value.shape[3]), np.nan, np.float32)
            )
            for value in runner.get_inputs()
            if value.name.startswith("past_")
        }

    def run(self, runner: onnxruntime.InferenceSession, feeds: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Run a lowered graph with each buffer bound to past and present."""
        binding = runner.io_binding()
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in feeds.items()}
        wanted = {value.name for value in runner.get_inputs()}
        for name, array in arrays.items():
            if name in wanted:
                binding.bind_cpu_input(name, array)
        names = [output.name for output in runner.get_outputs()]
        for name in names:
            if name.startswith("present_"):
                binding.bind_ortvalue_output(name, self.buffers[name.removeprefix("present_")])
            else:
                binding.bind_output(name)
        for name, buffer in self.buffers.items():
            binding.bind_ortvalue_input(f"past_{name}", buffer)
        runner.run_with_iobinding(binding)
        outputs = dict(zip(names, binding.get_outputs(), strict=True))
        return {name: value.numpy() for name, value in outputs.items() if not name.startswith("present_")}
