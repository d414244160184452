"""Weights of a checkpoint mapped from disk: ``model.safetensors``, or the shards that an index lists."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mosear.runtime.errors import BadInput

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def open_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by name, mapped and not loaded: pages come from disk when they are read.

    Raises:
        BadInput: a file is missing or damaged, or the index and the shards disagree.
    """
    try:
        if not (folder / INDEX).is_file():
            return _mapped(folder / WEIGHTS)
        listed: dict[str, str] = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        by_shard = defaultdict(set)
        for name, shard in listed.items():
            by_shard[shard].add(name)
        state: dict[str, Tensor] = {}
        for shard, names in sorted(by_shard.items()):
            found = _mapped(folder / shard)
            if found.keys() != names:
                wrong = ", ".join(sorted(found.keys() ^ names)[:4])
                raise BadInput(
                    f"{folder / shard} and {INDEX} list different tensors: {wrong}", "restore the checkpoint's weights"
                )
            state |= found
        return state
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder / INDEX} can't be read: {error}", "restore the checkpoint's weights") from error


def stored_bytes(folder: Path) -> int:
    """Size of all weight files of a checkpoint."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def _mapped(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} can't be read: {error}", "restore the checkpoint's weights") from error
