"""Gate statistics: what each expert's gate is, on average and in spread, for each modality class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mosear.model.configuration import EXPERTS
from mosear.model.experts import MoseLinear
from mosear.model.modeling import Mosear
from mosear.runtime.modality import Modality

CLASSES = ("visual", "non_visual")


@dataclass(frozen=True)
class GateStatistics:
    """Gates over the calibration clips.

    Attributes:
        mean: by module path, float32 [2 classes, 3 experts]; rows sum to 1.
        variance: by module path, same shape; large values say that static gates would change the model.
    """

    mean: dict[str, Tensor]
    variance: dict[str, Tensor]


@torch.no_grad()
def measure_gates(
    model: Mosear, transcripts: list[str | None], encoded: tuple[Tensor, Tensor], batch: int = 64
) -> GateStatistics:
    """Mean and variance of every module's gates by class, over all visible rows of the emotion prompt.

    Args:
        model: a model with experts; its reallocation stays as it is, since it changes what later layers see.
        transcripts: one a clip.
        encoded: encoder outputs of the clips, [N, Nv, Cv] and [N, Na, Ca].
        batch: clips a forward.
    """
    first = {path: torch.zeros(2, 3, dtype=torch.float64) for path in model.experts}
    second = {path: torch.zeros(2, 3, dtype=torch.float64) for path in model.experts}
    count = torch.zeros(2, 1, dtype=torch.float64)
    for start in range(0, len(transcripts), batch):
        rows = slice(start, start + batch)
        visual, audio = model.visual_projector(encoded[0][rows]), model.audio_projector(encoded[1][rows])
        sequence = model.sequence(transcripts[rows], "emotion", visual, audio)
        gates = model.token_modality.gates = {}
        model(sequence, keep=1)
        model.token_modality.gates = None
        kinds = (
            sequence.modality == Modality.VISUAL,
            (sequence.modality == Modality.TEXT) | (sequence.modality == Modality.AUDIO),
        )
        for index, chosen in enumerate(kinds):
            count[index] += int(chosen.sum())
            for path, gate in gates.items():
                first[path][index] += gate[chosen].double().sum(0)
                second[path][index] += gate[chosen].double().square().sum(0)
    mean = {path: (total / count) for path, total in first.items()}
    variance = {path: (second[path] / count - mean[path].square()).clamp_min(0) for path in second}
    return GateStatistics({p: t.float() for p, t in mean.items()}, {p: t.float() for p, t in variance.items()})


def merged_weight(module: MoseLinear, gates: Tensor) -> Tensor:
    """The weight of a module whose experts have constant gates: W + (alpha / r) Σ_e g_e B_e A_e.

    Args:
        module: the experts on one linear module.
        gates: [3], in the order of ``EXPERTS``.

    Returns:
        float64 [out, in].
    """
    weight = module.base_layer.weight.double()
    for name, gate in zip(EXPERTS, gates.double(), strict=True):
        a = module.lora_A["shared" if module.mose.share_a else name].double()
        weight = weight + (module.mose.alpha / module.mose.r) * gate * module.lora_B[name].double() @ a
    return weight


@torch.no_grad()
def hold_gates(model: Mosear, gates: GateStatistics) -> None:
    """Change ``model`` in place into its merged form: base weights W*, experts only for what visual rows add.

    Afterwards ``base_layer`` of each expert module holds the very weight that a merged bundle quantizes.
    """
    for path, module in model.experts.items():
        visual, other = gates.mean[path]
        module.base_layer.weight.copy_(merged_weight(module, other))
        module.fixed_gates = torch.stack([visual - other, torch.zeros_like(other)])
