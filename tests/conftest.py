"""Small models that several rooms' tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

# Test workers run side by side; a thread pool in each would only have them wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PROMPT = {
    "template": "<s>[INST] <video>{visual}</video><audio>{audio}</audio> Said: {transcript} {task} [/INST]",
    "tasks": {"emotion": "[emotion] Which?", "reason": "[reason] Why?"},
    "no_transcript": "(not known)",
}
DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 400,
    "tie_word_embeddings": True,
}
CLIP = {
    "model_type": "clip_vision_model",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
WHISPER = {
    "model_type": "whisper",
    "num_mel_bins": 80,
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "max_source_positions": 50,
    "dropout": 0.0,
}


def _tiny(seed: int = 0, **changes: Any) -> Any:
    import torch

    from mosear.model.configuration import MosearConfig
    from mosear.model.modeling import Mosear
    from mosear.model.text import train_tokenizer

    torch.manual_seed(seed)
    content: dict[str, Any] = {
        "vision": CLIP,
        "audio": WHISPER,
        "decoder": {"model_type": "qwen2", **DECODER},
        "prompt": PROMPT,
        "visual_grid": 2,
        "audio_tokens": 3,
        "preprocessing": {"frame_size": 32, "frames": 4, "window_s": 1.0, "sample_rate": 16000},
        "mose": {"r": 4, "alpha": 8.0},
        "reallocation": {"rate": 0.5, "threshold": 0.2},
    }
    content.update(changes)
    tokenizer = train_tokenizer([PROMPT["template"], " neutral angry happy sad worried surprise"] * 50, 400)
    model = Mosear(MosearConfig.from_dict(content), tokenizer)
    with torch.no_grad():
        for module in model.experts.values():  # a fresh expert does nothing: B is zero
            for weight in module.lora_B.values():
                weight.normal_(0, 0.3)
            module.gate.normal_(0, 0.5)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Builds a small random MoSEAR whose experts and gates do something; keyword arguments change its configuration."""
    return _tiny
