"""Two saved profiles compared, with a warning for everything that makes the comparison a doubtful one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mosear.runtime.board.warnings import RISE_C
from mosear.runtime.errors import BadInput, one_line
from mosear.runtime.profiling.clock import today
from mosear.runtime.profiling.compare import LEVEL, RESAMPLES, Comparison, Contrast, contrast_apart
from mosear.runtime.profiling.forms.json_form import read_json
from mosear.runtime.profiling.forms.words import named
from mosear.runtime.profiling.record import Profile

METHOD = (
    f"ratio of the medians B/A; {LEVEL:.0%} percentile bootstrap, {RESAMPLES} resamples of each side: what varies from "
    "run to run is in the interval, what varies from one start of the program to the next is not"
)

_LARGEST = 1 << 30
_TABLES = ("bundle", "settings", "scenario", "samples", "units", "context")
# Tokens of one run are too much alike to be drawn one by one; tokens a second say the same run by run.
_NOT_BY_RUN = "inter_token_latency"
# What differs between any two profiles.
_PASSING = frozenset({"after", "temperatures", "fan", "throttle_counts"})
_SETTINGS = frozenset({"tokens", "window_s", "threads", "provider"})


def read_profile(path: Path) -> Profile:
    """A profile that ``mosear profile -o FILE.json`` wrote.

    Raises:
        BadInput: the file can't be read, or holds something else.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise BadInput(f"{path} is larger than any profile", "name a file that mosear profile -o wrote")
        profile = read_json(path.read_text(encoding="utf-8"))
        for name in _TABLES:
            if not isinstance(getattr(profile, name), dict):
                raise ValueError(f"{name} is no table")
        return profile
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror or error})", "check its path and permissions") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is no saved profile ({one_line(error, 200)})",
            "name a file that mosear profile BUNDLE -o FILE.json wrote with this version",
        ) from error


def compare_profiles(first: Path, second: Path) -> Comparison:
    """Compare two saved profiles.

    Raises:
        BadInput: as ``read_profile``.
    """
    a, b = read_profile(first), read_profile(second)
    found = (_contrast(name, a, b) for name in a.samples if name != _NOT_BY_RUN)
    return Comparison(
        kind="profiles",
        a={**a.bundle, "profile": str(first)},
        b={**b.bundle, "profile": str(second)},
        clip=a.clip if a.clip == b.clip else f"{a.clip}; {b.clip}",
        settings=a.settings,
        metrics=[each for each in found if each is not None],
        method=METHOD,
        context=a.context,
        warnings=list(_warnings(a, b)),
        created=today(),
    )


def _contrast(name: str, a: Profile, b: Profile) -> Contrast | None:
    unit = a.units.get(name, "ms")
    if unit != b.units.get(name, "ms"):
        return None
    return contrast_apart(name, unit, a.samples[name], b.samples.get(name, []))


def _warnings(a: Profile, b: Profile) -> Iterator[str]:
    """Why a difference may be none of the bundles', a line each."""
    yield (
        "measured apart, so that the machine's state is part of every difference: where it matters, compare the "
        "bundles themselves, in turns"
    )
    if a.bundle.get("sha256") == b.bundle.get("sha256"):
        yield "both are profiles of one and the same bundle: whatever differs is the machine's"
    if a.clip != b.clip:
        yield f"the clips differ: A {one_line(a.clip)}, B {one_line(b.clip)}"
    yield from _unlike("scenario", _of_scenario(a), _of_scenario(b))
    yield from _unlike("settings", _of_settings(a), _of_settings(b))
    yield from _unlike("machine", _lasting(a.context), _lasting(b.context))
    yield from _warmer(a.context.get("temperatures"), b.context.get("temperatures"))
    for text in dict.fromkeys([*a.warnings, *b.warnings]):
        whose = [name for name, profile in (("A", a), ("B", b)) if text in profile.warnings]
        yield f"{' and '.join(whose)}: {text}"


def _unlike(about: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """A line for each entry that differs; of tables, as that of versions, for each of their entries."""
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _unlike(f"{about}, {named(key, one)[0]}", one, other)
        elif one != other:
            name, told = named(key, one)
            yield f"{about}, {name}: A {told}, B {named(key, other)[1]}"


def _lasting(context: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in context.items() if key not in _PASSING}


def _warmer(first: Any, second: Any) -> Iterator[str]:
    """The zone whose temperatures before the runs are furthest apart, when that is far."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return
    shared = [(abs(first[zone] - second[zone]), zone) for zone in first if zone in second]
    apart, zone = max(shared, default=(0.0, ""))
    if apart > RISE_C:
        yield f"machine, temperature of {zone} before the runs: A {first[zone]:.0f} °C, B {second[zone]:.0f} °C"


def _of_scenario(profile: Profile) -> dict[str, Any]:
    return {name: profile.scenario.get(name) for name in ("kind", "hop_s")}


def _of_settings(profile: Profile) -> dict[str, Any]:
    return {name: value for name, value in profile.settings.items() if name in _SETTINGS}
