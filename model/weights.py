"""Binding saved tensors to a model strictly by name: what does not fit is an error that lists it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mosear.runtime.errors import BadInput


def _shown(names: list[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def check_names(parameters: dict[str, Tensor], state: dict[str, Tensor], source: str) -> None:
    """Refuse saved tensors that do not have the very names and shapes of the model's.

    Args:
        parameters: the model's tensors by name.
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


def bind(parameters: dict[str, Tensor], state: dict[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``parameters``, or change nothing when something does not fit; see `check_names`."""
    check_names(parameters, state, source)
    with torch.no_grad():
        for name, tensor in parameters.items():
            tensor.copy_(state[name])


@contextlib.contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Modules made inside the block have their parameters on the meta device; buffers are real."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def assign(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Make each tensor of ``state`` the parameter of its path in ``module``, in its own type and without a copy."""
    for path, tensor in state.items():
        parent, _, leaf = path.rpartition(".")
        module.get_submodule(parent)._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
