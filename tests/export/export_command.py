"""The command ``mosear-export`` as tests run it."""

from __future__ import annotations

import subprocess
import sys

EXPORT = (sys.executable, "-c", "from mosear.export.cli import main; main()")


def run_export(*arguments: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run ``mosear-export`` as a process of its own."""
    command = [*EXPORT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
