"""Executions of operators, folded: by graph, by the layer that a node's name tells, and by type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mosear.runtime.bundle import Bundle
from mosear.runtime.profiling.record import Operator

GraphNames = Mapping[Path, tuple[str, str]]
"""By file: what a run of a prompt is called, and what a step of one token is called. Encoders have one name twice."""

_LAYER = re.compile(r"\blayers\.(\d+)/")


class NoProfile(Exception):
    """The library measured nothing that can be used; the message says why, in one line."""


def graph_names(bundle: Bundle) -> GraphNames:
    """What the runs of a bundle's graphs are called in a profile."""
    graphs = bundle.manifest.graphs
    names = {bundle.file(graphs.decode): ("decode", "decode")}
    for prompt in filter(None, (graphs.prefill, graphs.labels)):
        names[bundle.file(prompt)] = ("prefill", "decode" if prompt == graphs.decode else "prefill")
    for encoder, file in (("vision", graphs.vision), ("audio", graphs.audio)):
        names[bundle.file(file)] = (encoder, encoder)
    return names


def layer_of(node: str) -> int | None:
    """The layer that a name tells; None when it tells none, or several.

    Nodes that the exporter named are called ``layers.3/MatMul_0``. A library joins the names of what it fused.
    """
    layers = set(_LAYER.findall(node))
    return int(layers.pop()) if len(layers) == 1 else None


class Totals:
    """Executions of operators, added up as they come: a long profile has millions."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, int | None, str], tuple[int, float]] = {}

    def add(self, graph: str, node: str, operator: str, ms: float) -> None:
        """Add one execution.

        Args:
            graph: as ``Operator.graph``.
            node: the name of the node, or what the library made of the names of several.
            operator: its type.
            ms: milliseconds, without those of executions inside of it.
        """
        key = graph, layer_of(node), operator
        calls, so_far = self._totals.get(key, (0, 0.0))
        self._totals[key] = calls + 1, so_far + ms

    def operators(self, runs: int) -> list[Operator]:
        """Calls and milliseconds a run, the most expensive first, when all that was added took ``runs`` runs."""
        found = [Operator(*key, calls=calls / runs, ms=ms / runs) for key, (calls, ms) in self._totals.items()]
        return sorted(found, key=lambda each: (-each.ms, each.graph, -1 if each.layer is None else each.layer))
