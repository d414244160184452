"""Fake machines and stand-in modules."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mosear.runtime.doctor.machine import Machine

Trees = Callable[..., Machine]


@pytest.fixture
def tree(tmp_path: Path) -> Trees:
    """Writes files (path from the root → text) and programs (name → what they print) as a machine."""

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
            path.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
            path.chmod(0o755)
        return Machine(root, {"PATH": os.environ["PATH"], **environment})

    return make


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str, str], Machine]:
    """Puts a module of one's own before the real ones: name and source. Returns a machine whose children see it."""

    def make(name: str, source: str) -> Machine:
        folder = tmp_path / "modules"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        return Machine(environment={**os.environ, "PYTHONPATH": str(folder)})

    return make
