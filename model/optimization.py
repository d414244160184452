"""The loop that every stage of training runs: AdamW, a warm cosine schedule, clipped gradients, progress."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Report = Callable[[str, float, str], None]
"""Called with the stage's name, the fraction done and a short text."""


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A tenth of the steps to warm up, then a cosine down to nothing."""
    warm = max(1, steps // 10)

    def factor(step: int) -> float:
        return (
            (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        )

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def minimize(
    stage: str,
    parameters: list[nn.Parameter],
    draw: Callable[[], tuple[Tensor, Tensor]],
    steps: int,
    learning_rate: float,
    weight_decay: float,
    report: Report,
) -> None:
    """Minimize a loss that is drawn anew at every step.

    Args:
        stage: what the progress calls it.
        parameters: changed in place.
        draw: makes a batch; returns the loss that progress shows and the one that is minimized, both scalars.
        steps: optimizer steps.
        learning_rate: peak of the schedule.
        weight_decay: of AdamW.
        report: progress.
    """
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98))
    schedule = warm_cosine(optimizer, steps)
    average = 0.0
    for step in range(steps):
        shown, total = draw()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        figure = float(shown.detach())
        average = figure if step == 0 else 0.98 * average + 0.02 * figure
        if step % 20 == 0 or step == steps - 1:
            report(stage, (step + 1) / steps, f"loss {average:.3f}")
