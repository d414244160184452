"""What is loaded when, and what is said when a library is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

LOAD = """
import sys
from mosear.runtime.sinks.fanout import open_sinks
open_sinks([sys.argv[1]], ["happy"], {}).close(1)
open_sinks([], ["happy"], {}).close(1)
print([name for name in ("paho", "websockets") if name in sys.modules])
"""
MISSING = """
import sys
sys.modules[sys.argv[2]] = None
from mosear.runtime.errors import Failed
from mosear.runtime.sinks.fanout import open_sinks
try:
    open_sinks([sys.argv[1]], ["happy"], {})
except Failed as error:
    print(error.what, error.remedy)
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_needs_no_network_library(tmp_path: Path) -> None:
    assert run(LOAD, f"jsonl:{tmp_path / 'a.jsonl'}") == "[]\n"


@pytest.mark.parametrize(
    ("sink", "library"),
    [
        ("mqtt://127.0.0.1/b", "paho"),
        ("ws://127.0.0.1/b", "websockets"),
        ("rosbridge://127.0.0.1/b", "websockets"),
    ],
)
def test_a_missing_library_is_told_at_the_start(sink: str, library: str) -> None:
    said = run(MISSING, sink, library)
    assert "can't be imported" in said
    assert "pip install 'mosear[sinks]'" in said
