"""One clip's line of ``clips.jsonl``: the truth, the answer, and what the answer relied on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

SCHEMA = "mosear.evaluation/1"
_DIGITS = 6


@dataclass(frozen=True)
class ClipRecord:
    """An answered clip.

    Attributes:
        name: of the clip, unique within a run.
        label: the truth, in the words that answers are given in (see ``Words``); None where it has none. A truth that
            the model has no word for keeps the benchmark's own word, and can't be met.
        labels: open-vocabulary truth.
        subset, fold, speaker, transcript, reference: as in ``mosear.clips.benchmarks.record.BenchmarkClip``.
        media: the file or folder, as it lies below the benchmark's root; absolute when it lies elsewhere.
        predicted: the answer, or None when there is none.
        predicted_labels: open-vocabulary answer: the emotion words of the model's text.
        failure: why there is no answer: ``parse: …`` when the model's text holds no label or several, ``unknown``
            when there was neither picture nor sound; None when there is one.
        windows: windows that were answered.
        scores: mean score by label over the windows; empty where labels are not scored.
        by_modality: the same from picture alone (``visual``) and sound alone (``audio``), None where there was none.
        conflict: mean over the windows, or None.
        reliance: share of attention by modality, mean over the windows, or None.
        reallocated: mean number of reallocated heads a window, or None when nothing reallocates.
        states: of any window, each once.
        text: what the model wrote for the label, where it was asked to write it.
        reason: the model's reason, where it was asked for one.
        seconds: of the model's work.
    """

    name: str
    label: str | None
    predicted: str | None
    failure: str | None = None
    labels: list[str] = field(default_factory=list)
    predicted_labels: list[str] = field(default_factory=list)
    subset: str | None = None
    fold: int | None = None
    speaker: str | None = None
    transcript: str | None = None
    reference: str | None = None
    media: str | None = None
    windows: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    by_modality: dict[str, dict[str, float] | None] = field(default_factory=lambda: {"visual": None, "audio": None})
    conflict: float | None = None
    reliance: dict[str, float] | None = None
    reallocated: float | None = None
    states: list[str] = field(default_factory=list)
    text: str | None = None
    reason: str | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, floats rounded to six digits behind the point."""
        return {"schema": SCHEMA, **{key: _rounded(value) for key, value in dataclasses.asdict(self).items()}}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ClipRecord:
        """Back from ``to_dict``.

        Raises:
            ValueError: another schema, or other fields.
        """
        values = dict(content)
        if values.pop("schema", None) != SCHEMA:
            raise ValueError(f"not a line of {SCHEMA}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class AttentionRecord:
    """One clip's line of ``attention.jsonl``: means over its windows, on the last row of the prompt.

    Attributes:
        name: of the clip.
        layers: the decoder's layers that are reported (the reallocating ones).
        mass: [layers][heads][3], attention on text, visual and audio keys before reallocation.
        selected: [layers][heads], share of windows in which the head was reallocated.
        gates: by module path, [2][3]: mean share of the experts visual, non_visual and omni on visual rows and on the
            others; empty where the experts are merged or there are none.
    """

    name: str
    layers: list[int]
    mass: list[list[list[float]]]
    selected: list[list[float]]
    gates: dict[str, list[list[float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, floats rounded to four digits behind the point."""
        return {key: _rounded(value, 4) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> AttentionRecord:
        """Back from ``to_dict``. Raises ValueError for other fields."""
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(str(error)) from error


def _rounded(value: Any, digits: int = _DIGITS) -> Any:
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: _rounded(each, digits) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each, digits) for each in value]
    return value
