"""The engine for a graph of a bundle: the bundle's own where one fits, else a kept one, else one that is built now."""

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mosear.runtime.engines.builder import Progress, build_engine
from mosear.runtime.engines.cache import EngineCache, key_of
from mosear.runtime.engines.entry import EngineFile
from mosear.runtime.engines.library import Library
from mosear.runtime.engines.profiles import Limits, limits_of
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Manifest

BUILDER_REVISION = 1
"""Goes up when this package builds other engines from the same graph."""


@dataclass(frozen=True)
class EngineProvider:
    """Finds or makes engines.

    Attributes:
        library: what runs them.
        capability: compute capability of the GPU that is here.
        device: the GPU's name.
        limits: the sizes they must take.
        content: SHA-256 by name of everything in the bundle that an engine could be made from.
        engines: those that the bundle holds.
        cache: where built ones are kept.
        progress: told how far a build is.
    """

    library: Library
    capability: str
    device: str
    limits: Limits
    content: Mapping[str, str]
    cache: EngineCache
    engines: Sequence[EngineFile] = ()
    progress: Progress | None = field(default=None, compare=False)

    def engine(self, graph: Path) -> Any:
        """The serialized engine for ``graph``, a buffer.

        Raises:
            BadInput: the bundle's engine can't be read, or the library can't parse the graph.
            UsageError: the GPU can't do what the graph asks for.
            Failed: the library can't build it, or it can't be kept.
        """
        for entry in self.engines:
            if entry.graph == graph.name and entry.runs_on(self.library.backend, self.library.version, self.capability):
                return _mapped(graph.parent / entry.file)
        key = self.key(graph.name)
        found = self.cache.get(key)
        if found is not None:
            return found
        with self.cache.building(key):
            found = self.cache.get(key)  # another process may have built it while this one waited
            if found is not None:
                return found
            timing_key = key_of({"device": self.device, **self._place()})
            built = build_engine(
                self.library,
                graph,
                self.limits,
                [self.capability],
                timing_cache=self.cache.timing(timing_key),
                progress=self.progress,
            )
            self.cache.keep_timing(timing_key, built.timing_cache)
            self.cache.put(key, built.engine)
        kept = self.cache.get(key)
        return built.engine if kept is None else kept

    def key(self, graph: str) -> str:
        """Name of a graph's engine in the cache."""
        return key_of(
            {
                "builder": BUILDER_REVISION,
                "graph": self.content[graph],
                "content": {name: sha for name, sha in self.content.items() if not name.endswith(".onnx")},
                "device": self.device,
                "limits": self.limits.as_dict(),
                **self._place(),
            }
        )

    def _place(self) -> dict[str, str]:
        return {"library": self.library.backend, "version": self.library.version, "capability": self.capability}


def content_of(manifest: Manifest, engines: Sequence[EngineFile]) -> dict[str, str]:
    """SHA-256 by name of the graphs and whatever else lies beside them that could hold their weights."""
    other = {manifest.embedding, manifest.tokenizer, *(entry.file for entry in engines)}
    return {name: entry.sha256 for name, entry in manifest.files.items() if name not in other}


def provider_for(
    manifest: Manifest,
    engines: Sequence[EngineFile],
    library: Library,
    capability: str,
    device: str,
    cache: EngineCache,
    progress: Progress | None = None,
) -> EngineProvider:
    """The provider for a bundle."""
    return EngineProvider(
        library=library,
        capability=capability,
        device=device,
        limits=limits_of(manifest),
        content=content_of(manifest, engines),
        cache=cache,
        engines=engines,
        progress=progress,
    )


def _mapped(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} can't be read ({error})", "copy the whole bundle again from where it was built"
        ) from error
