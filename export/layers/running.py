"""Running a graph whose weights are apart from it, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from mosear.export.lowering.rewriting import without_weights
from mosear.export.tensors import Weights, attach, is_placeholder

Feeds = Mapping[str, NDArray]
Runner = Callable[[ModelProto, Weights, Feeds], list[NDArray]]
"""Runs a graph with its weights on these inputs, of which it takes those that it reads; gives its outputs in order."""

_SHARED = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT64)


def run_onnxruntime(model: ModelProto, weights: Weights, feeds: Feeds) -> list[NDArray]:
    """Run on ONNX Runtime's CPU provider, weights used where they lie.

    Floats are given the type that the graph's input has. Besides the weights themselves the library holds what it
    folds: a float16 weight is there a second time in float32.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Both would keep copies of the weights, or of what comes between, for runs that never follow.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = False
    # Behind DequantizeLinear it would quantize the activations too, which the graph does not say.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    bare, shared = _share(model, weights)
    names = list(shared)
    options.add_external_initializers(names, [onnxruntime.OrtValue.ortvalue_from_numpy(shared[n]) for n in names])
    session = onnxruntime.InferenceSession(bare.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, _fitting(model, feeds)))


def run_reference(model: ModelProto, weights: Weights, feeds: Feeds) -> list[NDArray]:
    """Run on ONNX's reference evaluator: slow, and it knows every standard operator."""
    return list(ReferenceEvaluator(attach(model, weights)).run(None, _fitting(model, feeds)))


def _share(model: ModelProto, weights: Weights) -> tuple[ModelProto, dict[str, NDArray]]:
    """The graph with the weights in it that NumPy has no type for, and all others beside it."""
    rare = {name: weight for name, weight in weights.items() if weight.dtype not in _SHARED}
    shared = {}
    bare = without_weights(model)
    for tensor in model.graph.initializer:
        if is_placeholder(tensor) and tensor.name not in rare:
            # The library makes a scalar one-dimensional.
            shared[tensor.name] = np.ascontiguousarray(weights[tensor.name].read()).reshape(tuple(tensor.dims))
            outside = TensorProto()
            outside.CopyFrom(tensor)
            for key, value in (("location", "weights"), ("offset", "0"), ("length", str(shared[tensor.name].nbytes))):
                entry = outside.external_data.add()
                entry.key, entry.value = key, value
            bare.graph.initializer.append(outside)
        elif is_placeholder(tensor):
            data = np.ascontiguousarray(rare[tensor.name].read()).tobytes()
            bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data)
        else:
            bare.graph.initializer.append(tensor)
    return bare, shared


def _fitting(model: ModelProto, feeds: Feeds) -> dict[str, NDArray]:
    fitting = {}
    for value in model.graph.input:
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        fitting[value.name] = np.ascontiguousarray(feeds[value.name], dtype=dtype)
    return fitting
