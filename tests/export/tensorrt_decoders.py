"""Lowered decoders for TensorRT, run by ONNX Runtime as the runtime would run their engines."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto
from small_decoders import exported, session, with_settings

from mosear.export.graphs.half import half_weights, to_half
from mosear.export.lowering.tensorrt import lower
from mosear.export.lowering.tensorrt.decoder import FEATURES
from mosear.export.tensors import Weights, attach, detach
from mosear.model.reallocation import Reallocation

FORMS = {"native": FEATURES, "plain": (), "old_cache": FEATURES[:3], "old_attention": FEATURES[1:]}
"""Combinations of features: all, none, and the two that versions between the floors have."""

TYPES = {onnx.TensorProto.FLOAT16: np.float16, onnx.TensorProto.FLOAT: np.float32}


@cache
def canonical(family: str, half: bool, low_rank: bool = True) -> tuple[ModelProto, Weights]:
    """A canonical decoder without its weights, and these; neither must be changed."""
    graph, weights = detach(exported(family, low_rank).graph)
    return (to_half(graph), half_weights(weights)) if half else (graph, weights)


def lowered(
    family: str, half: bool, form: str, phase: str, settings: Reallocation, capacity: int
) -> tuple[ModelProto, Weights]:
    """A lowered decoder, checked by ONNX, and its weights."""
    graph, weights = canonical(family, half)
    model = lower(with_settings(graph, settings), phase, FORMS[form], capacity)  # type: ignore[arg-type]
    return model, weights


def runner_of(model: ModelProto, weights: Weights) -> onnxruntime.InferenceSession:
    """A session for a graph and its weights, which must be a valid model."""
    whole = attach(model, weights)
    onnx.checker.check_model(whole, full_check=True)
    return session(whole)


def exact_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A session that computes the nodes as they are: optimized, ONNX Runtime would put its own int4 product in."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class DeviceCache:
    """Static buffers, NaN where nothing was written, updated in place or by a copy of new rows."""

    def __init__(self, model: ModelProto, batch: int) -> None:
        self.buffers = {}
        for value in model.graph.input:
            if value.name.startswith("past_"):
                kind = value.type.tensor_type
                _, heads, capacity, size = (each.dim_value for each in kind.shape.dim)
                shape = (batch, heads, capacity, size)
                self.buffers[value.name.removeprefix("past_")] = np.full(shape, np.nan, TYPES[kind.elem_type])

    def run(self, runner: onnxruntime.InferenceSession, feeds: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """All outputs but the cache."""
        values = {name: tensor.numpy() for name, tensor in feeds.items()}
        values |= {f"past_{name}": buffer for name, buffer in self.buffers.items()}
        wanted = {each.name for each in runner.get_inputs()}
        names = [each.name for each in runner.get_outputs()]
        outputs = dict(zip(names, runner.run(None, {k: v for k, v in values.items() if k in wanted}), strict=True))
        total, rows = feeds["key_modality"].shape[1], feeds["inputs_embeds"].shape[1]
        for name, buffer in self.buffers.items():
            present = outputs.pop(f"present_{name}")
            if present.shape == buffer.shape:
                buffer[:] = present
            else:
                assert present.shape[2] == rows
                buffer[:, :, total - rows : total] = present
        return outputs
