"""Versions of what is installed: packages of the system and of Python, CUDA, TensorRT, the driver; the commit."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path

from mosear.runtime.board.machine import Machine

_PYTHON = ("mosear", "numpy", "av", "tokenizers")
_PYTHON_PREFIXES = ("onnxruntime", "nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cudnn")
_VERSION_OF_DRIVER = re.compile(r"(?<![\d.])(\d{3,}\.\d+(?:\.\d+)*)(?![\d.])")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def system_packages(machine: Machine) -> dict[str, str]:
    """Version by name of every Debian package that is installed."""
    found = {}
    for paragraph in (machine.read("/var/lib/dpkg/status") or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return found


def package_version(machine: Machine, name: str) -> str | None:
    """Version of a Debian package that is installed, or None."""
    return system_packages(machine).get(name) or None


def python_packages() -> dict[str, str]:
    """Version by name, in lower case with hyphens, of everything that this Python has; nothing is imported."""
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"] if each.metadata is not None else None
        if name:
            # The first one on the path is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each.version or "")
    return found


def library_versions(installed: Mapping[str, str]) -> dict[str, str]:
    """Of ``python_packages``, those that a figure may depend on."""
    return {
        name: version
        for name, version in sorted(installed.items())
        if name in _PYTHON or name.startswith(_PYTHON_PREFIXES)
    }


def cuda_version(machine: Machine, system: Mapping[str, str], installed: Mapping[str, str]) -> str | None:
    """CUDA's runtime, as ``12.6.68``: of the toolkit, else of the system's packages, else of Python's."""
    try:
        told = json.loads(machine.read("/usr/local/cuda/version.json") or "null")
        return str(told["cuda_cudart" if "cuda_cudart" in told else "cuda"]["version"])
    except (ValueError, TypeError, KeyError):
        pass
    runtimes = [version for name, version in system.items() if re.fullmatch(r"cuda-cudart-\d+-\d+", name)]
    runtimes += [version for name, version in installed.items() if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name)]
    return plain_version(runtimes[0]) if runtimes else None


def tensorrt_versions(system: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str]:
    """``tensorrt`` and ``tensorrt_rtx``, those that are installed, by Python's packages, else by the system's."""
    found = {}
    for kind, python, debian in (
        ("tensorrt", r"tensorrt(-cu\d+)?(-libs)?", r"libnvinfer\d+"),
        ("tensorrt_rtx", r"tensorrt-rtx(-cu\d+)?(-libs)?", r"libtensorrt-rtx\d*|tensorrt-rtx.*"),
    ):
        versions = [version for name, version in sorted(installed.items()) if re.fullmatch(python, name)]
        versions += [version for name, version in sorted(system.items()) if re.fullmatch(debian, name)]
        if versions:
            found[kind] = plain_version(versions[0])
    return found


def driver_version(machine: Machine) -> str | None:
    """NVIDIA's driver as ``540.4.0``, from what the kernel's module says of itself."""
    first = (machine.read("/proc/driver/nvidia/version") or "").partition("\n")[0]
    found = _VERSION_OF_DRIVER.search(first)
    return found[1] if found else machine.read("/sys/module/nvidia/version") or None


def plain_version(version: str) -> str:
    """``10.3.0.30-1+cuda12.5`` as ``10.3.0.30``."""
    return re.split(r"[-+~]", version)[0]


def checkout_commit(package: Path) -> str | None:
    """The commit of the checkout that ``package``, the folder of this runtime, is part of, or None.

    Only the folder right above is looked at: a checkout that an environment merely lies in is another project's.
    """
    try:
        return _commit(_git_folder(package.resolve().parent / ".git"))
    except (OSError, ValueError):  # no checkout, nothing committed yet, or files that are damaged
        return None


def _git_folder(place: Path) -> Path:
    """A worktree has a file in place of the folder, with the folder's path in it."""
    if place.is_file():
        return (place.parent / place.read_text(encoding="utf-8").partition("gitdir:")[2].strip()).resolve()
    return place


def _commit(folder: Path) -> str | None:
    head = (folder / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head if _COMMIT.fullmatch(head) else None
    name = head.removeprefix("ref: ")
    shared = folder / "commondir"
    main = (folder / shared.read_text(encoding="utf-8").strip()).resolve() if shared.is_file() else folder
    for each in (folder, main):
        if (each / name).is_file():
            commit = (each / name).read_text(encoding="utf-8").strip()
            return commit if _COMMIT.fullmatch(commit) else None
    packed = (main / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
