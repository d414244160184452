"""Which sizes an engine is built for: its optimization profiles.

The decoder is one engine with two profiles, for the prompt and for decoding, because two engines would hold the weights
twice, and on a Jetson they are most of the memory. The price is the visual low-rank terms, which the decoding rows then
pass too: 2 r / D of two projections a layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mosear.runtime.manifest import Manifest

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""By input: the smallest shape, the one to be fastest for, the largest."""

PREFILL_PROFILE, DECODE_PROFILE = 0, 1
PROMPT_ROWS = 3
"""Everything, the picture alone, the sound alone: prompts that are run side by side."""

_TEXT_TOKENS = 96


@dataclass(frozen=True)
class Limits:
    """The largest sizes that a bundle asks for.

    Attributes:
        clips: inputs of the vision encoder in one call.
        prompt: tokens of a usual prompt, which the engine is tuned for.
        capacity: length of the KV cache.
        decode_rows: rows of a decoding step: each label of several tokens goes on from each prompt.
    """

    clips: int
    prompt: int
    capacity: int
    decode_rows: int

    def as_dict(self) -> dict[str, int]:
        """For the key of a cache."""
        return asdict(self)


def limits_of(manifest: Manifest) -> Limits:
    """What a bundle's engines must be able to take."""
    capacity = manifest.decoder.capacity
    long_labels = sum(len(label.token_ids) > 1 for label in manifest.labels)
    return Limits(
        clips=manifest.preprocessing.frames // manifest.preprocessing.frames_per_clip,
        prompt=min(capacity, manifest.tokens.visual + manifest.tokens.audio + _TEXT_TOKENS),
        capacity=capacity,
        decode_rows=PROMPT_ROWS * max(1, long_labels),
    )


def profiles_for(inputs: Sequence[tuple[str, Shape]], limits: Limits) -> list[Profile]:
    """The profiles of a graph, told by its inputs: two for a decoder, one for an encoder.

    inputs: names and shapes, -1 where a size is free.

    Raises ValueError for a free size that no profile knows.
    """
    names = {name for name, _ in inputs}
    if "inputs_embeds" in names:
        single = dict(inputs)["inputs_embeds"][1] == 1
        prefill = _sizes(1, PROMPT_ROWS, PROMPT_ROWS), _sizes(1, limits.prompt, limits.capacity)
        rows = min(PROMPT_ROWS, limits.decode_rows)
        decode = _sizes(1, rows, limits.decode_rows), _sizes(1, 1, 1)
        total = _sizes(1, limits.prompt, limits.capacity)
        chosen = [decode] if single else [prefill, decode]
        return [
            {
                name: _shapes(name, shape, {0: batch, 1: total if name == "key_modality" else sequence})
                for name, shape in inputs
            }
            for batch, sequence in chosen
        ]
    batch = _sizes(1, limits.clips, limits.clips) if "frames" in names else _sizes(1, 1, 1)
    return [{name: _shapes(name, shape, {0: batch}) for name, shape in inputs}]


def _sizes(smallest: int, usual: int, largest: int) -> Shape:
    return smallest, usual, largest


def _shapes(name: str, shape: Shape, free: Mapping[int, Shape]) -> tuple[Shape, Shape, Shape]:
    unknown = [axis for axis, size in enumerate(shape) if size < 0 and axis not in free]
    if unknown:
        raise ValueError(f"input {name} has a free size on axis {unknown[0]}, which no profile knows")
    smallest, usual, largest = (
        tuple(free[axis][place] if size < 0 else size for axis, size in enumerate(shape)) for place in range(3)
    )
    return smallest, usual, largest


def describe(profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """Profiles as plain lists, for a key or a report."""
    return [{name: [list(shape) for shape in shapes] for name, shapes in profile.items()} for profile in profiles]
