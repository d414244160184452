"""The checks that a build must pass: a bundle, run by the runtime, against the PyTorch model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mosear.calibration.gates import GateStatistics
from mosear.export.clips import Example
from mosear.export.merge import fix_gates
from mosear.model.attention import Telemetry
from mosear.model.modeling import Mosear
from mosear.runtime.bundle import Bundle
from mosear.runtime.pipeline import Pipeline, Prefill

NUMERIC_EXAMPLES = 60
"""How many windows are compared number by number; all of them are compared label by label."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Check:
    """One line of the parity table.

    Attributes:
        name: what was compared.
        measured: the figure.
        relation: ``<=`` or ``>=``: how it must stand to the tolerance.
        tolerance: the bound, or None where the figure is only reported.
    """

    name: str
    measured: float
    relation: str
    tolerance: float | None

    @property
    def passed(self) -> bool:
        """Whether the figure keeps to the tolerance. A figure that is not a number does not."""
        if self.tolerance is None:
            return True
        return self.measured <= self.tolerance if self.relation == "<=" else self.measured >= self.tolerance


@dataclass(frozen=True)
class Report:
    """All checks of a build, and the accuracy they rest on."""

    checks: tuple[Check, ...]
    examples: int
    accuracy: dict[str, dict[str, float]]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, object]:
        """For JSON and for the manifest."""
        rows = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return {"passed": self.passed, "examples": self.examples, "checks": rows, "accuracy": self.accuracy}


@dataclass(frozen=True)
class _Expected:
    visual: NDArray[np.float32] | None
    audio: NDArray[np.float32] | None
    logits: NDArray[np.float32]
    selected: NDArray[np.float32] | None


@torch.no_grad()
def expected(model: Mosear, example: Example, rows: tuple[str, ...]) -> _Expected:
    """What PyTorch says of a window, row by row: embeddings, logits [B, V], heads selected [B, R, Hq]."""
    window = example.window
    visual = None if window.frames is None else model.encode_visual(torch.from_numpy(window.frames)[None])
    audio = None if window.samples is None else model.encode_audio(torch.from_numpy(window.samples)[None])
    logits, selected = [], []
    for row in rows:
        shown = (None if row == "audio" else visual, None if row == "visual" else audio)
        telemetry = Telemetry()
        logits.append(model(model.sequence([window.transcript], "emotion", *shown), telemetry, keep=1)[:, 0])
        if telemetry.layers:
            selected.append(telemetry.selected)
    return _Expected(
        None if visual is None else visual[0].numpy(),
        None if audio is None else audio[0].numpy(),
        torch.cat(logits).numpy(),
        torch.cat(selected).numpy() if selected else None,
    )


def _difference(found: NDArray[np.float32] | None, wanted: NDArray[np.float32] | None) -> float:
    if wanted is None or found is None:
        return 0.0 if wanted is found else float("inf")
    return float(np.abs(found.reshape(wanted.shape) - wanted).max())


def _label(logits: NDArray[np.float32], model: Mosear, example: Example) -> int:
    """The label that the model itself gives, by whole-sequence scoring where a label has several tokens."""
    ids = model.label_token_ids()
    if all(len(tokens) == 1 for tokens in ids):
        return int(np.argmax(logits[0][[tokens[0] for tokens in ids]]))
    window = example.window
    visual = None if window.frames is None else model.encode_visual(torch.from_numpy(window.frames)[None])
    audio = None if window.samples is None else model.encode_audio(torch.from_numpy(window.samples)[None])
    return int(model.label_log_probabilities([window.transcript], visual, audio).argmax())


def verify(
    folder: Path,
    model: Mosear,
    gates: GateStatistics | None,
    examples: list[Example],
    threads: int,
    progress: Progress = lambda fraction: None,
) -> Report:
    """Compare a bundle with the model that it was made from.

    Args:
        folder: the bundle.
        model: the unmerged model; attention reallocation in its probability form.
        gates: the constant gates that a merged bundle was made with, or None when it keeps them dynamic.
        examples: windows; the first ``NUMERIC_EXAMPLES`` are compared number by number.
        threads: CPU threads of the runtime.
        progress: called with the fraction done.

    Returns:
        The report; the caller decides what a failed check means.
    """
    pipeline = Pipeline(Bundle.open(folder), threads=threads)
    precision = pipeline.bundle.manifest.precision
    worst = dict.fromkeys(("vision", "audio", "logits"), 0.0)
    heads: list[bool] = []
    found_labels, wanted_labels = [], []
    for index, example in enumerate(examples):
        found: Prefill = pipeline.forward(example.window)
        if index < NUMERIC_EXAMPLES:
            fix_gates(model, gates)
            same = expected(model, example, found.rows)
            worst["vision"] = max(worst["vision"], _difference(found.visual_embeds, same.visual))
            worst["audio"] = max(worst["audio"], _difference(found.audio_embeds, same.audio))
            worst["logits"] = max(worst["logits"], _difference(found.logits, same.logits))
            if same.selected is not None and found.selected is not None:
                heads += (same.selected == found.selected).ravel().tolist()
        fix_gates(model, None)
        wanted_labels.append(_label(expected(model, example, ("all",)).logits, model, example))
        found_labels.append(int(np.argmax(found.label_log_probs[0])))
        progress((index + 1) / len(examples))
    agreement = float(np.mean(np.array(found_labels) == np.array(wanted_labels)))
    exact = precision == "fp32"
    checks = [
        Check("vision tokens, max difference", worst["vision"], "<=", 1e-3 if exact else None),
        Check("audio tokens, max difference", worst["audio"], "<=", 1e-3 if exact else None),
        Check("logits, max difference (same gates)", worst["logits"], "<=", 1e-3 if exact else None),
        Check("label agreement with the unmerged model", agreement, ">=", 0.99 if exact else None),
    ]
    if heads:
        checks.append(Check("heads selected alike", float(np.mean(heads)), ">=", 0.995 if exact else None))
    accuracy = _accuracy(model.config.labels, examples, found_labels, wanted_labels)
    for subset, row in accuracy.items():
        checks.append(Check(f"accuracy lost, {subset}", row["pytorch"] - row["bundle"], "<=", 0.01 + 1e-9))
    return Report(tuple(checks), len(examples), accuracy)


def _accuracy(
    labels: tuple[str, ...], examples: list[Example], found: list[int], wanted: list[int]
) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for subset in sorted({example.subset for example in examples if example.subset and example.label}):
        rows = [i for i, example in enumerate(examples) if example.subset == subset and example.label]
        true = [labels.index(str(examples[i].label)) for i in rows]
        table[subset] = {
            "clips": float(len(rows)),
            "pytorch": float(np.mean([wanted[i] == t for i, t in zip(rows, true, strict=True)])),
            "bundle": float(np.mean([found[i] == t for i, t in zip(rows, true, strict=True)])),
        }
    return table
