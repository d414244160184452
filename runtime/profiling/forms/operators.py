"""Operators folded for people: the heaviest, by layer and by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mosear.runtime.profiling.record import Operator


@dataclass(frozen=True)
class Fold:
    """Operators put together.

    Attributes:
        name: what they have in common, as ``(graph, layer)``.
        calls: executions a run.
        ms: milliseconds a run.
        share: of the time of all operators of all graphs, 0 to 1.
    """

    name: tuple[str, ...]
    calls: float
    ms: float
    share: float


def heaviest(operators: Sequence[Operator]) -> list[Fold]:
    """By graph, layer and operator, the heaviest first."""
    return _fold(operators, lambda each: (each.graph, layer_name(each.layer), each.operator))


def by_operator(operators: Sequence[Operator]) -> list[Fold]:
    """By graph and operator over all layers, the heaviest first."""
    return _fold(operators, lambda each: (each.graph, each.operator))


def by_graph(operators: Sequence[Operator]) -> list[Fold]:
    """By graph, the heaviest first."""
    return _fold(operators, lambda each: (each.graph,))


def layer_name(layer: int | None) -> str:
    """A layer's number, or a word for what is outside of the layers."""
    return "other" if layer is None else str(layer)


def _fold(operators: Sequence[Operator], name: Callable[[Operator], tuple[str, ...]]) -> list[Fold]:
    total = sum(each.ms for each in operators)
    sums: dict[tuple[str, ...], list[float]] = {}
    for each in operators:
        entry = sums.setdefault(name(each), [0.0, 0.0])
        entry[0] += each.calls
        entry[1] += each.ms
    folds = [Fold(key, calls, ms, ms / total if total else 0.0) for key, (calls, ms) in sums.items()]
    return sorted(folds, key=lambda fold: (-fold.ms, fold.name))
