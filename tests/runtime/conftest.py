"""Fixtures of the runtime's tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import runtime_fakes
import runtime_media

from mosear.runtime.board.machine import Machine
from mosear.runtime.manifest import Preprocessing

Trees = Callable[..., Machine]


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy bundle. Not to be changed."""
    return runtime_fakes.make_bundle(tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of grey frames and a tone."""
    return runtime_media.write(tmp_path_factory.mktemp("clips") / "good.mp4")


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    """The reference model's."""
    return Preprocessing(frame_size=64, frames=8, frames_per_clip=1, sample_rate=16000, window_s=3.0)


@pytest.fixture
def tree(tmp_path: Path) -> Trees:
    """Writes files (path from the root → text) and programs (name → what they print, or a script) as a machine."""

    def make(files: dict[str, str], programs: dict[str, str] | None = None, **environment: str) -> Machine:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for name, text in files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, said in (programs or {}).items():
            path = root / "usr" / "sbin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(said if said.startswith("#!") else f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
            path.chmod(0o755)
        return Machine(root, {"PATH": os.environ["PATH"], **environment})

    return make
