"""The package that builds and runs engines: TensorRT or TensorRT-RTX, imported when it is asked for."""

import importlib
from dataclasses import dataclass
from typing import Any

from mosear.runtime.errors import Failed

PACKAGES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
"""Backends that run engines: the import name of each one's package, and what people call it."""

_INSTALL = {
    "tensorrt": "install the TensorRT of your JetPack or CUDA, with its Python package",
    "tensorrt_rtx": "pip install 'mosear[rtx]'",
}


@dataclass(frozen=True)
class Library:
    """An imported package.

    Attributes:
        backend: ``tensorrt`` or ``tensorrt_rtx``.
        module: the package itself.
    """

    backend: str
    module: Any

    @property
    def version(self) -> str:
        """Its version, as it states it."""
        return str(self.module.__version__)

    @property
    def title(self) -> str:
        """Name and version, for messages."""
        return f"{PACKAGES[self.backend]} {self.version}"

    @property
    def cross_compiles(self) -> bool:
        """Whether it builds for GPUs that are not here."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def times_kernels(self) -> bool:
        """Whether it chooses kernels by running them. TensorRT-RTX chooses when the engine is loaded."""
        return self.backend == "tensorrt"


def open_library(backend: str, floor: str | None = None) -> Library:
    """Import the package of ``backend``.

    floor: the oldest version that will do.

    Raises:
        Failed: it is not installed, or older.
    """
    try:
        module = importlib.import_module(backend)
    except (ImportError, OSError) as error:
        raise Failed(f"{PACKAGES[backend]} can't be imported ({error})", _INSTALL[backend]) from error
    library = Library(backend, module)
    if floor is not None and numbers(library.version) < numbers(floor):
        raise Failed(
            f"this is {library.title}, and the bundle needs {floor} or later",
            "update it, or build the bundle for a target with an older version",
        )
    return library


def numbers(version: str) -> tuple[int, ...]:
    """``10.3.0.post1`` as (10, 3, 0): the leading numbers of a version."""
    found = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)
