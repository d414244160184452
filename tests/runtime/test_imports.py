"""What the runtime may import, read from its source."""

import ast
import sys
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "runtime"
ALLOWED = {"numpy", "av", "pydantic", "tokenizers", "typer", "rich"}


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add(node.module or "")
    return names


def test_the_runtime_imports_no_other_room_and_no_training_library() -> None:
    files = sorted(RUNTIME.rglob("*.py"))
    assert len(files) > 15
    for path in files:
        for name in _imports(path):
            top = name.split(".")[0]
            if top == "mosear":
                assert name.startswith("mosear.runtime"), f"{path} imports {name}"
            elif top == "onnxruntime":
                assert path == RUNTIME / "sessions" / "onnxruntime.py", f"{path} imports {name}"
            else:
                assert top in ALLOWED or top in sys.stdlib_module_names, f"{path} imports {name}"
