"""Fixtures of the runtime's tests."""

from pathlib import Path

import pytest
import runtime_fakes
import runtime_media

from mosear.runtime.manifest import Preprocessing


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy bundle. Not to be changed."""
    return runtime_fakes.make_bundle(tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of grey frames and a tone."""
    return runtime_media.write(tmp_path_factory.mktemp("clips") / "good.mp4")


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    """The reference model's."""
    return Preprocessing(frame_size=64, frames=8, frames_per_clip=1, sample_rate=16000, window_s=3.0)
