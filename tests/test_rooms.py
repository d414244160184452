"""The rooms of the house: an arrow that points up fails here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["export", "evaluation", "calibration", "clips", "model", "runtime"]  # a room may import only those after it


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    allowed = set(ROOMS[ROOMS.index(room) :])
    for path in files:
        used = {name.split(".")[1] for name in imports(path) if name.startswith("mosear.")}
        assert used <= allowed, f"{path} imports {used - allowed}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_called_after_nothing(room: str) -> None:
    names = {path.stem for path in (ROOT / room).rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
