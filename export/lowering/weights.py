"""Saving graphs that share one file of weights: each weight is made, written and dropped, and stored once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto

from mosear.export.lowering.rewriting import without_weights
from mosear.export.tensors import Weight, Weights, is_placeholder, raw_type

VISION, AUDIO = "vision.onnx", "audio.onnx"
PREFILL, DECODE, LABELS = "decoder_prefill.onnx", "decoder_decode.onnx", "decoder_labels.onnx"
WEIGHTS = "decoder.weights"
"""Files of a bundle's graphs, and of the weights that the decoder's share."""

PAGE = 4096
"""Tensors begin on a page of memory, so that a reader can map them."""


def save_sharing_weights(
    models: Mapping[str, ModelProto],
    weights: Weights,
    folder: Path,
    file_name: str,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Path]:
    """Write graphs with their weights in one file beside them.

    Args:
        models: the graphs by file name; they stay as they are. Placeholders of the same name are the same weight.
        weights: the data of all placeholders; at any time one of them is in memory.
        folder: where to write. The files belong together: a graph finds its weights in its own folder.
        file_name: of the weights.
        progress: called with the fraction of the bytes written.

    Returns:
        The written files, weights last.

    Raises:
        KeyError: a placeholder has no weight.
        ValueError: a placeholder has another type or shape than its weight.
    """
    tensors = [tensor for model in models.values() for tensor in model.graph.initializer if is_placeholder(tensor)]
    wanted = dict.fromkeys(tensor.name for tensor in tensors)
    for tensor in tensors:
        if (tensor.data_type, tuple(tensor.dims)) != (weights[tensor.name].dtype, weights[tensor.name].shape):
            raise ValueError(f"{tensor.name} is {list(tensor.dims)}, its weight {list(weights[tensor.name].shape)}")
    total = sum(weights[name].nbytes for name in wanted) or 1
    places: dict[str, tuple[int, int]] = {}
    with (folder / file_name).open("wb") as file:
        for name in wanted:
            data = np.ascontiguousarray(weights[name].read())
            file.write(b"\0" * (-file.tell() % PAGE))
            places[name] = (file.tell(), data.nbytes)
            file.write(data.data)
            del data
            progress(file.tell() / total)
    for name, model in models.items():
        references = without_weights(model)
        references.graph.initializer.extend(_stored(tensor, places, file_name) for tensor in model.graph.initializer)
        (folder / name).write_bytes(references.SerializeToString())
    return [*(folder / name for name in models), folder / file_name]


def open_saved(path: Path) -> tuple[ModelProto, Weights]:
    """A saved graph as a structure, and its weights, each mapped from disk when it is read."""
    model = ModelProto()
    model.ParseFromString(path.read_bytes())
    weights: Weights = {}
    for tensor in model.graph.initializer:
        if is_placeholder(tensor):
            place = {entry.key: entry.value for entry in tensor.external_data}
            weights[tensor.name] = _mapped(tensor, path.parent / place["location"], int(place["offset"]))
            del tensor.external_data[:]
    return model, weights


def _mapped(tensor: TensorProto, file: Path, offset: int) -> Weight:
    shape = tuple(tensor.dims)
    kind = raw_type(tensor.data_type)
    if kind is None:
        size = Weight(tensor.data_type, shape, np.empty(0).copy).nbytes
        return Weight(tensor.data_type, shape, lambda: np.memmap(file, np.uint8, "r", offset, (size,)))
    return Weight(tensor.data_type, shape, lambda: np.memmap(file, kind, "r", offset, shape))


def _stored(tensor: TensorProto, places: Mapping[str, tuple[int, int]], file_name: str) -> TensorProto:
    if not is_placeholder(tensor):
        return tensor
    offset, length = places[tensor.name]
    reference = TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", file_name), ("offset", str(offset)), ("length", str(length))):
        entry = reference.external_data.add()
        entry.key, entry.value = key, value
    return reference
