"""A profile as one JSON object: the figures at the top as AIPerf writes them, and all that they were made from."""

from __future__ import annotations

import json
import math
from typing import Any

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.forms.rows import cold_rows, metric_rows, single_rows
from mosear.runtime.profiling.record import Profile


def to_json(profile: Profile) -> str:
    """The object's text.

    ``schema``; one object a metric, ``{"unit", "avg", "min", "max", "p1", … "p99", "std", "count"}``, of which what
    has no distribution (``peak_memory_process``, ``energy_a_run``, ``windows_dropped``) has ``unit`` and ``avg`` only;
    then all fields of ``Profile``, samples and spans included. A number that is not finite is null.
    """
    content = profile.to_dict()
    rows = [*metric_rows(profile), *cold_rows(profile), *single_rows(profile)]
    figures = {row.metric: row.figures.to_dict() for row in rows}
    # The record's own fields come last: whatever a metric is called, it can't stand in for one of them.
    return dumps({"schema": content["schema"], **figures, **content})


def read_json(text: str) -> Profile:
    """The profile that ``to_json`` wrote. Samples and cold starts that were not finite come back as NaN.

    Raises:
        ValueError: no JSON, another schema, or a field is missing or of another form.
    """
    content = json.loads(text)
    if isinstance(content, dict):
        for name in ("samples", "cold_start"):
            lists = content.get(name)
            if isinstance(lists, dict):
                content[name] = {metric: _numbers(values, f"{name}.{metric}") for metric, values in lists.items()}
    return Profile.from_dict(content)


def dumps(content: dict[str, Any]) -> str:
    """Strict JSON, a line a key; numbers that are not finite, which JSON has no word for, become null."""
    lines = [f"{_text(key)}: {_text(value)}" for key, value in _strict(content).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: Any, name: str) -> list[float]:
    if not isinstance(values, list):
        raise ValueError(f"{one_line(name)} is no list")
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"{one_line(name)} holds what is no number: {one_line(value, limit=60)}")
    return [math.nan if value is None else value for value in values]
