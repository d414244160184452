"""Ranges of activations and scales of weights, measured by ``modelopt.torch.quantization`` on the PyTorch model.

For a linear module y = x W, with x [rows, in] and W [in, out], three things are measured on joint windows:

    input_amax  max |x|: the range of static int8 or FP8 activations (modelopt FP8, ``max`` calibration)
    smooth      SmoothQuant (Xiao et al., ICML 2023): s_j = max|W_j|^(1-α) / max|x_j|^α, x' = x s, W' = W / s
    awq         AWQ (Lin et al., MLSys 2024): s chosen so that int4 weights lose least on these x

Modules that read the same tensor (query, key and value; gate and up) get one vector, so that it can be folded into
whatever makes that tensor, and the tensor is quantized once. For SmoothQuant that is the paper's own rule for fused
projections, which takes max|W_j| over all of them; for AWQ it is the mean, as modelopt's export takes it.

Experts are merged at their mean gates first (`gates.hold_gates`): W is the weight that a merged bundle quantizes. Its
input is the same in a dynamic bundle, and x' W' = x W holds for any W.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mosear.calibration.gates import GateStatistics, hold_gates
from mosear.model.modeling import Mosear
from mosear.runtime.errors import Failed

METHODS = ("smoothquant", "awq")
SMOOTHING = 0.8
"""α of SmoothQuant. Its authors take 0.5 for OPT and 0.85 for Llama 2; on the reference model the int8 error of layers
is least at 0.8. modelopt's default of 1 moves all of the difficulty into the weights."""

BLOCK = 128
"""Rows of W that share an int4 scale."""

_FP8, _INT8 = {"num_bits": (4, 3), "axis": None}, {"num_bits": 8, "axis": None}
_INT8_WEIGHT = {"num_bits": 8, "axis": 0}
_OFF = {"enable": False}
Loop = Callable[[Mosear], None]


@dataclass(frozen=True, eq=False)
class LinearRanges:
    """What was measured at one linear module; arrays are float32 [in].

    Attributes:
        input_amax: max |x| over the calibration windows.
        smooth: SmoothQuant's scales: x' = x * smooth and W'[in, out] = W / smooth[:, None]; None if not measured.
        smooth_amax: max |x'|, or None.
        awq: AWQ's scales: x' = x * awq and W' = W / awq[:, None]; None if not measured.
    """

    input_amax: float
    smooth: NDArray[np.float32] | None = None
    smooth_amax: float | None = None
    awq: NDArray[np.float32] | None = None


def measure_ranges(
    model: Mosear, gates: GateStatistics, loop: Loop, methods: Collection[str] = METHODS
) -> dict[str, LinearRanges]:
    """Measure every linear module that ``loop`` makes a model run.

    Args:
        model: stays as it is; each method works on a copy of it.
        gates: at which experts are merged.
        loop: runs the given model on the calibration windows, see `prompts.calibration_loop`.
        methods: which scales to measure beside the ranges, of ``METHODS``.

    Returns:
        By module: ``model.layers.0.self_attn.q_proj``, ``lm_head`` (tied or not) for the decoder,
        ``vision.model...`` and ``audio.model...`` for encoders, ``vision.projector`` and ``audio.projector``.
        A module that no window runs through is not there.

    Raises:
        Failed: modelopt is not installed.
    """
    _modelopt()
    groups = _sharing(model, loop)
    amax = _input_amax(model, gates, loop)
    smooth = _smoothquant(model, gates, loop, groups) if "smoothquant" in methods else {}
    awq = _awq(model, gates, loop, groups) if "awq" in methods else {}
    found = {}
    for path, value in amax.items():
        scale, smooth_amax = smooth.get(path, (None, None))
        found[range_key(path)] = LinearRanges(value, scale, smooth_amax, awq.get(path))
    return found


def passes(methods: Collection[str]) -> int:
    """How often `measure_ranges` calls its loop: to find who reads what, for the ranges, and once or twice a method."""
    return 2 + ("smoothquant" in methods) + 2 * ("awq" in methods)


def range_key(path: str) -> str:
    """The key of the linear module at ``path`` in a `Mosear`."""
    path = path.removesuffix(".base_layer")
    projectors = {"visual_projector": "vision.projector", "audio_projector": "audio.projector"}
    return projectors.get(path, path.removeprefix("decoder."))


def block_of(in_features: int) -> int:
    """Rows of a weight [in, out] that share an int4 scale: the largest of 128, 64, 32, 16 that divides ``in``.

    modelopt pads a last block that is not full; a device's kernels don't. Where nothing divides: ``BLOCK``, padded.
    """
    return next((size for size in (BLOCK, 64, 32, 16) if in_features % size == 0), BLOCK)


def modelopt_version() -> str:
    """Name and version of the tool that measures.

    Raises:
        Failed: it is not installed.
    """
    _modelopt()
    return f"nvidia-modelopt {version('nvidia-modelopt')}"


def _modelopt() -> Any:
    try:
        with _quiet():
            import modelopt.torch.quantization as mtq
    except ImportError as error:
        raise Failed(
            f"measuring ranges needs NVIDIA ModelOpt: {error}",
            "pip install 'nvidia-modelopt>=0.47' requests, or calibrate without ranges (--no-ranges)",
        ) from error
    return mtq


def _input_amax(model: Mosear, gates: GateStatistics, loop: Loop) -> dict[str, float]:
    measured = _calibrated(model, gates, loop, lambda _: (_FP8, _FP8), "max")
    quantizers = {path: module.input_quantizer for path, module in measured.items()}
    return {path: float(q.amax) for path, q in quantizers.items() if q.amax is not None}


def _smoothquant(
    model: Mosear, gates: GateStatistics, loop: Loop, groups: list[list[str]]
) -> dict[str, tuple[NDArray[np.float32], float]]:
    algorithm = {"method": "smoothquant", "alpha": SMOOTHING}
    measured = _calibrated(model, gates, loop, lambda _: (_INT8_WEIGHT, _INT8), algorithm)
    quantizers = {path: module.input_quantizer for path, module in measured.items()}
    scales = {path: _vector(q.pre_quant_scale) for path, q in quantizers.items() if q.pre_quant_scale is not None}
    found = {}
    for group in groups:
        # All of a group saw the same x, so the largest scale is the one for the largest max|W_j|.
        shared = np.maximum.reduce([scales[path] for path in group])
        for path in group:
            amax = _vector(quantizers[path]._amax_for_smoothing)
            found[path] = (shared, float((amax * shared).max()))
    return found


def _awq(model: Mosear, gates: GateStatistics, loop: Loop, groups: list[list[str]]) -> dict[str, NDArray[np.float32]]:
    def formats(module: nn.Linear) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"num_bits": 4, "block_sizes": {-1: block_of(module.in_features), "type": "static"}}, _OFF

    measured = _calibrated(model, gates, loop, formats, {"method": "awq_lite", "alpha_step": 0.1})
    found = {path: module.input_quantizer.pre_quant_scale for path, module in measured.items()}
    scales = {path: _vector(scale) for path, scale in found.items() if scale is not None}
    shared: dict[str, NDArray[np.float32]] = {}
    for group in groups:
        mean = np.asarray(np.mean([scales[path] for path in group], axis=0, dtype=np.float64), dtype=np.float32)
        shared |= dict.fromkeys(group, mean)
    return shared


def _calibrated(
    model: Mosear,
    gates: GateStatistics,
    loop: Loop,
    formats: Callable[[nn.Linear], tuple[Mapping[str, Any], Mapping[str, Any]]],
    algorithm: str | dict[str, Any],
) -> dict[str, Any]:
    """The linear modules of a calibrated copy by path; ``formats`` gives a module's weight and input format."""
    mtq = _modelopt()
    copied = _merged_copy(model, gates)
    rules: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    linears = _linears(copied)
    for path, module in linears.items():
        for kind, values in zip(("weight", "input"), formats(module), strict=True):
            rule = dict(values) if "enable" in values else {"cfg": dict(values)}
            rules.append({"quantizer_name": f"{path}.{kind}_quantizer", **rule})
    with _quiet(), torch.no_grad():
        mtq.quantize(copied, {"quant_cfg": rules, "algorithm": algorithm}, loop)
    return dict(linears)  # modelopt changes the class of a module, not the object


class _Unseen(nn.Module):
    """Runs a module that modelopt must not look into: it can't convert HuBERT's weight-normalized convolution."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.run = module.__call__

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the module makes of its inputs."""
        return self.run(*inputs)


def _merged_copy(model: Mosear, gates: GateStatistics) -> Mosear:
    copied = copy.deepcopy(model)
    head, embedding = copied.decoder.get_output_embeddings(), copied.decoder.get_input_embeddings()
    if head.weight is embedding.weight:  # smoothing scales a weight in place, and words must stay what they are
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for path, module in list(copied.named_modules()):
        if parametrize.is_parametrized(module):
            parent, _, leaf = path.rpartition(".")
            setattr(copied.get_submodule(parent), leaf, _Unseen(module))
    hold_gates(copied, gates)
    return copied


def _linears(model: nn.Module) -> dict[str, nn.Linear]:
    return {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}


def _sharing(model: Mosear, loop: Loop) -> list[list[str]]:
    """The paths of all linear modules that run, in groups: those that read the very same tensor are together."""
    readers: dict[int, list[str]] = {}
    kept: dict[str, Tensor] = {}  # while they live, no other tensor can have their identity

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if path not in kept:
                kept[path] = inputs[0]
                readers.setdefault(id(inputs[0]), []).append(path)

        return hook

    hooks = [module.register_forward_pre_hook(note(path)) for path, module in _linears(model).items()]
    try:
        with torch.no_grad():
            loop(model)
    finally:
        for hook in hooks:
            hook.remove()
    return list(readers.values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep modelopt's progress notes off standard output, which belongs to results."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _vector(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().flatten().cpu().numpy().copy()
