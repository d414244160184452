"""What a run's answers relied on: attention by modality, layer and head, chosen heads, gates; also by subset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.evaluation.results import Run

ALL = "all"
EXPERTS = ("visual", "non_visual", "omni")
CLASSES = ("visual", "other")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Relied:
    """Means over the clips of one subset.

    Attributes:
        clips: how many reported their attention.
        mass: [R, H, 3], attention of the last row on text, visual and audio keys, before reallocation.
        selected: [R, H], share of clips' windows in which the head was reallocated.
    """

    clips: int
    mass: Array
    selected: Array

    @property
    def audio_share(self) -> Array:
        """[R, H], P_a / (P_a + P_v): what reallocation looks at. Zero where a head sees no media at all."""
        media = self.mass[..., 1] + self.mass[..., 2]
        return np.divide(self.mass[..., 2], media, out=np.zeros_like(media), where=media > 0)


@dataclass(frozen=True)
class Attention:
    """What a run relied on.

    Attributes:
        layers: the R layers that report.
        by_subset: ``all`` first, then each subset that the clips have.
        gates: by module path, [2, 3]: mean share of the experts visual, non_visual and omni, on visual rows and on the
            others; empty where there are none.
        gates_from: ``clips`` when they were measured on them, ``calibration`` when a bundle holds them constant.
    """

    layers: list[int]
    by_subset: dict[str, Relied]
    gates: dict[str, Array] = field(default_factory=dict)
    gates_from: str = "clips"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "layers": self.layers,
            "by_subset": {
                name: {
                    "clips": part.clips,
                    "mass_text_visual_audio": part.mass.round(6).tolist(),
                    "audio_share": part.audio_share.round(6).tolist(),
                    "selected": part.selected.round(6).tolist(),
                }
                for name, part in self.by_subset.items()
            },
            "gates_visual_nonvisual_omni": {path: gate.round(6).tolist() for path, gate in self.gates.items()},
            "gates_from": self.gates_from,
        }


def attention_of(run: Run) -> Attention | None:
    """Means over the clips of a run; None when no clip reported any."""
    subsets = {record.name: record.subset for record in run.records}
    found = mean_attention(run.attention(), subsets)
    if found is None or found.gates:
        return found
    held = run.about["setup"]["subject"].get("gates") or {}
    gates = {path: np.asarray(values, np.float64) for path, values in held.items()}
    return Attention(found.layers, found.by_subset, gates, "calibration")


def mean_attention(records: Iterable[AttentionRecord], subsets: Mapping[str, str | None]) -> Attention | None:
    """Means in one pass: a long run's attention does not fit into memory.

    Args:
        records: one a clip, all of one model.
        subsets: of the clips by name.
    """
    layers: list[int] = []
    counts: dict[str, int] = {}
    mass: dict[str, Array] = {}
    selected: dict[str, Array] = {}
    gates: dict[str, Array] = {}
    for record in records:
        layers = record.layers
        subset = subsets.get(record.name)
        for name in (ALL, subset) if subset else (ALL,):
            counts[name] = counts.get(name, 0) + 1
            mass[name] = mass.get(name, np.zeros(())) + np.asarray(record.mass, np.float64)
            selected[name] = selected.get(name, np.zeros(())) + np.asarray(record.selected, np.float64)
        for path, values in record.gates.items():
            gates[path] = gates.get(path, np.zeros(())) + np.asarray(values, np.float64)
    if not counts:
        return None
    by_subset = {name: Relied(count, mass[name] / count, selected[name] / count) for name, count in counts.items()}
    return Attention(layers, by_subset, {path: total / counts[ALL] for path, total in gates.items()})


def reliance_by_subset(records: Sequence[ClipRecord]) -> dict[str, dict[str, float]]:
    """Mean share of attention on picture, sound and text after reallocation, over all clips and by subset."""
    parts: dict[str, list[dict[str, float]]] = {}
    for record in records:
        if record.reliance is not None:
            for name in (ALL, record.subset) if record.subset else (ALL,):
                parts.setdefault(name, []).append(record.reliance)
    return {
        name: {kind: float(np.mean([row[kind] for row in rows])) for kind in ("visual", "audio", "text")}
        for name, rows in parts.items()
    }
