"""The graphs of a bundle → engines beside them: on a device for its GPU, or anywhere for RTX GPUs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mosear.runtime.bundle import Bundle, file_entry
from mosear.runtime.engines.builder import build_engine
from mosear.runtime.engines.device import CudaDevice
from mosear.runtime.engines.entry import EngineFile
from mosear.runtime.engines.library import PACKAGES, Library, open_library
from mosear.runtime.engines.profiles import limits_of
from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import MANIFEST_NAME, Manifest, write_manifest

Progress = Callable[[str, float], None]


def compile_engines(
    folder: Path,
    manifest: Manifest,
    compute_capabilities: Sequence[str] = (),
    progress: Progress | None = None,
    library: Library | None = None,
) -> list[EngineFile]:
    """Compile every graph of the bundle in ``folder`` and write the engines beside them.

    manifest: of the bundle; its backend says which library.
    compute_capabilities: GPUs to build for, several in one engine; those of the GPU that is here when left out.
        TensorRT builds for that one only.
    progress: called with the name of a graph and the part that is done.
    library: the imported package, when the caller has it already.

    Returns what the manifest records under ``engines``; the caller adds the files to ``files``.

    Raises:
        UsageError: the bundle is for another backend, or the library or the GPU can't do what is asked for.
        BadInput: a graph can't be parsed.
        Failed: the library is missing or fails, or there is no GPU where one is needed.
    """
    if manifest.backend not in PACKAGES:
        raise UsageError(
            f"a bundle for {manifest.backend} runs its graphs as they are", "engines are for the rtx and jetson targets"
        )
    library = library or open_library(manifest.backend, manifest.tensorrt_version)
    capabilities = list(dict.fromkeys(compute_capabilities))
    if capabilities and not library.cross_compiles:
        raise UsageError(
            f"{PACKAGES[manifest.backend]} builds for the GPU that is here only", "leave the compute capability out"
        )
    capabilities = capabilities or [CudaDevice().capability]
    limits = limits_of(manifest)
    entries = []
    for graph in dict.fromkeys(manifest.graphs.model_dump(exclude_none=True).values()):
        built = build_engine(library, folder / graph, limits, capabilities, progress=progress)
        name = f"{Path(graph).stem}.{'_'.join(f'sm{each.replace(chr(46), str())}' for each in capabilities)}.engine"
        whole = folder / f".{name}.tmp"
        whole.write_bytes(memoryview(built.engine))
        whole.replace(folder / name)
        entries.append(
            EngineFile.model_validate(
                {
                    "file": name,
                    "graph": graph,
                    "library": library.backend,
                    "version": library.version,
                    "compute_capabilities": capabilities,
                }
            )
        )
    return entries


def add_engines(
    bundle: Bundle, compute_capabilities: Sequence[str] = (), progress: Progress | None = None
) -> list[EngineFile]:
    """Compile a finished bundle's graphs and put the engines into it, in place of those that it has.

    The bundle stays as it was until all of them are there.

    Raises:
        UsageError, BadInput, Failed: as `compile_engines`.
    """
    folder, manifest = bundle.path, bundle.manifest
    before = {engine.file for engine in manifest.engines}
    with tempfile.TemporaryDirectory(prefix=".engines-", dir=folder) as scratch:
        for name in manifest.files:
            if name not in before:
                (Path(scratch) / name).symlink_to((folder / name).resolve())
        engines = compile_engines(Path(scratch), manifest, compute_capabilities, progress)
        files = {name: entry for name, entry in manifest.files.items() if name not in before}
        files |= {engine.file: file_entry(Path(scratch) / engine.file) for engine in engines}
        for engine in engines:
            os.replace(Path(scratch) / engine.file, folder / engine.file)
        with tempfile.TemporaryDirectory(prefix=".manifest-", dir=folder) as written:
            changed = manifest.model_copy(update={"engines": engines, "files": files})
            os.replace(write_manifest(written, changed), folder / MANIFEST_NAME)
    for name in before - {engine.file for engine in engines}:
        (folder / name).unlink(missing_ok=True)
    return engines
