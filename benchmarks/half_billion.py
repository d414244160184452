"""A decoder of Qwen2.5-0.5B's shape with random weights, as a checkpoint and as lowered, quantized graphs in a cache.

24 layers, hidden size 896, MLP 4864, 14 heads on 2 key/value heads of 64, vocabulary 151936, tied. MoSE is merged, with
visual low-rank terms of rank 64 on every q_proj and v_proj; attention is reallocated in all layers. Random weights tell
nothing about answers, and cost what trained ones cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from mosear.export.graphs.decoder import decoder_weights, trace_decoder
from mosear.export.graphs.low_rank import VisualLowRankLinear
from mosear.export.graphs.text_only import text_only
from mosear.export.lowering.head import prune_head
from mosear.export.lowering.onnxruntime import Phase, lower
from mosear.export.lowering.weights import save_sharing_weights
from mosear.export.quantization.quantize import quantize
from mosear.model.experts import TokenModality
from mosear.model.reallocation import Reallocation
from mosear.runtime.modality import Modality

LAYERS, HIDDEN, KEY_HEADS, HEAD_SIZE, VOCABULARY = 24, 896, 2, 64, 151936
RANK, CAPACITY = 64, 1024
VISUAL, AUDIO, BEFORE, AFTER = 256, 64, 8, 56
PROMPT = BEFORE + VISUAL + AUDIO + AFTER
LABEL_TOKENS = (100, 2000, 30000, 40000, 50000, 60000)
REALLOCATION = Reallocation(rate=0.5, threshold=0.2)


@dataclass(frozen=True)
class Build:
    """One graph to measure.

    Attributes:
        phase: of the lowering.
        precision: ``fp32``, ``int8`` or ``int4`` for every product but the low-rank ones, which stay float32.
        mosear: with MoSE and reallocation, or with neither.
        labels: the head is cut to `LABEL_TOKENS`.
    """

    phase: Phase
    precision: str
    mosear: bool = True
    labels: bool = False

    @property
    def name(self) -> str:
        """Of its files."""
        parts = [self.phase, self.precision, "mosear" if self.mosear else "plain", *(["labels"] if self.labels else [])]
        return "-".join(parts)


def checkpoint(cache: Path) -> Path:
    """The decoder as a transformers folder, made once; the tokenizer in it only satisfies who asks for one."""
    folder = cache / "checkpoint"
    if not (folder / "tokenizer.json").exists():
        from tokenizers import Tokenizer, models

        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=4864,
            num_hidden_layers=LAYERS,
            num_attention_heads=14,
            num_key_value_heads=KEY_HEADS,
            max_position_embeddings=32768,
            tie_word_embeddings=True,
        )
        Qwen2ForCausalLM(config).save_pretrained(folder)
        words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    return folder


def torch_decoder(cache: Path, mosear: bool) -> tuple[Any, TokenModality]:
    """The decoder in PyTorch, float32, with the low-rank terms or without; and the holder of its row modality."""
    implementation = "mosear" if mosear else "eager"
    decoder = Qwen2ForCausalLM.from_pretrained(
        checkpoint(cache), dtype=torch.float32, attn_implementation=implementation
    ).eval()
    holder = TokenModality()
    torch.manual_seed(1)
    for layer in decoder.model.layers if mosear else ():
        for name in ("q_proj", "v_proj"):
            base = getattr(layer.self_attn, name)
            down, up = torch.randn(RANK, HIDDEN) * 0.02, torch.randn(base.out_features, RANK) * 0.02
            setattr(layer.self_attn, name, VisualLowRankLinear(base, base.weight, down, up, holder))
    return decoder, holder


def built(cache: Path, builds: list[Build]) -> dict[Build, Path]:
    """The graphs, each with a file of weights beside it; those that are not in the cache are made."""
    paths = {build: cache / f"{build.name}.onnx" for build in builds}
    for mosear in (True, False):
        missing = [build for build, path in paths.items() if build.mosear == mosear and not path.exists()]
        if not missing:
            continue
        decoder, _ = torch_decoder(cache, mosear)
        structure = trace_decoder(decoder, reallocation=REALLOCATION if mosear else None)
        for build in missing:
            graph, weights = structure.graph, decoder_weights(decoder, structure)
            if build.phase == "decode":
                graph = text_only(graph)
            if build.labels:
                graph, weights = prune_head(graph, weights, LABEL_TOKENS)
            kept = (".down.weight", ".up.weight", ".labels")
            formats = {name: "fp32" if name.endswith(kept) else build.precision for name in weights}
            graph, weights = quantize(lower(graph, build.phase), weights, formats)
            save_sharing_weights({f"{build.name}.onnx": graph}, weights, cache, f"{build.name}.weights")
    return paths


def stored_bytes(path: Path) -> int:
    """Bytes of a graph and of its weights."""
    return path.stat().st_size + path.with_suffix(".weights").stat().st_size


def prompt_modality() -> NDArray[np.int64]:
    """[1, S]: text, picture, sound, text."""
    kinds = (Modality.TEXT, Modality.VISUAL, Modality.AUDIO, Modality.TEXT)
    return np.repeat(np.array(kinds, np.int64), (BEFORE, VISUAL, AUDIO, AFTER))[None]


def prompt_feeds() -> dict[str, NDArray[Any]]:
    """Inputs of a prefill."""
    embeds = np.random.default_rng(0).standard_normal((1, PROMPT, HIDDEN), dtype=np.float32) * np.float32(0.02)
    return {"inputs_embeds": embeds, "position_ids": np.arange(PROMPT)[None], "key_modality": prompt_modality()}


def step_feeds(step: int) -> dict[str, NDArray[Any]]:
    """Inputs of the decode step that follows the prompt and ``step`` more tokens."""
    embeds = np.random.default_rng(step + 1).standard_normal((1, 1, HIDDEN), dtype=np.float32) * np.float32(0.02)
    text = np.full((1, step + 1), Modality.TEXT, np.int64)
    modality = np.concatenate([prompt_modality(), text], axis=1)
    return {"inputs_embeds": embeds, "position_ids": np.full((1, 1), PROMPT + step), "key_modality": modality}


class Runner:
    """A graph on ONNX Runtime, with its buffers bound to past and present as the runtime does.

    Args:
        path: the graph.
        threads: CPU threads.
        share: another runner, whose buffers this one goes on with.
    """

    def __init__(self, path: Path, threads: int, share: Runner | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = {value.name for value in self.session.get_inputs()}
        self._results = [v.name for v in self.session.get_outputs() if not v.name.startswith("present_")]
        shape = (1, KEY_HEADS, CAPACITY, HEAD_SIZE)
        names = [f"{kind}_{layer}" for layer in range(LAYERS) for kind in ("key", "value")]
        empty = onnxruntime.OrtValue.ortvalue_from_numpy
        self.buffers: dict[str, Any] = {name: empty(np.zeros(shape, np.float32)) for name in names}
        if share is not None:
            self.buffers = share.buffers
        self.logits: NDArray[np.float32] = np.empty(0, np.float32)

    def run(self, feeds: dict[str, NDArray[Any]]) -> float:
        """Seconds that one run takes, inputs and outputs included."""
        start = perf_counter()
        binding = self.session.io_binding()
        for name in self._inputs & feeds.keys():
            binding.bind_cpu_input(name, feeds[name])
        for name in self._results:
            binding.bind_output(name, "cpu")
        for name, buffer in self.buffers.items():
            binding.bind_ortvalue_input(f"past_{name}", buffer)
            binding.bind_ortvalue_output(f"present_{name}", buffer)
        self.session.run_with_iobinding(binding)
        self.logits = binding.get_outputs()[self._results.index("logits")].numpy()
        return perf_counter() - start
