"""Every variable that the runtime reads is one that the doctor knows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mosear.runtime.doctor.system as system

RUNTIME = Path(system.__file__).parents[1]


def test_no_variable_that_is_read_is_called_unknown(tmp_path: Path) -> None:
    read = {name for path in RUNTIME.rglob("*.py") for name in re.findall(r'"(MOSEAR_[A-Z0-9_]+)"', path.read_text())}
    assert len(read) > 30
    # Values that every option of the doctor's own takes; the others are only looked at by name.
    values = {"MOSEAR_DEBUG": "0", "MOSEAR_CONFIG": "/dev/null", "MOSEAR_CAMERA": "none", "MOSEAR_MICROPHONE": "none"}
    environment = {**os.environ, **dict.fromkeys(read - {"MOSEAR_BUNDLE"}, "1"), **values, "MOSEAR_CAMRA": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "mosear.runtime.cli", "doctor", "--no-devices"],
        capture_output=True,
        text=True,
        env={**environment, "HOME": str(tmp_path), "COLUMNS": "200"},
        check=False,
    )
    named = set(re.findall(r"MOSEAR_[A-Z0-9_]+", done.stdout))
    assert "MOSEAR_CAMRA" in named, done.stdout + done.stderr
    assert named & read <= {"MOSEAR_CAMERA"}  # which the misspelt one is near to
