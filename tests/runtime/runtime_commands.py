"""`mosear` in a process of its own, and what its streams held."""

import json
import os
import subprocess
import sys


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mosear.runtime.cli", *map(str, arguments)]


def mosear(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return finished(command(*arguments), **variables)


def finished(line: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A process that has ended, with none of mosear's variables but those given."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    return subprocess.run(
        line,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**environment, "COLUMNS": "100", **variables},
        timeout=120,
        check=False,
    )


def json_lines(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def two_lines(stderr: str) -> list[tuple[str, str]]:
    """The pairs of what is wrong and what to do."""
    lines = [line for line in stderr.splitlines() if line != "This is a toy and reads nobody."]
    assert "Traceback" not in stderr
    assert len(lines) % 2 == 0, stderr
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    for what, remedy in pairs:
        assert what.startswith("error: ")
        assert remedy.startswith("  fix: ")
        assert len(remedy) > 12
    return pairs
