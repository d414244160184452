"""ONNX Runtime: sessions, and a decoder whose KV cache is bound to past and present alike and never copied."""

from pathlib import Path
from typing import Any

import numpy as np

from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.manifest import Decoder
from mosear.runtime.sessions import Arrays, Observer

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_EXTRA = {"cpu": "cpu", "cuda": "gpu"}
_ERRORS_ONLY, _WARNINGS = 3, 2
_DTYPES: dict[str, type] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxRuntime:
    """The library, set up with a thread count and a provider; ``observer`` is told of every session.

    Raises:
        UsageError: the provider has another name than ``cpu`` or ``cuda``.
        Failed: the library is missing, or was built without the provider.
    """

    def __init__(
        self,
        threads: int | None = None,
        provider: str = "cpu",
        debug: bool = False,
        observer: Observer | None = None,
    ) -> None:
        if provider not in _PROVIDERS:
            raise UsageError(f"there is no provider {provider}", f"choose one of: {', '.join(_PROVIDERS)}")
        try:
            import onnxruntime
        except ImportError as error:
            raise Failed(
                f"ONNX Runtime can't be imported ({error})", f"pip install 'mosear[{_EXTRA[provider]}]'"
            ) from error
        self._library = onnxruntime
        self.device = provider
        self._provider = _PROVIDERS[provider]
        self._observer = observer or Observer()
        self._loaded: dict[Path, Any] = {}
        if self._provider not in onnxruntime.get_available_providers():
            raise Failed(
                f"this ONNX Runtime was built without {self._provider}",
                f"use --provider cpu, or pip install 'mosear[{_EXTRA[provider]}]' in place of the package you have",
            )
        severity = _WARNINGS if debug else _ERRORS_ONLY
        onnxruntime.set_default_logger_severity(severity)
        self._options = onnxruntime.SessionOptions()
        self._options.log_severity_level = severity
        # Vision, audio and decoder take turns: a pool that spins while another works takes its cores away.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            self._options.intra_op_num_threads = threads
            self._options.inter_op_num_threads = 1

    def load(self, path: Path) -> Any:
        """The library's own session for the graph at ``path``, on the provider that was asked for and no other.

        A graph is loaded once: a session holds no state, so whoever needs the graph runs the same one.

        Raises:
            BadInput: the library can't load the graph.
            Failed: the provider does not start on this machine.
        """
        if path in self._loaded:
            return self._loaded[path]
        self._observer.configure(self._options)
        try:
            session = self._library.InferenceSession(str(path), self._options, providers=[self._provider])
        except Exception as error:  # the library's exceptions share no base class of their own
            raise BadInput(
                f"{path} can't be loaded by ONNX Runtime {self._library.__version__} ({error})",
                "upgrade onnxruntime to the version the bundle was verified with, or build the bundle again",
            ) from error
        # A provider that fails to start is replaced silently: what was compiled in says nothing of what works.
        if session.get_providers()[0] != self._provider:
            raise Failed(
                f"{self._provider} does not start on this machine",
                "check the driver and the CUDA libraries, or use --provider cpu",
            )
        self._loaded[path] = self._observer.opened(path, session)
        return self._loaded[path]

    def session(self, path: Path) -> "OnnxSession":
        """Load the graph at ``path``."""
        return OnnxSession(self.load(path), path)

    def decoder(self, prefill: Path, decode: Path, shape: Decoder) -> "OnnxDecoderSession":
        """Load the prefill graph; the decode graph when it is first needed."""
        return OnnxDecoderSession(self, prefill, decode, shape)

    def value(self, array: np.ndarray) -> Any:
        """``array`` as a tensor on the device."""
        return self._library.OrtValue.ortvalue_from_numpy(array, self.device, 0)


class OnnxSession:
    """One graph. Raises BadInput when run with inputs that it does not take, Failed when the library fails."""

    def __init__(self, session: Any, path: Path) -> None:
        self._session = session
        self._path = path
        self.input_names = [each.name for each in session.get_inputs()]
        self.output_names = [each.name for each in session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name for the inputs by name."""
        check_inputs(self._path, inputs, self.input_names)
        try:
            outputs = self._session.run(None, inputs)
        except Exception as error:  # the library's exceptions share no base class of their own
            raise run_failed(self._path, error) from error
        return dict(zip(self.output_names, outputs, strict=True))


class OnnxDecoderSession:
    """Prefill and decode over one set of KV buffers."""

    def __init__(self, backend: OnnxRuntime, prefill: Path, decode: Path, shape: Decoder) -> None:
        self._backend = backend
        self._shape = shape
        self._decode_path = decode
        self._prefill = BoundGraph(backend.load(prefill), prefill, shape)
        self._decode: BoundGraph | None = None
        self._buffers: dict[str, Any] = {}
        self._batch = 0
        self._cache: dict[str, Any] = {}
        self._held: Arrays = {}

    def hold(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> None:
        """Keep the beginning of all prompts; see ``DecoderSession``."""
        self._allocate(1)
        self._prefill.run(step_inputs(inputs_embeds, position_ids, key_modality), self._buffers)
        length = inputs_embeds.shape[1]
        self._held = {name: buffer.numpy()[:, :, :length].copy() for name, buffer in self._buffers.items()}
        self._batch = 0

    def prefill(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Start over with a prompt; see ``DecoderSession``."""
        if self._batch != len(inputs_embeds):
            self._allocate(len(inputs_embeds))
        self._cache = self._buffers
        return self._prefill.run(step_inputs(inputs_embeds, position_ids, key_modality), self._cache)

    def decode(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Go on by one token; see ``DecoderSession``."""
        if self._decode is None:
            self._decode = BoundGraph(self._backend.load(self._decode_path), self._decode_path, self._shape)
        return self._decode.run(step_inputs(inputs_embeds, position_ids, key_modality), self._cache)

    def repeat(self, times: int) -> None:
        """Widen the batch; see ``DecoderSession``."""
        self._cache = {
            name: self._backend.value(np.repeat(buffer.numpy(), times, axis=0)) for name, buffer in self._cache.items()
        }

    def _allocate(self, batch: int) -> None:
        # Zeros and not whatever the memory held: a masked key still takes part in a product with zero.
        shape = (batch, self._shape.kv_heads, self._shape.capacity, self._shape.head_dim)
        self._buffers = {}
        for name in (f"{kind}_{layer}" for layer in range(self._shape.layers) for kind in ("key", "value")):
            buffer: np.ndarray = np.zeros(shape, self._prefill.cache_type)
            if self._held:
                buffer[:, :, : self._held[name].shape[2]] = self._held[name]
            self._buffers[name] = self._backend.value(buffer)
        self._batch = batch


class BoundGraph:
    """A decoder graph, run with each cache buffer bound to its past input and its present output."""

    def __init__(self, session: Any, path: Path, shape: Decoder) -> None:
        self._session = session
        self._path = path
        inputs = {each.name: each.type for each in session.get_inputs()}
        outputs = [each.name for each in session.get_outputs()]
        cache = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        missing = [f"past_{name}" for name in cache if f"past_{name}" not in inputs]
        missing += [f"present_{name}" for name in cache if f"present_{name}" not in outputs]
        missing += [] if "logits" in outputs else ["logits"]
        if missing:
            raise BadInput(
                f"{path} lacks {', '.join(missing[:4])}: it is not the decoder of this manifest",
                "build the bundle again",
            )
        self._input_names = [name for name in inputs if not name.startswith("past_")]
        self._results = [name for name in outputs if not name.startswith("present_")]
        self.cache_type = _DTYPES.get(inputs["past_key_0"], np.float32)

    def run(self, inputs: Arrays, cache: dict[str, Any]) -> Arrays:
        """The outputs but for the cache, which is updated in place."""
        check_inputs(self._path, inputs, self._input_names)
        try:
            binding = self._session.io_binding()
            for name in self._input_names:
                binding.bind_cpu_input(name, np.ascontiguousarray(inputs[name]))
            for name in self._results:
                binding.bind_output(name, "cpu")
            for name, buffer in cache.items():
                binding.bind_ortvalue_input(f"past_{name}", buffer)
                binding.bind_ortvalue_output(f"present_{name}", buffer)
            self._session.run_with_iobinding(binding)
            # The results were bound first, so they come first; the buffers behind them are not to be copied.
            values = binding.get_outputs()[: len(self._results)]
            return {name: value.numpy() for name, value in zip(self._results, values, strict=True)}
        except Exception as error:  # the library's exceptions share no base class of their own
            raise run_failed(self._path, error) from error


def step_inputs(inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
    """A decoder's inputs by name, but for its cache: [B, S, D], [B, S] and [B, T]."""
    return {"inputs_embeds": inputs_embeds, "position_ids": position_ids, "key_modality": key_modality}


def check_inputs(path: Path, inputs: Arrays, names: list[str]) -> None:
    """Raise BadInput unless ``inputs`` are those that the graph at ``path`` takes."""
    if set(inputs) != set(names):
        raise BadInput(
            f"{path} takes {', '.join(sorted(names))} and not {', '.join(sorted(inputs))}", "build the bundle again"
        )


def run_failed(path: Path, error: Exception) -> Failed:
    """The error of a graph that the library could not run."""
    return Failed(f"{path.name} failed to run ({error})", "run again with --debug, and report what it prints")
