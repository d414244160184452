"""What a run is to do, resolved before any model is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.clips.benchmarks.registry import read_benchmark
from mosear.evaluation.asking import SCORE, WRITE, Asking
from mosear.evaluation.metrics.synonyms import Synonyms
from mosear.evaluation.opening import Opener, Subject, examine
from mosear.evaluation.variants import ABLATION, AS_IS
from mosear.evaluation.words import Words, choose_words
from mosear.runtime.errors import UsageError


@dataclass(frozen=True)
class Wishes:
    """What the command was given; see the options of ``mosear-eval run``."""

    subject: str
    dataset: str
    root: Path
    read: ReadOptions
    output: Path | None = None
    words: str = "model"
    own_words: Mapping[str, str] | None = None
    answer: str = SCORE
    reason: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    limit: int | None = None
    ablate: bool = False
    base_reallocation: tuple[float, float] | None = None
    threads: int | None = None
    provider: str | None = None
    synonyms: Synonyms | None = None
    debug: bool = False


@dataclass(frozen=True)
class Plan:
    """A run, resolved.

    Attributes:
        subject: what is evaluated.
        benchmark: what was read.
        clips: those that are answered, in the benchmark's order.
        words: of the answers.
        opener: opens the model.
        output: folder of the results.
        outputs: by variant, the folder of its run: that folder, or one in it a variant.
        setups: by variant, what ``run.json`` holds a run to.
        more: what else ``run.json`` says.
    """

    subject: Subject
    benchmark: Benchmark
    clips: tuple[BenchmarkClip, ...]
    words: Words
    opener: Opener
    output: Path
    outputs: Mapping[str, Path]
    setups: Mapping[str, dict[str, Any]]
    more: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """What would be done, as plain JSON."""
        beyond = sorted({clip.label for clip in self.clips if clip.label and not self._is_met(clip.label)})
        return {
            "subject": {key: value for key, value in self.subject.identity.items() if key != "gates"},
            "benchmark": self.benchmark.title,
            "clips": len(self.clips),
            "left out while reading": len(self.benchmark.skipped),
            "answers": list(self.words.answers),
            "labels that no answer can meet": beyond,
            "variants": [name or "as it is" for name in self.outputs],
            "results": [str(path) for path in self.outputs.values()],
            "licence": self.benchmark.licence,
        }

    def _is_met(self, label: str) -> bool:
        return self.words.of(label) in self.words.answers


def make_plan(wishes: Wishes) -> Plan:
    """Resolve what the command was given.

    Raises:
        UsageError: options that don't go together, or don't fit the subject.
        BadInput: the subject or the benchmark can't be read.
        Failed: a checkpoint is given where PyTorch is not installed.
    """
    subject = examine(wishes.subject)
    _check_options(wishes, subject)
    benchmark = read_benchmark(wishes.dataset, wishes.root, wishes.read)
    words = choose_words(benchmark, subject.labels, wishes.words, wishes.own_words)
    labels = words.answers if wishes.words == "benchmark" else None
    asking = Asking(wishes.answer, wishes.reason, labels, wishes.window_s, wishes.hop_s)
    clips = draw(benchmark.clips, wishes.limit)
    variants = ABLATION if wishes.ablate else (AS_IS,)
    output = wishes.output or Path("results") / _name(subject, benchmark)
    opener = Opener(
        subject.path,
        subject.kind,
        subject.identity["sha256"],
        asking,
        words,
        wishes.root,
        variants,
        wishes.base_reallocation,
        wishes.threads,
        wishes.provider,
        wishes.debug,
        wishes.synonyms,
    )
    setup = {
        "subject": dict(subject.identity),
        "benchmark": {
            "name": benchmark.name,
            "title": benchmark.title,
            "split": wishes.read.split,
            "fold": wishes.read.fold,
            "headline": list(benchmark.headline),
            "clips": len(clips),
            "sha256": _fingerprint(clips),
        },
        "answer": asking.answer,
        "reason": asking.reason,
        "window_s": asking.window_s,
        "hop_s": asking.hop_s,
        "words": list(words.answers),
        "truth": dict(words.truth),
        "synonyms": None if wishes.synonyms is None else wishes.synonyms.sha256,
        "base_reallocation": None if wishes.base_reallocation is None else list(wishes.base_reallocation),
    }
    more = {"path": wishes.subject, "root": str(wishes.root), "licence": benchmark.licence, "notice": subject.notice}
    return Plan(
        subject,
        benchmark,
        clips,
        words,
        opener,
        output,
        {name: output / name if name else output for name in variants},
        {name: {**setup, "variant": name} for name in variants},
        more,
    )


def draw(clips: tuple[BenchmarkClip, ...], limit: int | None) -> tuple[BenchmarkClip, ...]:
    """At most ``limit`` clips in their order, drawn with a fixed seed: more of them hold fewer of them.

    Label files are sorted, or go through labels in turns, so neither their first clips nor every tenth are like all.
    """
    if limit is None or limit >= len(clips):
        return clips
    places = np.random.default_rng(0).permutation(len(clips))[:limit]
    return tuple(clips[place] for place in np.sort(places))


def _check_options(wishes: Wishes, subject: Subject) -> None:
    if wishes.ablate and subject.kind != "checkpoint":
        raise UsageError(
            "a bundle's experts and reallocation are baked into its graphs, so nothing can be taken away from it",
            "give --ablate the checkpoint that the bundle was made from",
        )
    if wishes.base_reallocation is not None and not wishes.ablate:
        raise UsageError("--base-reallocation is for the rows of --ablate", "leave it out, or add --ablate")
    if wishes.provider is not None and subject.kind != "bundle":
        raise UsageError("--provider is for bundles; a checkpoint runs in PyTorch", "leave it out")
    if wishes.answer not in (SCORE, WRITE):
        raise UsageError(f"there is no way of answering called {wishes.answer}", f"choose {SCORE} or {WRITE}")


def _name(subject: Subject, benchmark: Benchmark) -> str:
    precision = subject.identity.get("precision") or subject.kind
    return "-".join([str(subject.identity["name"]), str(precision), benchmark.name])


def _fingerprint(clips: tuple[BenchmarkClip, ...]) -> str:
    """SHA-256 over what is asked and what is true, wherever the media lie."""
    digest = hashlib.sha256()
    for clip in clips:
        row = [
            clip.name,
            clip.label,
            clip.labels,
            clip.subset,
            clip.fold,
            clip.speaker,
            clip.transcript,
            clip.reference,
        ]
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
