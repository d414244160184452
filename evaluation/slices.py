"""Where a model errs: accuracy on slices of the clips by what was missing, and by how face and voice disagree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mosear.evaluation.metrics.calibration import wilson
from mosear.evaluation.record import ClipRecord

CONFLICT_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Slice:
    """Some of a run's clips.

    Attributes:
        group: what they were sliced by.
        name: which slice.
        clips: how many; those without an answer count, as errors.
        accuracy: share of right answers.
        low, high: Wilson's 95 % interval of it.
    """

    group: str
    name: str
    clips: int
    accuracy: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return dict(vars(self))


def slices(records: Sequence[ClipRecord]) -> list[Slice]:
    """The slices that hold a clip, of those clips that have a single true label."""
    known = [record for record in records if record.label is not None]
    found = []
    for group, name, holds in _RULES:
        inside = [record for record in known if holds(record)]
        if inside:
            right = sum(record.predicted == record.label for record in inside) / len(inside)
            found.append(Slice(group, name, len(inside), right, *wilson(right, len(inside))))
    return found


def _alone(record: ClipRecord, kind: str) -> str | None:
    scores = record.by_modality.get(kind)
    return max(scores, key=lambda label: scores[label]) if scores else None


def _between(low: float, high: float) -> Callable[[ClipRecord], bool]:
    # The last slice holds its upper edge too.
    last = high == CONFLICT_EDGES[-1]
    return lambda record: (
        record.conflict is not None and (low <= record.conflict < high or (last and record.conflict == high))
    )


def _has(*states: str) -> Callable[[ClipRecord], bool]:
    return lambda record: any(state in record.states for state in states)


def _both(record: ClipRecord) -> bool:
    return _alone(record, "visual") is not None and _alone(record, "audio") is not None


def _agree(record: ClipRecord) -> bool:
    return _both(record) and _alone(record, "visual") == _alone(record, "audio")


def _right_alone(kind: str, other: str) -> Callable[[ClipRecord], bool]:
    return lambda record: _alone(record, kind) == record.label and _alone(record, other) not in (None, record.label)


_MISSING, _CONFLICT, _ALONE = "what was there", "conflict of face and voice", "which of them is right alone"
_RULES: tuple[tuple[str, str, Callable[[ClipRecord], bool]], ...] = (
    (_MISSING, "picture and sound", _both),
    (_MISSING, "no picture", _has("no_video", "no_face", "dark", "covered")),
    (_MISSING, "no sound", _has("no_audio")),
    (_MISSING, "no speech", _has("no_speech")),
    (_MISSING, "short or cut off", _has("short", "truncated")),
    *((_CONFLICT, f"{low:.2f} to {high:.2f}", _between(low, high)) for low, high in itertools.pairwise(CONFLICT_EDGES)),
    (_ALONE, "both say the same", _agree),
    (_ALONE, "they differ", lambda record: _both(record) and not _agree(record)),
    (_ALONE, "only the face is right", _right_alone("visual", "audio")),
    (_ALONE, "only the voice is right", _right_alone("audio", "visual")),
)
