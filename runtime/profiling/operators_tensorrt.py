"""Time by layer from TensorRT's and TensorRT-RTX's profiler, mapped to layers of the model as far as names tell.

Written to the documentation of TensorRT 10 and tested on a stand-in for it: it has not been run on a GPU. While a
profiler is attached an execution reports the time of each of its layers when it is done. A layer of TensorRT is often
several nodes of the graph; where they are from several layers of the model, it belongs to none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mosear.runtime.engines.library import Library
from mosear.runtime.engines.profiles import DECODE_PROFILE
from mosear.runtime.profiling.operators_fold import GraphNames, NoProfile, Totals
from mosear.runtime.profiling.record import Operator
from mosear.runtime.sessions import Observer

_NODE = re.compile(r"\b(?:layers\.\d+|head|shared|stem)/([A-Za-z]+)_\d+")
_GENERATED = re.compile(r"(?:__myl_)?(.+?)(?:_myl\d+)?_\d+")


class LayerTimes(Observer):
    """Listens to every execution context that is made while it observes.

    Args:
        names: what runs are called.
    """

    def __init__(self, names: GraphNames) -> None:
        self._names = names
        self._totals = Totals()
        self._listeners: list[Any] = []

    def context(self, path: Path, profile: int, context: Any, library: Library) -> None:
        """Attach a profiler to a context."""
        graph = self._names[path][profile == DECODE_PROFILE]
        listener = _listener(library.module, lambda name, ms: self._totals.add(graph, name, operator_of(name), ms))
        self._listeners.append(listener)  # the library does not own it
        context.profiler = listener

    def start(self) -> None:
        """Leave out whatever ran so far."""
        self._totals = Totals()

    def operators(self, runs: int) -> list[Operator]:
        """What ran since ``start``, during ``runs`` runs of the pipeline.

        Raises:
            NoProfile: the library reported nothing.
        """
        found = self._totals.operators(runs)
        if not found:
            raise NoProfile("its profiler reported no layer")
        return found


def operator_of(layer: str) -> str:
    """The types of the nodes in a layer of TensorRT, ``MatMul+Add``, or what TensorRT calls it.

    Its own names are kept, but for the numbers that tell one from the next: ``Reformatting CopyNode``, ``ForeignNode``
    for a region that it compiles as a whole, ``MulAddFc`` of ``__myl_MulAddFc_myl3_5``.
    """
    for own in ("Reformatting CopyNode", "ForeignNode"):
        if own in layer:
            return own
    if types := list(dict.fromkeys(_NODE.findall(layer))):
        return "+".join(types)
    generated = _GENERATED.fullmatch(layer)
    return generated[1] if generated else layer


def _listener(module: Any, report: Callable[[str, float], None]) -> Any:
    """An object of the library's class, which exists only once the library is imported."""

    class Listener(module.IProfiler):
        def __init__(self) -> None:
            module.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            report(layer_name, ms)

    return Listener()
