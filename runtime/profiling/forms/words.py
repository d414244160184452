"""How the forms call metrics and write numbers."""

from __future__ import annotations

import math
from typing import Any

from mosear.runtime.errors import one_line

_TITLES = {
    "media_decode": "media decode",
    "vision": "vision encoder",
    "audio": "audio encoder",
    "label_scoring": "label scoring",
    "token_decode": "token decode",
    "end_to_end": "end to end",
    "time_to_first_token": "time to first token",
    "inter_token_latency": "time a token",
    "output_token_throughput": "tokens a second",
    "real_time_factor": "real-time factor",
    "latency": "arrival to answer",
}
_ENDINGS = {
    "s": "s",
    "ms": "ms",
    "w": "W",
    "c": "°C",
    "mhz": "MHz",
    "hz": "Hz",
    "bytes": "bytes",
    "percent": "%",
}
_UNITS = {"tokens/s": "tokens a second", "ratio": ""}


def title(metric: str, unit: str = "ms") -> str:
    """What people read for a metric; where its name does not tell its unit, the unit is added unless it is ms."""
    if metric in _TITLES:
        return _TITLES[metric]
    name = one_line(metric).replace("_", " ")
    unit = _UNITS.get(unit, one_line(unit))
    return name if unit in ("ms", "") else f"{name}, {unit}"


def short(value: float | None) -> str:
    """Four significant digits without an exponent where a person would write none; a dash for what is not there."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "not a number"
    if isinstance(value, int):
        return str(value)
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001:
        return f"{value:.3g}"
    decimals = min(max(3 - math.floor(math.log10(size)), 0), 6)
    return f"{value:.{decimals}f}"


def megabytes(count: float) -> str:
    """Bytes in MB, a million each."""
    return f"{short(count / 1e6)} MB"


def inline(value: Any) -> str:
    """A fact on one line, whatever its form: ``cpu0: 1.5, cpu1: 1.5``."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _trimmed(short(value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in (_entry(*each) for each in value.items())) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_nested(entry) for entry in value) or "none"
    return one_line(value)


def _trimmed(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number and "e" not in number else number


def named(key: object, value: Any) -> tuple[str, str]:
    """A fact's name in words and its value; a unit that ends the name, as in ``window_s``, goes to the value."""
    words = one_line(key).split("_")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and len(words) > 1 and words[-1].lower() in _ENDINGS:
        unit = _ENDINGS[words[-1].lower()]
        return " ".join(words[:-1]), megabytes(value) if unit == "bytes" else f"{inline(value)} {unit}"
    return " ".join(words), inline(value)


def _entry(key: object, value: Any) -> tuple[str, str]:
    name, text = named(key, value)
    return name, f"({text})" if isinstance(value, (dict, list, tuple)) and value else text


def _nested(value: Any) -> str:
    return f"({inline(value)})" if isinstance(value, (dict, list, tuple)) and value else inline(value)
