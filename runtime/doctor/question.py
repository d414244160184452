"""What the doctor is asked, and what one check learns that a later one needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mosear.runtime.bundle import Bundle


@dataclass(frozen=True)
class Question:
    """What to look at.

    Attributes:
        bundle: the folder of a bundle, or None.
        camera: a camera that must work: an index, a device, a URL or a file; None looks at those that are here.
        microphone: a microphone that must work: ``default``, an index or a part of its name; None as above.
        devices: whether cameras and microphones are opened at all.
        threads: CPU threads of the bundle's answers; the library's choice when None.
        limit_s: seconds that the bundle's two answers may take.
        variables: names of the environment variables that mosear reads.
    """

    bundle: Path | None = None
    camera: str | None = None
    microphone: str | None = None
    devices: bool = True
    threads: int | None = None
    limit_s: float = 60.0
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Gpu:
    """The GPU that the CUDA driver shows; ``capability`` as ``8.7``."""

    name: str
    capability: str


@dataclass
class Known:
    """What has been learnt so far.

    Attributes:
        bundle: opened, when there is one and it is whole.
        gpu: the first one, if any.
        engines: version of TensorRT and TensorRT-RTX by backend, where they can be imported.
        jetpack: of a Jetson, as ``6.2``.
        model: of a Jetson, as it calls itself.
    """

    bundle: Bundle | None = None
    gpu: Gpu | None = None
    engines: dict[str, str] = field(default_factory=dict)
    jetpack: str | None = None
    model: str | None = None

    @property
    def backend(self) -> str | None:
        """What runs the bundle, or None without one."""
        return None if self.bundle is None else self.bundle.manifest.backend


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for a child, which must not find modules in the folder that the doctor was called from."""
    return {**environment, "PYTHONSAFEPATH": "1"}
