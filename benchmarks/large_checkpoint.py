"""Write a MoSEAR checkpoint of a large decoder's shape with random weights: bfloat16 shards, experts and gates.

    python benchmarks/large_checkpoint.py OUT [--shape llama-2-7b|qwen2.5-0.5b]

The encoders are the reference model's. The weights are drawn layer by layer, so little memory is needed. The gates of
its calibration are even: random experts have nothing to calibrate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mosear.calibration.gates import GateStatistics
from mosear.calibration.record import Calibration
from mosear.model.checkpoint import ADAPTER, TOKENIZER, base_state, checkpoint_hash, load_checkpoint, resolve
from mosear.model.configuration import Mose, MosearConfig
from mosear.model.experts import save_adapter
from mosear.model.modeling import Mosear
from mosear.model.reallocation import Reallocation
from mosear.model.shards import INDEX
from mosear.model.weights import parameters_without_memory

SHAPES: dict[str, dict[str, Any]] = {
    "llama-2-7b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
}


def write_checkpoint(folder: Path, shape: dict[str, Any], seed: int = 0, shard_bytes: int = 800_000_000) -> None:
    """Write the checkpoint; ``folder`` must be empty or missing.

    Args:
        folder: where to.
        shape: the decoder's configuration.
        seed: of the weights.
        shard_bytes: a shard is closed once it is larger.
    """
    reference = load_checkpoint("reference", with_experts=False)
    config = replace(
        MosearConfig.load(resolve("reference")),
        name="random",
        decoder=shape,
        mose=Mose(r=64, alpha=16.0),
        reallocation=Reallocation(rate=0.1, threshold=0.5),
        notice="random weights: its answers mean nothing",
    )
    with parameters_without_memory():
        model = Mosear(config, reference.tokenizer, with_experts=False)
    folder.mkdir(parents=True)
    config.save(folder)
    reference.tokenizer.save(str(folder / TOKENIZER))
    shards: dict[str, str] = {}
    held: dict[str, Tensor] = {}

    def close() -> None:
        name = f"model-{len(set(shards.values())) + 1:05}.safetensors"
        save_file(held, folder / name, metadata={"format": "pt"})
        shards.update(dict.fromkeys(held, name))
        held.clear()

    for name, tensor in _draw(model, reference, seed):
        held[name] = tensor
        if sum(each.nbytes for each in held.values()) > shard_bytes:
            close()
    close()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    _add_experts(model, folder)


def _draw(model: Mosear, reference: Mosear, seed: int) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    encoders = reference.state_dict()
    for name, slot in base_state(model).items():
        if name.startswith(("vision.", "audio.")):
            yield name, encoders[name].to(torch.bfloat16)
        elif "norm" in name:
            yield name, torch.ones(slot.shape, dtype=torch.bfloat16)
        else:
            values = torch.empty(slot.shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)
            yield name, values.contiguous()


def _add_experts(model: Mosear, folder: Path) -> None:
    model.add_experts(torch.float32)
    generator = torch.Generator().manual_seed(1)
    for module in model.experts.values():
        for group in (module.lora_A, module.lora_B):
            for name, slot in list(group.items()):
                group[name] = nn.Parameter(torch.empty(slot.shape).normal_(0.0, 0.02, generator=generator))
        module.gate = nn.Parameter(torch.zeros(module.gate.shape))
    assert model.config.mose is not None
    save_adapter(model.experts, model.config.mose, folder / ADAPTER)
    even = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    Calibration(
        checkpoint_sha256=checkpoint_hash(folder),
        clips=0,
        clips_sha256="0" * 64,
        source="none: even gates for random experts",
        temperature=1.0,
        gates=GateStatistics(
            {path: even.clone() for path in model.experts}, {path: torch.zeros(2, 3) for path in model.experts}
        ),
        trials=[],
    ).save(folder)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-2-7b")
    arguments = parser.parse_args()
    write_checkpoint(arguments.output, SHAPES[arguments.shape])


if __name__ == "__main__":
    main()
