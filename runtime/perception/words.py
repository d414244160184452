"""What is said: a speech recognizer by sherpa-onnx, from a folder of model files that the user supplies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mosear.runtime.errors import BadInput, Failed

_FORMATS = "streaming zipformer or paraformer; whisper, sense-voice or moonshine"
# A streaming model says a word some frames after it heard it: this much silence brings out the last one.
_TAIL_S = 0.66


class Recognizer(Protocol):
    """What is used of sherpa-onnx's recognizers, streaming or not."""

    def create_stream(self) -> Any: ...

    def decode_stream(self, stream: Any, /) -> None: ...


@dataclass(frozen=True)
class _Kind:
    """A family of models: its files by parameter, what the first of them must contain, and how it is loaded.

    A file that belongs to another family makes the library end the process, so the mark, which is a part of the file's
    metadata, is looked for first.
    """

    name: str
    files: dict[str, str]
    mark: bytes
    load: Callable[[Any, dict[str, str], str, int], Recognizer]
    streaming: bool = False


_KINDS = (
    _Kind(
        "streaming zipformer",
        {"encoder": "*encoder*", "decoder": "*decoder*", "joiner": "*joiner*"},
        b"decode_chunk_len",
        lambda library, files, _, threads: library.OnlineRecognizer.from_transducer(**files, num_threads=threads),
        streaming=True,
    ),
    _Kind(
        "streaming paraformer",
        {"encoder": "*encoder*", "decoder": "*decoder*"},
        b"lfr_window_size",
        lambda library, files, _, threads: library.OnlineRecognizer.from_paraformer(**files, num_threads=threads),
        streaming=True,
    ),
    _Kind(
        "whisper",
        {"encoder": "*encoder*", "decoder": "*decoder*"},
        b"whisper-",
        lambda library, files, language, threads: library.OfflineRecognizer.from_whisper(
            **files, language=language, num_threads=threads
        ),
    ),
    _Kind(
        "moonshine",
        {
            "preprocessor": "*preprocess*",
            "encoder": "*encode*",
            "uncached_decoder": "*uncached_decode*",
            "cached_decoder": "*cached_decode*",
        },
        b"",
        lambda library, files, _, threads: library.OfflineRecognizer.from_moonshine(**files, num_threads=threads),
    ),
    _Kind(
        "sense-voice",
        {"model": "model*"},
        b"sense_voice_ctc",
        lambda library, files, language, threads: library.OfflineRecognizer.from_sense_voice(
            **files, language=language, use_itn=True, num_threads=threads
        ),
    ),
)


class Transcriber:
    """Words of a stretch of sound. For one thread.

    Args:
        recognizer: of sherpa-onnx, or one like it.
        kind: streaming models decode step by step, the others at once.
    """

    def __init__(self, recognizer: Any, kind: Literal["streaming", "offline"]) -> None:
        self._recognizer = recognizer
        self._is_streaming = kind == "streaming"

    @classmethod
    def open(cls, folder: str | Path, language: str = "", threads: int = 1) -> "Transcriber":
        """Load the model whose files lie in ``folder``, named as sherpa-onnx's released models name them.

        The kind is told by the files: streaming zipformer (encoder, decoder, joiner), streaming paraformer (encoder,
        decoder), whisper (likewise), moonshine (preprocess, encode, uncached_decode, cached_decode) or sense-voice
        (model), each as .onnx, with a tokens.txt. A file with ``int8`` in its name is preferred.

        Args:
            folder: the model's folder.
            language: a code such as ``en``, for models of several languages; empty to let the model tell.
            threads: of the CPU.

        Raises:
            BadInput: the folder is missing, lacks a file, or holds none of these models.
            Failed: sherpa-onnx is missing.
        """
        folder = Path(folder)
        kind, files = _recognise(folder)
        try:
            import sherpa_onnx
        except ImportError as error:
            raise Failed(f"sherpa-onnx can't be imported ({error})", "pip install 'mosear[asr]'") from error
        try:
            recognizer = kind.load(sherpa_onnx, files, language, threads)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise BadInput(
                f"the {kind.name} model in {folder} can't be loaded ({error})", "fetch and unpack the model again"
            ) from error
        return cls(recognizer, "streaming" if kind.streaming else "offline")

    def transcribe(self, samples: np.ndarray, rate: int) -> str:
        """The words in ``samples``, float32 [n], mono, full scale 1, at ``rate`` samples a second; "" for none.

        Raises:
            Failed: the library fails.
        """
        if not len(samples):
            return ""
        clean = np.ascontiguousarray(np.clip(np.nan_to_num(samples), -1.0, 1.0), np.float32)
        try:
            text = self._stream_words(clean, rate) if self._is_streaming else self._words(clean, rate)
        except RuntimeError as error:
            raise Failed(
                f"the transcriber failed ({error})", "use another model, or leave out the transcriber"
            ) from error
        return " ".join(text.split())

    def _words(self, samples: np.ndarray, rate: int) -> str:
        stream = self._recognizer.create_stream()
        stream.accept_waveform(rate, samples)
        self._recognizer.decode_stream(stream)
        return str(stream.result.text)

    def _stream_words(self, samples: np.ndarray, rate: int) -> str:
        stream = self._recognizer.create_stream()
        stream.accept_waveform(rate, samples)
        stream.accept_waveform(rate, np.zeros(round(_TAIL_S * rate), np.float32))
        stream.input_finished()
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)
        return str(self._recognizer.get_result(stream))


def _recognise(folder: Path) -> tuple[_Kind, dict[str, str]]:
    """The kind of the model in ``folder``, and its files by parameter."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder of a speech model", f"unpack one there: {_FORMATS}, for sherpa-onnx")
    found = [(kind, {name: _find(folder, pattern) for name, pattern in kind.files.items()}) for kind in _KINDS]
    for kind, paths in found:
        files = {name: path for name, path in paths.items() if path is not None}
        if len(files) == len(paths) and _contains(next(iter(files.values())), kind.mark):
            return kind, {**{name: str(path) for name, path in files.items()}, "tokens": str(_tokens(folder))}
    begun = max(found, key=lambda each: sum(path is not None for path in each[1].values()))
    missing = [f"{begun[0].files[name]}.onnx" for name, path in begun[1].items() if path is None]
    if not any(begun[1].values()):
        what = "it has no *encoder*.onnx, *encode*.onnx or model*.onnx"
    elif missing:
        what = f"for {begun[0].name} it lacks {', '.join(missing)}"
    else:
        what = "its files are of another kind than their names say"
    raise BadInput(f"{folder} holds no speech model that can be used: {what}", f"use one of: {_FORMATS}")


def _tokens(folder: Path) -> Path:
    tokens = sorted(folder.glob("*tokens.txt"))
    if not tokens:
        raise BadInput(f"{folder} lacks tokens.txt", "unpack the whole of the model's archive there")
    return tokens[0]


def _find(folder: Path, pattern: str) -> Path | None:
    """The file for a parameter; the one in int8 if there is one."""
    paths = sorted(folder.glob(f"{pattern}.onnx"))
    if pattern.startswith("*cached"):  # which is the end of "uncached"
        paths = [path for path in paths if "uncached" not in path.name]
    return next((path for path in paths if "int8" in path.name), paths[0] if paths else None)


def _contains(path: Path, mark: bytes) -> bool:
    """Whether the file has ``mark`` in it, read in blocks that overlap."""
    rest = b""
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            if mark in rest + block:
                return True
            rest = block[-len(mark) :]
    return False
