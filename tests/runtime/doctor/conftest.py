"""Stand-in modules."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mosear.runtime.board.machine import Machine


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str, str], Machine]:
    """Puts a module of one's own before the real ones: name and source. Returns a machine whose children see it."""

    def make(name: str, source: str) -> Machine:
        folder = tmp_path / "modules"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        return Machine(environment={**os.environ, "PYTHONPATH": str(folder)})

    return make
