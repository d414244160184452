"""The KV cache of one layer, in the two forms that versions of TensorRT allow.

TensorRT 10.15 and later have a layer that writes new keys into a network input in place (``TensorScatter`` in ONNX).
Older ones have no way to write into an input. There, ``ScatterND`` would copy the whole buffer every step and so would
a ``Concat`` that becomes an output. So the graph hands out only what is new, S rows, for the caller to copy into the
buffer, and reads old and new keys as two pieces: products with each, then one softmax over both. Nothing of the cache
is ever copied.
"""

from dataclasses import dataclass

from mosear.export.lowering.rewriting import Emitter


@dataclass(frozen=True)
class Positions:
    """Where the new keys go. Vectors of one, int64: T and P = T - S; ``write`` [B] repeats P, empty when not needed."""

    total: str
    past: str
    write: str


def positions(emit: Emitter, own_cache: bool) -> Positions:
    """Read T and P off the shapes of ``key_modality`` and ``inputs_embeds``."""
    total = emit.op("Shape", "key_modality", start=1, end=2)
    past = emit.op("Sub", total, emit.op("Shape", "inputs_embeds", start=1, end=2))
    write = ""
    if own_cache:
        write = emit.op("Expand", past, emit.op("Shape", "inputs_embeds", start=0, end=1))
    return Positions(total, past, write)


def cached(emit: Emitter, past: str, new: str, present: str, where: Positions, own_cache: bool) -> list[str]:
    """Make the output ``present``; returns the pieces [B, Hkv, *, Dh] that together are the first T positions."""
    if own_cache:
        buffer = emit.op("TensorScatter", past, new, where.write, out=present, axis=2, mode="linear")
        return [emit.op("Slice", buffer, emit.ints(0), where.total, emit.ints(2))]
    emit.op("Identity", new, out=present)
    return [emit.op("Slice", past, emit.ints(0), where.past, emit.ints(2)), new]
