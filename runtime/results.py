"""The answer to a window: one object, written as a line of JSON or as a row of CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "mosear.emotion/1"
UNKNOWN = "unknown"

_DIGITS = 6
_STAGES = ("vision", "audio", "prefill", "labels", "reason", "total")
_MODALITIES = ("visual", "audio", "text")
_LIVE = ("time", "sequence", "latency_ms", "dropped", "smoothed_label")


@dataclass(frozen=True)
class Live:
    """What a live answer says beside the answer.

    Attributes:
        time: RFC 3339, UTC: when the window ended, by the system clock.
        sequence: answers since the start, this one included.
        latency_ms: from the end of the window to the answer.
        dropped: windows left out since the answer before, because the model was busy.
        smoothed_label: the label over time, ``unknown`` when nothing was seen or heard for a while.
        smoothed_scores: by label; see ``mosear.runtime.live.smoothing``.
    """

    time: str
    sequence: int
    latency_ms: float
    dropped: int
    smoothed_label: str
    smoothed_scores: dict[str, float]


@dataclass(frozen=True)
class Emotion:
    """How the expression in a window reads: an estimate, not a statement of what a person feels.

    Attributes:
        clip: the file, as it was named.
        start: seconds from the first picture or sound.
        end: seconds likewise.
        label: the likeliest label, or ``unknown`` when there is neither picture nor sound.
        scores: by label, summing to 1; empty when unknown.
        by_modality: ``visual`` and ``audio``: the scores with that modality alone, None where it is missing.
        conflict: Jensen-Shannon divergence to base 2 of the two, 0 to 1; None where one is missing.
        reliance: share of attention by modality after reallocation; None when the model does not report it.
        reallocated_heads: [layer, head] of each head whose attention was reallocated.
        states: what is out of the ordinary.
        reason: the model's words, when asked for.
        timings_ms: milliseconds by stage.
        live: what only a live answer has.
        schema: name and version of this form.
    """

    clip: str
    start: float
    end: float
    label: str
    scores: dict[str, float]
    by_modality: dict[str, dict[str, float] | None]
    conflict: float | None
    reliance: dict[str, float] | None
    reallocated_heads: list[list[int]]
    states: list[str]
    reason: str | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    live: Live | None = None
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the schema first; ``reason`` and ``live`` are left out when there are none."""
        data = asdict(self)
        ordered = {"schema": data.pop("schema"), **data}
        for name in ("reason", "live"):
            if ordered[name] is None:
                del ordered[name]
        return _rounded(ordered)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


def csv_header(labels: Sequence[str], live: bool = False) -> str:
    """The header line of the CSV form; the columns depend on the labels, and on whether the answers are live ones."""
    return _csv_line(_columns(labels, live))


def csv_row(emotion: Emotion, labels: Sequence[str], live: bool = False) -> str:
    """One row; a cell is empty where there is no value. States and heads are separated by semicolons."""
    reliance = emotion.reliance or {}
    cells: dict[str, Any] = {
        "schema": emotion.schema,
        "clip": emotion.clip,
        "start": emotion.start,
        "end": emotion.end,
        "label": emotion.label,
        "conflict": emotion.conflict,
        "reallocated_heads": ";".join(f"{layer}:{head}" for layer, head in emotion.reallocated_heads),
        "states": ";".join(emotion.states),
        "reason": emotion.reason,
        **{f"score_{label}": emotion.scores.get(label) for label in labels},
        **{f"reliance_{name}": reliance.get(name) for name in _MODALITIES},
        **{f"{stage}_ms": emotion.timings_ms.get(stage) for stage in _STAGES},
    }
    for name in ("visual", "audio"):
        alone = emotion.by_modality.get(name) or {}
        cells.update({f"{name}_{label}": alone.get(label) for label in labels})
    if emotion.live is not None:
        cells.update({name: getattr(emotion.live, name) for name in _LIVE})
        cells.update({f"smoothed_{label}": emotion.live.smoothed_scores.get(label) for label in labels})
    rounded = _rounded(cells)
    columns = _columns(labels, live)
    return _csv_line(["" if rounded.get(column) is None else rounded[column] for column in columns])


def _columns(labels: Sequence[str], live: bool) -> list[str]:
    return [
        *("schema", "clip", "start", "end", "label"),
        *(f"score_{label}" for label in labels),
        *(f"visual_{label}" for label in labels),
        *(f"audio_{label}" for label in labels),
        *("conflict", *(f"reliance_{name}" for name in _MODALITIES), "reallocated_heads", "states", "reason"),
        *(f"{stage}_ms" for stage in _STAGES),
        *((*_LIVE, *(f"smoothed_{label}" for label in labels)) if live else ()),
    ]


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    # Older versions of the library quote a line break in a cell only when it is part of the terminator.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return value
