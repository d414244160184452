"""Training in bfloat16 where the CPU multiplies it in hardware."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def has_fast_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (Intel AMX); elsewhere float32 is faster."""
    return bool(torch.cpu._is_amx_tile_supported())


@contextmanager
def training_mode(model: Any, bfloat16: bool) -> Iterator[None]:
    """Put a transformers model in training mode, and its products in bfloat16 if asked.

    Attention is then the plain one: the fused kernel's backward pass is slow in bfloat16 on the CPU. Parameters,
    sums and norms stay in float32.
    """
    before = model.config._attn_implementation
    model.train()
    if bfloat16:
        model.set_attn_implementation("eager")
    try:
        # The cache of cast weights lives as long as the context: it would hide every update of the weights.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            yield
    finally:
        model.set_attn_implementation(before)
        model.eval()
