"""Damaged media through the decoder processes: the short form of benchmarks/fuzz_media.py."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_sixty_damaged_files_crash_and_leave_nothing(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "fuzz_media.py"
    command = [sys.executable, script, "--count", "60", "--seed", "11", "--folder", ROOT / "examples" / "clips"]
    done = subprocess.run([*command, "--keep", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {said: int(times) for times, said in re.findall(r"^ *(\d+)  (.+)$", done.stdout, re.MULTILINE)}
    assert sum(counts.values()) == 60
    assert counts["windows"] > 20  # they are damaged, not destroyed
    assert any(said.startswith("BadInput") for said in counts)
    assert list(tmp_path.iterdir()) == []
