"""What the runtime asks of an inference library, and the choice of one by the manifest."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mosear.runtime.engines.library import PACKAGES, Library
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Decoder, Manifest

Arrays = dict[str, np.ndarray]


class Session(Protocol):
    """One graph."""

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name for the inputs by name."""
        ...


class DecoderSession(Protocol):
    """The decoder with its KV cache: static buffers [B, Hkv, C, Dh], or a cache that grows, a pair a layer."""

    def hold(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> None:
        """Run the beginning of all prompts, [1, P, D], [1, P], [1, P], and keep its keys and values for good.

        From then on ``prefill`` is given what stands behind it.
        """
        ...

    def prefill(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Start over with a prompt, behind what is held.

        Embeddings [B, S, D], positions [B, S], modality [B, P + S] of what is held and of the prompt (P is 0 when
        nothing is held); all outputs but the KV.
        """
        ...

    def decode(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Go on by one token: embeddings [B, 1, D], positions [B, 1], modality of past and present [B, T]."""
        ...

    def repeat(self, times: int) -> None:
        """Put ``times`` copies of each row's cache next to one another: row b becomes rows b·times to (b+1)·times-1."""
        ...


class Backend(Protocol):
    """One inference library, set up."""

    def session(self, path: Path) -> Session:
        """Load the graph at ``path``."""
        ...

    def decoder(self, prefill: Path, decode: Path, shape: Decoder) -> DecoderSession:
        """Load the decoder; the decode graph is not loaded before it is needed."""
        ...


class Observer:
    """Is told what an inference library opens, before any of it runs: for profiles of operators, which slow runs down.

    Each library tells what it has, and here nobody listens.
    """

    def configure(self, options: Any) -> None:
        """ONNX Runtime's options for the session that is opened next; they may be changed."""

    def opened(self, path: Path, session: Any) -> Any:
        """ONNX Runtime's session for the graph at ``path``; what is returned is run in its place."""
        return session

    def context(self, path: Path, profile: int, context: Any, library: Library) -> None:
        """TensorRT's execution context for one optimization profile of the engine for the graph at ``path``."""


def open_backend(
    manifest: Manifest,
    threads: int | None = None,
    provider: str = "cpu",
    debug: bool = False,
    observer: Observer | None = None,
) -> Backend:
    """The backend that the manifest asks for.

    Args:
        manifest: of the bundle.
        threads: CPU threads; the library's choice when left out.
        provider: ``cpu`` or ``cuda``. On ``cpu`` a bundle for TensorRT runs through ONNX Runtime: right, and slow.
        debug: let the library print its warnings.
        observer: is told what is opened.

    Raises:
        BadInput: there is no such backend here.
        Failed: the library is not installed, or the provider does not work on this machine.
    """
    if manifest.backend == "onnxruntime":
        from mosear.runtime.sessions.onnxruntime import OnnxRuntime

        return OnnxRuntime(threads, provider, debug, observer)
    if manifest.backend == "standard":
        from mosear.runtime.sessions.growing import GrowingOnnxRuntime

        return GrowingOnnxRuntime(threads, provider, debug, observer)
    if manifest.backend in PACKAGES:
        if provider == "cpu":
            from mosear.runtime.sessions.without_gpu import WithoutGpu

            return WithoutGpu(threads, provider, debug, observer)
        from mosear.runtime.sessions.tensorrt import open_tensorrt

        return open_tensorrt(manifest, manifest.engines, observer=observer)
    raise BadInput(f"no backend {manifest.backend} here", "build the bundle again for the target cpu")
