"""Fixtures of the calibration tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import calibration_clips
import numpy as np
import pytest


@pytest.fixture(scope="session")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 windows with structured pictures and sounds, balanced over three labels and three subsets."""
    rng = np.random.default_rng(0)
    media = [(calibration_clips.picture(rng), calibration_clips.voice(rng)) for _ in range(36)]
    return calibration_clips.write_arrays(tmp_path_factory.mktemp("arrays"), media, calibration_clips.balanced(36))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """The folder of a tiny checkpoint. Not to be changed."""
    from mosear.model.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(tiny_model(), folder)
    return folder
