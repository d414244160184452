"""What a build needs of disk, memory and time, from the checkpoint's shapes; and the refusal to start without them.

Sizes follow from the shapes. Memory and time are sums of what each stage was measured to take, in the units that it
scales with; ``benchmarks/build_resources.py`` compares them with builds.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from mosear.export.precision import formats_of
from mosear.export.recipe import Recipe
from mosear.export.targets import Target
from mosear.model.checkpoint import TOKENIZER
from mosear.model.configuration import MosearConfig
from mosear.model.modeling import Mosear
from mosear.model.shards import stored_bytes
from mosear.model.weights import parameters_without_memory
from mosear.runtime.errors import Failed
from mosear.runtime.prompt import load_tokenizer

END_TO_END, BY_LAYER = "end to end", "layer by layer"

_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5 + 4 / 32, "fp8": 1.0}
"""Bytes of a weight, a scale for 32 four-bit ones included."""
_MB, _GB = 1_000_000, 1_000_000_000


@dataclass(frozen=True)
class Shapes:
    """Sizes of a checkpoint, in parameters.

    Attributes:
        encoders: of both encoders and their projectors.
        products: of the decoder's projections but the last.
        head: of the last projection.
        layer: of the largest decoder layer.
        largest: of the largest weight.
        experts: of all experts.
        layers: how many decoder layers there are.
    """

    encoders: int
    products: int
    head: int
    layer: int
    largest: int
    experts: int
    layers: int

    @property
    def whole(self) -> int:
        """All of them, the token embeddings too."""
        return self.encoders + self.products + 2 * self.head + self.experts


@dataclass(frozen=True)
class Estimate:
    """What a build is going to need.

    Attributes:
        bundle_bytes: size of the bundle.
        disk_bytes: free space that the build takes.
        memory_bytes: peak of anonymous memory.
        seconds: duration.
        checks: ``end to end`` where the model fits into memory as float32, else ``layer by layer``.
    """

    bundle_bytes: int
    disk_bytes: int
    memory_bytes: int
    seconds: float
    checks: str


def shapes_of(checkpoint: Path, config: MosearConfig) -> Shapes:
    """The sizes of a checkpoint, from its configuration alone."""
    with parameters_without_memory():
        model = Mosear(config, load_tokenizer(checkpoint / TOKENIZER), with_experts=False)
    decoder = model.decoder
    layers = [sum(p.numel() for p in layer.parameters()) for layer in decoder.get_decoder().layers]
    head = decoder.config.vocab_size * decoder.config.hidden_size
    experts = 0
    if config.mose is not None:
        for path, module in decoder.named_modules():
            if path.rpartition(".")[2] in config.mose.target_modules:
                rows = (1 if config.mose.share_a else 3) * module.in_features + 3 * module.out_features
                experts += config.mose.r * rows + 3 * module.in_features
    matrices = [p.numel() for p in decoder.parameters() if p.dim() == 2]
    total = sum(p.numel() for p in model.parameters())
    in_decoder = sum(p.numel() for p in decoder.parameters())
    return Shapes(total - in_decoder, sum(layers), head, max(layers), max(matrices), experts, len(layers))


def estimate(checkpoint: Path, config: MosearConfig, recipe: Recipe, target: Target, threads: int) -> Estimate:
    """Predict what a build needs.

    Raises:
        BadInput: the checkpoint's configuration or tokenizer can't be used.
        UsageError: the target lacks a format of the recipe.
    """
    shapes = shapes_of(checkpoint, config)
    table = formats_of(recipe, target)
    bundle = _bundle_bytes(shapes, table, recipe)
    free = psutil.virtual_memory().available
    whole = _WHOLE_COPIES * 4 * shapes.whole
    checks = END_TO_END if _BASE_BYTES + whole <= 0.6 * free else BY_LAYER
    memory, seconds = _cost(shapes, bundle, stored_bytes(checkpoint), checks, recipe, threads)
    return Estimate(bundle, bundle + 64 * _MB, memory, seconds, checks)


def check_room(needs: Estimate, folder: Path) -> None:
    """Refuse a build that there is no room for.

    Args:
        needs: the estimate.
        folder: on the disk that the bundle is going to be written to.

    Raises:
        Failed: too little disk or memory; both figures are in the message.
    """
    disk = shutil.disk_usage(folder).free
    if disk < needs.disk_bytes:
        raise Failed(
            f"the build needs {_shown(needs.disk_bytes)} of disk, and {folder} has {_shown(disk)} left",
            "free space, or write to another disk",
        )
    memory = psutil.virtual_memory().available
    if memory < needs.memory_bytes:
        raise Failed(
            f"the build needs {_shown(needs.memory_bytes)} of memory, and {_shown(memory)} are free",
            "close other programs, or build on a machine with more memory",
        )


def _shown(size: float) -> str:
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / _MB:.0f} MB"


def _bundle_bytes(shapes: Shapes, table: dict[str, dict[str, str]], recipe: Recipe) -> int:
    def stored(component: str, count: int) -> float:
        return count * sum(_BYTES[form] for form in set(table[component].values()))

    embedding = 2 if "fp32" not in table["decoder"].values() and "fp16" in _floats(table) else 4
    head = stored("lm_head", shapes.head)
    labels = 16 * shapes.head / shapes.products if recipe.lm_head == "labels" else 0.0
    encoders = stored("vision", shapes.encoders)
    terms = shapes.experts * (2 if "fp16" in _floats(table) else 4) / 2
    return math.ceil(stored("decoder", shapes.products) + head + labels + encoders + terms + embedding * shapes.head)


def _floats(table: dict[str, dict[str, str]]) -> set[str]:
    return {form for graphs in table.values() for form in graphs.values() if form in ("fp16", "fp32")}


_BASE_BYTES = 560 * _MB
"""Libraries, and the exporter at work."""
_WHOLE_COPIES = 2.2
"""Copies of a float32 model that the end-to-end checks hold."""
_TRACED_LAYER_BYTES = 8 * _MB
_TRACE_SECONDS, _TRACED_LAYER_SECONDS = 12.0, 1.4
_SECONDS_PER_GB = {"hash": 1.0, "write": 4.0, "make": 30.0}
_LAYER_PARAMETERS_A_SECOND = 40e6


def _cost(shapes: Shapes, bundle: int, stored: int, checks: str, recipe: Recipe, threads: int) -> tuple[int, float]:
    """Bytes of anonymous memory and seconds."""
    transient = max(16 * shapes.largest, 10 * shapes.layer)
    memory = _BASE_BYTES + _TRACED_LAYER_BYTES * shapes.layers + transient
    seconds = _TRACE_SECONDS + _TRACED_LAYER_SECONDS * shapes.layers
    seconds += stored / _GB * _SECONDS_PER_GB["hash"] + bundle / _GB * _SECONDS_PER_GB["write"]
    seconds += shapes.whole / _GB * _SECONDS_PER_GB["make"] + shapes.products / _LAYER_PARAMETERS_A_SECOND
    if checks == END_TO_END:
        memory += int(_WHOLE_COPIES * 4 * shapes.whole)
    return int(memory), seconds
