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
from torch import nn

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

_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5 + 4 / 128, "fp8": 1.0}
"""Bytes of a weight; four-bit ones with a scale for 128 of them."""
_MB, _GB = 1_000_000, 1_000_000_000


@dataclass(frozen=True)
class Shapes:
    """Sizes of a checkpoint, in parameters.

    Attributes:
        encoders: of the products of both encoders and of their projectors.
        encoders_rest: of the encoders' convolutions, embeddings, norms and biases, which are never quantized.
        tables: of the encoders' constants, such as the spectrum's basis: float32 in every build.
        products: of the decoder's projections but the last.
        head: of the last projection.
        layer: of the largest decoder layer.
        experts: of all experts.
        layers: how many decoder layers there are.
        visual_tokens: of a window.
    """

    encoders: int
    encoders_rest: int
    tables: int
    products: int
    head: int
    layer: int
    experts: int
    layers: int
    visual_tokens: int

    @property
    def whole(self) -> int:
        """All of them, the token embeddings too."""
        return self.encoders + self.encoders_rest + self.products + 2 * self.head + self.experts


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
    parts = (model.vision, model.audio, model.visual_projector, model.audio_projector)
    linear = [m for part in parts for m in part.modules() if isinstance(m, nn.Linear)]
    encoders = sum(module.weight.numel() for module in linear)
    rest = sum(p.numel() for part in parts for p in part.parameters()) - encoders
    tables = sum(b.numel() for part in parts for b in part.buffers() if b.is_floating_point())
    return Shapes(encoders, rest, tables, sum(layers), head, max(layers), experts, len(layers), model.visual_tokens)


def estimate(checkpoint: Path, config: MosearConfig, recipe: Recipe, target: Target, engines: bool = False) -> Estimate:
    """Predict what a build needs.

    Args:
        checkpoint: its folder.
        config: its configuration.
        recipe: what to do.
        target: what for.
        engines: whether engines are compiled too; they hold the weights once more.

    Raises:
        BadInput: the checkpoint's configuration or tokenizer can't be used.
        UsageError: the target lacks a format of the recipe.
    """
    shapes = shapes_of(checkpoint, config)
    table = formats_of(recipe, target)
    bundle = _bundle_bytes(shapes, table, recipe) + (checkpoint / TOKENIZER).stat().st_size
    if engines:
        bundle = 2 * bundle + _ENGINE_BYTES
    free = psutil.virtual_memory().available
    whole = _WHOLE_COPIES * 4 * shapes.whole
    checks = END_TO_END if _BASE_BYTES + whole <= 0.6 * free else BY_LAYER
    memory, seconds = _cost(shapes, table, bundle, checkpoint, config, recipe, checks)
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

    floating = 2 if "fp16" in _floats(table) else 4
    embedding = 2 if "fp32" not in table["decoder"].values() and "fp16" in _floats(table) else 4
    weights = stored("decoder", shapes.products) + stored("lm_head", shapes.head) + stored("vision", shapes.encoders)
    weights += floating * (shapes.encoders_rest + shapes.experts / 2) + 4 * shapes.tables
    graphs = 3 if recipe.lm_head == "labels" else 2
    structure = _STRUCTURE_BYTES + graphs * _LAYER_STRUCTURE_BYTES * shapes.layers
    return math.ceil(weights + embedding * shapes.head + structure)


_ENGINE_BYTES = 18 * _MB
_STRUCTURE_BYTES, _LAYER_STRUCTURE_BYTES = 250_000, 25_000
"""Of what is no weight: the encoders' graphs, manifest and report; and a layer of one decoder graph, with the gaps
between tensors that begin on pages."""


def _floats(table: dict[str, dict[str, str]]) -> set[str]:
    return {form for graphs in table.values() for form in graphs.values() if form in ("fp16", "fp32")}


_BASE_BYTES = 560 * _MB
"""Libraries, and the exporter at work."""
_WHOLE_COPIES = 1.15
"""Copies of a float32 model that the end-to-end checks hold."""
_TRACED_LAYER_BYTES = 8 * _MB
_LAYER_BYTES = 7.4
"""Of a parameter while its layer is compared: stored, in float32, and as ONNX Runtime holds it."""

# Seconds, on two cores of a server of 2024 that was also busy with other work.
_START, _TRACED_LAYER, _RENDERED_WINDOW = 14.0, 1.4, 0.035
_HASHED_GB, _WRITTEN_GB = 1.2, 5.0
_MADE_BILLION = {"fp32": 17.0, "fp16": 17.0, "int8": 20.0, "int4": 28.0, "fp8": 20.0}
_COMPARED_BILLION = 28.0
_WINDOW, _FORWARDS, _FLOPS_A_SECOND = 0.14, 4.0, 1e11
"""An end-to-end window: what it takes whatever the model, forwards in PyTorch, and how fast these are."""
_TEXT_TOKENS = 60


def _cost(
    shapes: Shapes,
    table: dict[str, dict[str, str]],
    bundle: int,
    checkpoint: Path,
    config: MosearConfig,
    recipe: Recipe,
    checks: str,
) -> tuple[int, float]:
    """Bytes of anonymous memory and seconds."""
    pre = config.preprocessing
    memory = _BASE_BYTES + _TRACED_LAYER_BYTES * shapes.layers + _LAYER_BYTES * shapes.layer
    seconds = _START + _TRACED_LAYER * shapes.layers
    seconds += stored_bytes(checkpoint) / _GB * _HASHED_GB + bundle / _GB * (_WRITTEN_GB + 2 * _HASHED_GB)
    formats = set(table["decoder"].values())
    seconds += shapes.products / 1e9 * (sum(_MADE_BILLION[form] for form in formats) + _COMPARED_BILLION)
    if checks == END_TO_END:
        windows = recipe.checks.examples
        memory += _WHOLE_COPIES * 4 * shapes.whole
        memory += windows * (3 * pre.frames * pre.frame_size**2 + 4 * pre.window_samples)
        tokens = shapes.visual_tokens + config.audio_tokens + _TEXT_TOKENS
        forward = 2 * (shapes.products + shapes.head) * tokens / _FLOPS_A_SECOND
        seconds += windows * (_RENDERED_WINDOW + _WINDOW + _FORWARDS * forward)
    return int(memory), seconds
