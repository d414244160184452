"""``manifest.json``: what a bundle is and holds. The one contract between the exporter and the runtime."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mosear.runtime.engines.entry import EngineFile
from mosear.runtime.prompt import Prompt

SCHEMA_VERSION: Final = 1
MANIFEST_NAME = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Checkpoint(_Strict):
    """What the bundle was made from."""

    name: str
    sha256: Sha256


class FileEntry(_Strict):
    """SHA-256 and size in bytes of one file."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Graphs(_Strict):
    """File names of the graphs.

    Attributes:
        vision, audio: the encoders.
        prefill, decode: the decoder.
        labels: prefill whose logits are those of ``label_tokens`` alone; None when there is none.
    """

    vision: str
    audio: str
    prefill: str
    decode: str
    labels: str | None = None


class Preprocessing(_Strict):
    """How media become the model's input.

    Attributes:
        frame_size: side of a square frame in pixels.
        frames: frames of a window.
        frames_per_clip: frames that the vision encoder takes at once; 1 for an encoder of images.
        sample_rate: samples of sound a second.
        window_s: seconds of a window.
        silence_dbfs: sound whose RMS lies below is taken for silence, in dB relative to full scale.
    """

    frame_size: Annotated[int, Field(ge=1, le=4096)]
    frames: Annotated[int, Field(ge=1, le=1024)]
    frames_per_clip: Count = 1
    sample_rate: Annotated[int, Field(ge=1000, le=192_000)]
    window_s: Annotated[float, Field(gt=0, le=600)]
    silence_dbfs: Annotated[float, Field(le=0)] = -60.0

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.sample_rate)

    @model_validator(mode="after")
    def _frames_divide(self) -> "Preprocessing":
        if self.frames % self.frames_per_clip:
            raise ValueError("frames must be a multiple of frames_per_clip")
        return self


class Decoder(_Strict):
    """Shape of the decoder; ``capacity`` is the length of its static KV cache."""

    layers: Count
    hidden_size: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    vocab_size: Count
    capacity: Count
    eos_token_ids: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _heads_divide(self) -> "Decoder":
        if self.heads % self.kv_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        if any(token >= self.vocab_size for token in self.eos_token_ids):
            raise ValueError("an end token lies outside the vocabulary")
        return self


class Tokens(_Strict):
    """How many tokens of a window each modality takes."""

    visual: Count
    audio: Count


class Label(_Strict):
    """One label and the tokens that spell it after the prompt."""

    name: Annotated[str, Field(min_length=1)]
    token_ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Reallocation(_Strict):
    """Settings of attention reallocation; ``layers`` are the reallocating ones, in telemetry's order."""

    rate: Annotated[float, Field(ge=0, le=1)]
    threshold: Annotated[float, Field(ge=0, le=1)]
    rows: Literal["text", "last", "all"]
    layers: list[Annotated[int, Field(ge=0)]]


class Calibration(_Strict):
    """The clips that the build learnt from."""

    sha256: Sha256
    clips: Annotated[int, Field(ge=0)]
    source: str


class Manifest(_Strict):
    """The whole manifest. File names are relative, with forward slashes, and stay inside the bundle.

    ``provider`` is ONNX Runtime's; ``compute_capability`` and ``tensorrt_version`` say what the graphs are for.
    ``label_tokens`` are the tokens that the columns of the logits of ``graphs.labels`` stand for.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    created: str
    tool_version: str
    checkpoint: Checkpoint
    target: str
    backend: str
    provider: Literal["cpu", "cuda"] | None = None
    precision: str
    compute_capability: str | None = None
    tensorrt_version: str | None = None
    engines: list[EngineFile] = Field(default_factory=list)
    files: dict[str, FileEntry]
    graphs: Graphs
    embedding: str
    tokenizer: str
    preprocessing: Preprocessing
    decoder: Decoder
    tokens: Tokens
    prompt: Prompt
    labels: Annotated[list[Label], Field(min_length=2)]
    label_tokens: list[Annotated[int, Field(ge=0)]] | None = None
    mose: dict[str, Any] | None = None
    reallocation: Reallocation | None = None
    temperature: Annotated[float, Field(gt=0)]
    calibration: Calibration | None = None
    verification: dict[str, Any] = Field(default_factory=dict)
    licences: list[str]
    intended_use: str
    notice: str

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        for name in self.files:
            check_file_name(name)
        named = [*self.graphs.model_dump(exclude_none=True).values(), self.embedding, self.tokenizer]
        named += [engine.file for engine in self.engines]
        if {engine.graph for engine in self.engines} - set(named):
            raise ValueError("an engine belongs to no graph")
        missing = sorted({name for name in named if name not in self.files})
        if missing:
            raise ValueError(f"used but not listed under files: {', '.join(missing)}")
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError("a label stands twice")
        if any(token >= self.decoder.vocab_size for label in self.labels for token in label.token_ids):
            raise ValueError("a label's token lies outside the vocabulary")
        if (self.graphs.labels is None) != (self.label_tokens is None):
            raise ValueError("a graph of labels and label_tokens go together")
        if self.label_tokens is not None:
            first = {label.token_ids[0] for label in self.labels}
            if set(self.label_tokens) != first or len(self.label_tokens) != len(first):
                raise ValueError("label_tokens must be the first tokens of the labels, each once")
        if self.reallocation and any(layer >= self.decoder.layers for layer in self.reallocation.layers):
            raise ValueError("a reallocating layer lies outside the decoder")
        if "emotion" not in self.prompt.tasks:
            raise ValueError("the prompt has no task named emotion")
        return self


def check_file_name(name: str) -> None:
    """Raise ValueError unless ``name`` is a plain relative path that stays in its folder."""
    parts = PurePosixPath(name).parts
    plain = name and not name.startswith("/") and not {"\\", ":", "\0"} & set(name)
    if not plain or ".." in parts or "/".join(parts) != name or name == MANIFEST_NAME:
        raise ValueError(f"{name!r} is not a file name inside the bundle")


def write_manifest(folder: str | Path, manifest: Manifest) -> Path:
    """Write ``manifest.json`` into ``folder`` and return its path. NumPy's scalars are written as plain numbers.

    Raises:
        ValueError: a number is not finite.
        TypeError: a free field holds something that JSON has no form for.
    """
    path = Path(folder) / MANIFEST_NAME
    text = json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} can't be written to a manifest")
