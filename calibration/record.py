"""The calibration of a checkpoint on disk: ``calibration.json`` and ``calibration.safetensors``, bound to its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mosear.calibration.gates import GateStatistics
from mosear.runtime.errors import BadInput

RECORD, TENSORS = "calibration.json", "calibration.safetensors"
SCHEMA = 1


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
    """

    checkpoint_sha256: str
    clips: int
    clips_sha256: str
    source: str
    temperature: float
    gates: GateStatistics
    trials: list[dict[str, float]]

    def save(self, folder: Path) -> None:
        """Write both files into ``folder``."""
        tensors = {f"{path}.mean": tensor.clone() for path, tensor in self.gates.mean.items()}
        tensors |= {f"{path}.variance": tensor.clone() for path, tensor in self.gates.variance.items()}
        save_file(tensors, folder / TENSORS)
        content = {
            "schema": SCHEMA,
            "checkpoint_sha256": self.checkpoint_sha256,
            "clips": self.clips,
            "clips_sha256": self.clips_sha256,
            "source": self.source,
            "temperature": self.temperature,
            "trials": self.trials,
        }
        (folder / RECORD).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, checkpoint_sha256: str) -> Calibration:
        """Read both files.

        Args:
            folder: where they are.
            checkpoint_sha256: the hash of the checkpoint that is going to use them.

        Raises:
            BadInput: they are missing or unreadable, or belong to another checkpoint.
        """
        remedy = "calibrate this checkpoint again: `python -m mosear.calibration CHECKPOINT --data ARRAYS`"
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            tensors = load_file(folder / TENSORS)
            gates = GateStatistics(
                {name.removesuffix(".mean"): t for name, t in tensors.items() if name.endswith(".mean")},
                {name.removesuffix(".variance"): t for name, t in tensors.items() if name.endswith(".variance")},
            )
            if content["schema"] != SCHEMA:
                raise BadInput(f"{folder / RECORD} has schema {content['schema']}, this version reads {SCHEMA}", remedy)
            record = cls(
                checkpoint_sha256=content["checkpoint_sha256"],
                clips=content["clips"],
                clips_sha256=content["clips_sha256"],
                source=content["source"],
                temperature=content["temperature"],
                gates=gates,
                trials=content["trials"],
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BadInput(f"{folder} has no usable calibration: {error}", remedy) from error
        if record.checkpoint_sha256 != checkpoint_sha256:
            raise BadInput(f"the calibration in {folder} belongs to another checkpoint", remedy)
        return record


def files_hash(paths: list[Path]) -> str:
    """SHA-256 over the contents of ``paths``, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
