"""ONNX Runtime sessions over one set of float weights: each weight is read once, however many graphs use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from mosear.export.lowering.rewriting import without_weights
from mosear.export.tensors import Weights, attach, is_placeholder

Feeds = Mapping[str, NDArray[Any]]

_SHARED_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16)


class SharedSessions:
    """Opens graphs that mostly use the same weights, as when one layer of them is quantized.

    Args:
        weights: the float weights; what a graph takes from here unchanged is held once, outside of every graph.
        threads: CPU threads.
    """

    def __init__(self, weights: Weights, threads: int) -> None:
        self._originals = weights
        self._values: dict[str, Any] = {}
        self._threads = threads

    def open(self, graph: ModelProto, weights: Weights) -> Any:
        """A session of ``graph``, whose placeholders' data are ``weights``."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = 3
        shared = [
            tensor
            for tensor in graph.graph.initializer
            if is_placeholder(tensor)
            and tensor.data_type in _SHARED_TYPES
            and weights[tensor.name] is self._originals.get(tensor.name)
        ]
        names = [tensor.name for tensor in shared]
        for name in names:
            if name not in self._values:
                array = np.ascontiguousarray(weights[name].read())
                self._values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        options.add_external_initializers(names, [self._values[name] for name in names])
        rest = without_weights(graph)
        rest.graph.initializer.extend(tensor for tensor in graph.graph.initializer if tensor.name not in set(names))
        filled = attach(rest, weights)
        filled.graph.initializer.extend(map(_elsewhere, shared))
        return onnxruntime.InferenceSession(filled.SerializeToString(), options, providers=["CPUExecutionProvider"])


def last_logits(session: Any, feed: Feeds) -> NDArray[np.float64]:
    """Logits [B, V] behind a batch of prompts; the session is a decoder's, and its cache starts empty."""
    return np.asarray(session.run(["logits"], _with_cache(session, feed))[0][:, -1], np.float64)


def _elsewhere(tensor: TensorProto) -> TensorProto:
    """A placeholder in the form that ONNX Runtime takes for data it is given apart: it must name some file."""
    outside = TensorProto()
    outside.CopyFrom(tensor)
    outside.external_data.add(key="location", value="held in memory")
    return outside


def _with_cache(session: Any, feed: Feeds) -> dict[str, NDArray[Any]]:
    """The feed with an empty cache: no past where past and present differ, else a buffer that fits the prompt."""
    present = {value.name: value.shape for value in session.get_outputs()}
    batch, length = feed["key_modality"].shape
    values = {value.name: feed[value.name] for value in session.get_inputs() if value.name in feed}
    for value in session.get_inputs():
        if value.name.startswith("past_"):
            heads, kept, size = value.shape[1:]
            static = present[value.name.replace("past_", "present_", 1)][2] == kept
            dtype = np.float16 if value.type == "tensor(float16)" else np.float32
            rows = (kept if isinstance(kept, int) else length) if static else 0
            values[value.name] = np.zeros((batch, heads, rows, size), dtype)
    return values
