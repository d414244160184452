"""Binding saved tensors to a model strictly by name: what does not fit is an error that lists it."""

from __future__ import annotations

import torch
from torch import Tensor

from mosear.runtime.errors import BadInput


def _shown(names: list[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def bind(parameters: dict[str, Tensor], state: dict[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``parameters``, which must have the same names and shapes.

    Args:
        parameters: the model's tensors by name; changed in place, or not at all when something does not fit.
        state: the saved tensors by name.
        source: what to call the file in an error.

    Raises:
        BadInput: names are missing or left over, or shapes differ; the message lists them.
    """
    problems = []
    if missing := sorted(parameters.keys() - state.keys()):
        problems.append(f"missing {_shown(missing)}")
    if extra := sorted(state.keys() - parameters.keys()):
        problems.append(f"unexpected {_shown(extra)}")
    misshaped = [
        f"{name} is {list(state[name].shape)} and must be {list(tensor.shape)}"
        for name, tensor in parameters.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if misshaped:
        problems.append(_shown(misshaped))
    if problems:
        raise BadInput(
            f"{source} does not fit the configuration: {'; '.join(problems)}",
            "use the weights that were saved with this config.json",
        )
    with torch.no_grad():
        for name, tensor in parameters.items():
            tensor.copy_(state[name])
