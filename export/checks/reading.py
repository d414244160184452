"""A report from its JSON, so that a page can be drawn again from a manifest."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from mosear.export.checks.record import Report
from mosear.runtime.errors import BadInput


def read_report(content: Any) -> Report:
    """The report that ``Report.as_dict`` wrote.

    Raises:
        BadInput: it is no report, or one of another version.
    """
    try:
        report = _read(Report, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"this is no verification report: {error!r}", "build or verify the bundle again") from error
    assert isinstance(report, Report)
    return report


def _read(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: _read(hints[field.name], value[field.name]) for field in dataclasses.fields(kind)})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _read(arguments[0], value)
    if origin is tuple:
        return tuple(_read(arguments[0], entry) for entry in value)
    if origin is dict:
        return {str(key): _read(arguments[1], entry) for key, entry in value.items()}
    if kind is float:
        return float("nan") if value is None else float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
