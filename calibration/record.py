"""The calibration of a checkpoint on disk: ``calibration.json`` and ``calibration.safetensors``, bound to its hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mosear.calibration.gates import GateStatistics
from mosear.calibration.quantization import LinearRanges
from mosear.model.configuration import MosearConfig
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import BadInput

RECORD, TENSORS = "calibration.json", "calibration.safetensors"
SCHEMA = 2
READABLE = (1, 2)
"""Schema 1 knew neither ranges nor a choice of reallocation: the checkpoint's config.json held that."""

_RANGES = "ranges."
_REMEDY = "calibrate this checkpoint again: `mosear-export calibrate CHECKPOINT CLIPS -o DIR`"


@dataclass(frozen=True)
class Choice:
    """The setting of reallocation that validation clips spoke for; None for no reallocation."""

    setting: Reallocation | None


@dataclass(frozen=True)
class Calibration:
    """What was learnt from clips about one checkpoint.

    Attributes:
        checkpoint_sha256: the checkpoint that it belongs to.
        clips: how many clips it was learnt from.
        clips_sha256: hash of those clips.
        source: one line that says what they were.
        temperature: of the label scores.
        gates: mean and variance by module.
        trials: the settings of reallocation that were tried, as rows of a table.
        reallocation: the one that was chosen, or None when none was: then the checkpoint's own holds.
        ranges: of activations and the scales of weights by linear module, or None when they were not measured.
        ranges_from: on how many windows, with which tool and settings; empty without ranges.
        coverage: windows by label, by subset and with a transcript, and the number left out by reason.
        notes: what could not be learnt from these clips and was taken from elsewhere, a line each.
    """

    checkpoint_sha256: str
    clips: int
    clips_sha256: str
    source: str
    temperature: float
    gates: GateStatistics
    trials: list[dict[str, float]]
    reallocation: Choice | None = None
    ranges: dict[str, LinearRanges] | None = None
    ranges_from: dict[str, Any] = field(default_factory=dict)
    coverage: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def reallocation_for(self, config: MosearConfig) -> Reallocation | None:
        """What a build of the checkpoint with this configuration uses: the calibrated setting, else its own."""
        return config.reallocation if self.reallocation is None else self.reallocation.setting

    def save(self, folder: Path) -> None:
        """Write both files into ``folder``, which is made if it does not exist; older ones are replaced at the end.

        Raises:
            BadInput: the folder can't be written.
        """
        tensors = {f"{path}.mean": tensor.clone() for path, tensor in self.gates.mean.items()}
        tensors |= {f"{path}.variance": tensor.clone() for path, tensor in self.gates.variance.items()}
        for key, ranges in (self.ranges or {}).items():
            tensors |= _range_tensors(key, ranges)
        content = {
            "schema": SCHEMA,
            "checkpoint_sha256": self.checkpoint_sha256,
            "clips": self.clips,
            "clips_sha256": self.clips_sha256,
            "source": self.source,
            "temperature": self.temperature,
            "reallocation": None if self.reallocation is None else dataclasses.asdict(self.reallocation),
            "ranges": None if self.ranges is None else self.ranges_from,
            "coverage": self.coverage,
            "notes": list(self.notes),
            "trials": self.trials,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = {TENSORS: save(tensors), RECORD: (json.dumps(content, indent=1) + "\n").encode()}
            for name, data in files.items():
                (folder / f"{name}.partial").write_bytes(data)
            for name in files:
                (folder / f"{name}.partial").replace(folder / name)
        except OSError as error:
            raise BadInput(f"{folder} can't be written: {error}", "choose a folder on a disk with room") from error

    @classmethod
    def load(cls, folder: Path, checkpoint_sha256: str) -> Calibration:
        """Read both files.

        Args:
            folder: where they are: the checkpoint's own folder or another, or the path of the JSON file itself.
            checkpoint_sha256: the hash of the checkpoint that is going to use them.

        Raises:
            BadInput: they are missing or unreadable, or belong to another checkpoint.
        """
        folder = folder.parent if folder.name == RECORD else folder
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            tensors = load_file(folder / TENSORS)
            if content["schema"] not in READABLE:
                known = " and ".join(map(str, READABLE))
                raise BadInput(f"{folder / RECORD} has schema {content['schema']}, this version reads {known}", _REMEDY)
            record = _parsed(content, tensors)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise BadInput(f"{folder} has no usable calibration: {error}", _REMEDY) from error
        if record.checkpoint_sha256 != checkpoint_sha256:
            raise BadInput(f"the calibration in {folder} belongs to another checkpoint", _REMEDY)
        return record


def _parsed(content: dict[str, Any], tensors: dict[str, Tensor]) -> Calibration:
    of_gates = {name: tensor for name, tensor in tensors.items() if not name.startswith(_RANGES)}
    gates = GateStatistics(
        {name.removesuffix(".mean"): t for name, t in of_gates.items() if name.endswith(".mean")},
        {name.removesuffix(".variance"): t for name, t in of_gates.items() if name.endswith(".variance")},
    )
    chosen, ranges_from = content.get("reallocation"), content.get("ranges")
    return Calibration(
        checkpoint_sha256=content["checkpoint_sha256"],
        clips=content["clips"],
        clips_sha256=content["clips_sha256"],
        source=content["source"],
        temperature=content["temperature"],
        gates=gates,
        trials=content["trials"],
        reallocation=None if chosen is None else Choice(_setting(chosen["setting"])),
        ranges=None if ranges_from is None else _ranges(tensors),
        ranges_from=ranges_from or {},
        coverage=content.get("coverage", {}),
        notes=tuple(content.get("notes", ())),
    )


def _setting(values: dict[str, Any] | None) -> Reallocation | None:
    if values is None:
        return None
    return Reallocation(**values)


def _range_tensors(key: str, ranges: LinearRanges) -> dict[str, Tensor]:
    values = {name: getattr(ranges, name) for name in LinearRanges.__dataclass_fields__}
    return {
        f"{_RANGES}{key}.{name}": torch.tensor(value, dtype=torch.float32)
        for name, value in values.items()
        if value is not None
    }


def _ranges(tensors: dict[str, Tensor]) -> dict[str, LinearRanges]:
    found: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_RANGES):
            key, _, kind = name.removeprefix(_RANGES).rpartition(".")
            found.setdefault(key, {})[kind] = tensor.numpy() if tensor.ndim else float(tensor)
    return {key: LinearRanges(**values) for key, values in found.items()}


def files_hash(paths: list[Path]) -> str:
    """SHA-256 over the contents of ``paths``, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
