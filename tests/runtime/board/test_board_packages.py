"""Versions, against what pip and git themselves say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import board_trees as trees
import pytest

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.packages import (
    checkout_commit,
    cuda_version,
    driver_version,
    library_versions,
    package_version,
    plain_version,
    python_packages,
    system_packages,
    tensorrt_versions,
)

Trees = Callable[..., Machine]


def test_packages_of_python_are_those_that_import_finds() -> None:
    code = "import numpy, av, pydantic; print(numpy.__version__, av.__version__, pydantic.__version__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    found = python_packages()
    assert [found["numpy"], found["av"], found["pydantic"]] == said


def test_of_them_only_what_counts_is_told() -> None:
    installed = {"onnxruntime-gpu": "1", "onnxruntime": "2", "nvidia-cudnn-cu12": "9", "requests": "2", "mosear": "0"}
    assert set(library_versions(installed)) == {"onnxruntime-gpu", "onnxruntime", "nvidia-cudnn-cu12", "mosear"}


def test_packages_of_the_system(tree: Trees) -> None:
    machine = tree(trees.orin_small())
    assert package_version(machine, "libnvinfer10") == "10.3.0.30-1+cuda12.5"
    assert package_version(machine, "gone") is None  # removed, its configuration kept
    assert "gone" not in system_packages(machine)


@pytest.mark.parametrize(
    ("files", "installed", "version"),
    [
        ({"/usr/local/cuda/version.json": '{"cuda": {"version": "12.4.1"}}'}, {}, "12.4.1"),
        ({"/usr/local/cuda/version.json": "{"}, {"nvidia-cuda-runtime-cu12": "12.8.90"}, "12.8.90"),
        ({"/usr/local/cuda/version.json": '{"cuda": 5}'}, {"nvidia-cuda-runtime": "13.0.96"}, "13.0.96"),
        ({"/usr/local/cuda/version.json": "[]"}, {}, None),
        (trees.dpkg(cuda_cudart_12_6="12.6.68-1"), {}, "12.6.68"),
        ({}, {}, None),
    ],
)
def test_cuda(tree: Trees, files: trees.Files, installed: dict[str, str], version: str | None) -> None:
    machine = tree(files)
    assert cuda_version(machine, system_packages(machine), installed) == version


def test_tensorrt() -> None:
    assert tensorrt_versions({"libnvinfer10": "10.3.0.30-1+cuda12.5", "libnvinfer-bin": "1"}, {}) == {
        "tensorrt": "10.3.0.30"
    }
    both = {"tensorrt-cu13": "10.16.1", "tensorrt-rtx-cu13": "1.7.1.116", "tensorrt-stubs": "0"}
    assert tensorrt_versions({}, both) == {"tensorrt": "10.16.1", "tensorrt_rtx": "1.7.1.116"}
    assert tensorrt_versions({}, {}) == {}


def test_the_driver(tree: Trees) -> None:
    assert driver_version(tree({"/sys/module/nvidia/version": "550.90.07\n"})) == "550.90.07"
    assert driver_version(tree({"/proc/driver/nvidia/version": "something else 4.2\n"})) == "550.90.07"


def test_plain_versions() -> None:
    assert [plain_version(each) for each in ("10.3.0.30-1+cuda12.5", "6.2+b77", "1.2~rc1", "13.2.0")] == [
        "10.3.0.30",
        "6.2",
        "1.2",
        "13.2.0",
    ]


def _git(folder: Path, *command: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *who, *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "runtime").mkdir(parents=True)
    _git(folder, "init", "--quiet", "--initial-branch", "feature/one")
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    return folder


def test_the_commit_of_a_branch(checkout: Path) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    assert checkout_commit(checkout / "runtime") == head
    _git(checkout, "pack-refs", "--all")
    assert checkout_commit(checkout / "runtime") == head
    _git(checkout, "commit", "--quiet", "--allow-empty", "--message", "second")
    assert checkout_commit(checkout / "runtime") == _git(checkout, "rev-parse", "HEAD") != head
    _git(checkout, "checkout", "--quiet", "--detach", "HEAD^")
    assert checkout_commit(checkout / "runtime") == head


def test_the_commit_of_a_worktree(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    _git(checkout, "worktree", "add", "--quiet", "-b", "two", str(other))
    (other / "runtime").mkdir()
    _git(other, "commit", "--quiet", "--allow-empty", "--message", "there")
    head = _git(other, "rev-parse", "HEAD")
    assert head != _git(checkout, "rev-parse", "HEAD")
    assert checkout_commit(other / "runtime") == head
    _git(other, "pack-refs", "--all")
    assert checkout_commit(other / "runtime") == head


def test_a_checkout_around_the_environment_is_not_ours(checkout: Path) -> None:
    package = checkout / ".venv/lib/python3.12/site-packages/mosear/runtime"
    package.mkdir(parents=True)
    assert checkout_commit(package) is None


def test_no_commit(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    assert checkout_commit(tmp_path / "runtime") is None
    _git(tmp_path, "init", "--quiet")
    assert checkout_commit(tmp_path / "runtime") is None  # nothing was committed yet
    (tmp_path / ".git/HEAD").write_bytes(b"\xff\xfe junk")
    assert checkout_commit(tmp_path / "runtime") is None
