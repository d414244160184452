"""A bundle or a checkpoint by its path: what it is, and how a process opens it to answer clips."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.evaluation.asking import Asking, Model
from mosear.evaluation.clip_windows import clip_windows
from mosear.evaluation.folding import fold_attention, fold_clip
from mosear.evaluation.metrics.emotion_text import emotion_words, parse_label
from mosear.evaluation.metrics.synonyms import Synonyms
from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.evaluation.variants import AS_IS
from mosear.evaluation.words import Words
from mosear.runtime.bundle import Bundle
from mosear.runtime.engines.library import PACKAGES
from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.manifest import MANIFEST_NAME

Answered = dict[str, tuple[ClipRecord, "AttentionRecord | None"]]
"""By variant, a clip's answer and its attention."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        path: as it was named.
        kind: ``bundle`` or ``checkpoint``.
        labels: its own label words.
        identity: name, sha256 (a bundle's: of its manifest, which holds those of all its files) and what else tells it
            from others; plain JSON.
        notice: one line to show wherever it runs.
        on_gpu: whether it was built to compute on a GPU.
    """

    path: str
    kind: str
    labels: tuple[str, ...]
    identity: Mapping[str, Any]
    notice: str
    on_gpu: bool = False


def examine(path: str) -> Subject:
    """Find out what ``path`` is.

    Raises:
        BadInput: it is neither a bundle nor a checkpoint, or is damaged.
        Failed: it is a checkpoint, and PyTorch is not installed.
    """
    folder = Path(path)
    if (folder / MANIFEST_NAME).is_file():
        manifest = Bundle.open(folder, verify=False).manifest
        identity = {
            "kind": "bundle",
            "name": manifest.name,
            "sha256": hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest(),
            "checkpoint_sha256": manifest.checkpoint.sha256,
            "target": manifest.target,
            "backend": manifest.backend,
            "precision": manifest.precision,
            "mose": (manifest.mose or {}).get("mode", "none"),
            "reallocation": manifest.reallocation.model_dump() if manifest.reallocation else None,
            "gates": (manifest.mose or {}).get("gate_mean", {}),
        }
        labels = tuple(label.name for label in manifest.labels)
        on_gpu = manifest.provider == "cuda" or manifest.backend in PACKAGES
        return Subject(path, "bundle", labels, identity, manifest.notice, on_gpu)
    if path != "reference" and not (folder / "config.json").is_file():
        raise BadInput(
            f"{path} is neither a bundle nor a checkpoint",
            f"give a folder with {MANIFEST_NAME} or config.json, or the word reference",
        )
    return _examine_checkpoint(path)


def _examine_checkpoint(path: str) -> Subject:
    try:
        from mosear.model.checkpoint import checkpoint_hash, resolve
        from mosear.model.configuration import MosearConfig
    except ImportError as error:
        raise Failed(f"a checkpoint needs PyTorch ({error})", "pip install 'mosear[export,eval]'") from error
    folder = resolve(path)
    config = MosearConfig.load(folder)
    identity = {"kind": "checkpoint", "name": config.name, "sha256": checkpoint_hash(folder)}
    return Subject(path, "checkpoint", config.labels, identity, config.notice)


@dataclass(frozen=True)
class Opener:
    """Opens the model in whatever process it is called; it can be sent there.

    Attributes:
        path, kind, sha256: of the ``Subject``; where it has another hash, as on another machine, it is refused.
        asking, words: what is asked, and in which words the truth stands.
        root: of the benchmark.
        variants, base_reallocation: of an ablation; see ``CheckpointModel``.
        threads, provider, debug: as for the models.
        synonyms: of emotion words.
    """

    path: str
    kind: str
    sha256: str
    asking: Asking
    words: Words
    root: Path
    variants: tuple[str, ...] = (AS_IS,)
    base_reallocation: tuple[float, float] | None = None
    threads: int | None = None
    provider: str | None = None
    debug: bool = False
    synonyms: Synonyms | None = None

    def __call__(self) -> Callable[[BenchmarkClip], Answered]:
        """Open the model; what comes back answers clips, and raises BadInput for one that can't be read."""
        return _Answerer(self._open(), self)

    def _open(self) -> Model:
        if not self.root.exists():
            # Else every clip would be refused, one by one, and the run would look like one on bad clips.
            raise Failed(f"{self.root} is not there on {platform.node()}", "give a folder that all machines share")
        found = examine(self.path)
        if found.identity["sha256"] != self.sha256:
            raise Failed(
                f"{self.path} is another {self.kind} on {platform.node()} than where the run was started",
                "copy it there again, or name a folder that all machines share",
            )
        if self.kind == "bundle":
            from mosear.evaluation.bundle_model import BundleModel

            return BundleModel(Path(self.path), self.asking, self.threads, self.provider, self.debug)
        from mosear.evaluation.checkpoint_model import CheckpointModel

        return CheckpointModel(self.path, self.asking, self.variants, self.base_reallocation, self.threads)


class _Answerer:
    def __init__(self, model: Model, opener: Opener) -> None:
        self._model = model
        self._opener = opener

    def __call__(self, clip: BenchmarkClip) -> Answered:
        asking, words = self._opener.asking, self._opener.words
        views: dict[str, list[Any]] = {name: [] for name in self._model.variants}
        for window in clip_windows(clip, self._model.preprocessing, asking.window_s, asking.hop_s):
            for name, view in self._model.look(window, clip.name):
                views[name].append(view)
        return {
            name: (
                fold_clip(clip, seen, asking, words, self._opener.root, parse_label, self._emotion_words),
                fold_attention(clip, seen, self._model.layers[name]),
            )
            for name, seen in views.items()
        }

    def _emotion_words(self, text: str) -> list[str]:
        return emotion_words(text, self._opener.synonyms)
