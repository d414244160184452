"""Saving graphs that share one file of weights: equal tensors are stored once, at offsets that can be mapped."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from onnx import ModelProto, TensorProto, numpy_helper

from mosear.export.lowering.rewriting import without_weights

PREFILL, DECODE, WEIGHTS = "decoder_prefill.onnx", "decoder_decode.onnx", "decoder.weights"
"""Files of a decoder in a bundle."""

PAGE = 4096
"""Tensors begin on a page of memory, so that a reader can map them."""

INLINE_BYTES = 1024
"""Smaller tensors stay in the graph."""


def save_decoder(prefill: ModelProto, decode: ModelProto, folder: Path) -> list[Path]:
    """Write the two graphs of a decoder and their weights to ``folder``; returns the three files."""
    return save_sharing_weights({PREFILL: prefill, DECODE: decode}, folder, WEIGHTS)


def save_sharing_weights(models: Mapping[str, ModelProto], folder: Path, weights: str) -> list[Path]:
    """Write graphs with their weights in one file beside them.

    models: the graphs by file name; they stay as they are.
    weights: name of the file of weights.

    Returns the written files, weights last. Tensors of the same bytes are stored once, whatever their
    names and in whatever graph. The files belong together: a graph finds its weights in its own folder.
    """
    known: dict[bytes, tuple[int, int]] = {}
    with (folder / weights).open("wb") as file:
        for name, model in models.items():
            tensors = [_stored(tensor, file, weights, known) for tensor in model.graph.initializer]
            references = without_weights(model)
            references.graph.initializer.extend(tensors)
            (folder / name).write_bytes(references.SerializeToString())
    return [*(folder / name for name in models), folder / weights]


def _stored(tensor: TensorProto, file: BinaryIO, weights: str, known: dict[bytes, tuple[int, int]]) -> TensorProto:
    data = tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
    if len(data) < INLINE_BYTES:
        return tensor
    # The type and the shape need no part in the key: the same bytes serve every view of them.
    digest = hashlib.sha256(data).digest()
    if digest not in known:
        file.write(b"\0" * (-file.tell() % PAGE))
        known[digest] = (file.tell(), len(data))
        file.write(data)
    offset, length = known[digest]
    reference = TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", weights), ("offset", str(offset)), ("length", str(length))):
        entry = reference.external_data.add()
        entry.key, entry.value = key, value
    return reference
