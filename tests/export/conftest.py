"""Bundles that several files' tests share, built once a run by the real command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from export_command import run_export
from filelock import FileLock


@pytest.fixture(scope="session")
def export() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command ``mosear-export``; returns the finished process."""
    return run_export


@pytest.fixture(scope="session")
def reference_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of the reference bundle in a precision; the first test that asks builds it for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def bundle(precision: str) -> Path:
        path = shared / f"reference-{precision}"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                done = run_export("build", "reference", "-o", path, "--precision", precision)
                assert done.returncode == 0, done.stdout + done.stderr
                assert done.stdout.splitlines()[-1] == str(path)
        return path

    return bundle
