"""Layouts of benchmarks, made of small real clips."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from runtime_media import write

from mosear.clips.benchmarks.record import Benchmark
from mosear.clips.benchmarks.registry import ReadOptions, read_benchmark

Lay = Callable[[Mapping[str, str | bytes]], Path]
Read = Callable[..., Benchmark]


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> bytes:
    """A real MP4 file of a quarter of a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write(path, seconds=0.25, size=(32, 32), codec="mpeg4").read_bytes()


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Writes files below a folder: path → content. The folder is returned."""
    root = tmp_path / "root"

    def make(files: Mapping[str, str | bytes]) -> Path:
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return make


@pytest.fixture
def read(lay: Lay) -> Read:
    """Lays files out and reads them as a dataset, with options of ReadOptions by name."""

    def run(dataset: str, files: Mapping[str, str | bytes], **options) -> Benchmark:
        return read_benchmark(dataset, lay(files), ReadOptions(**options))

    return run
