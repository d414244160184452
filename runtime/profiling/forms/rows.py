"""A profile's figures as rows, the same ones in every form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.forms.statistics import Statistics, statistics
from mosear.runtime.profiling.forms.words import inline, megabytes, named, short, title
from mosear.runtime.profiling.record import END_TO_END, STAGES, Profile
from mosear.runtime.spans import TEXT_PREFILL

ANSWER = STAGES[: STAGES.index("token_decode")]
"""The stages of an answer; ``token_decode``, text behind it, is no part of ``END_TO_END``."""

METRICS = (
    *ANSWER,
    END_TO_END,
    "latency",
    "real_time_factor",
    TEXT_PREFILL,
    "token_decode",
    "time_to_first_token",
    "inter_token_latency",
    "output_token_throughput",
)
"""The order in which people read them: an answer's parts, the whole, text."""

NO_ENERGY = "Energy was not measured: no power rail could be read."

_ALWAYS = {name for name in METRICS if name != "latency"}
_COUNTS = ("arrived", "answered", "dropped")


@dataclass(frozen=True)
class Row:
    """One metric's figures.

    Attributes:
        metric: its name in JSON and CSV.
        figures: what its samples come to.
        method: how it was found, where that needs saying.
        label: what people read for it where that is not the metric's own title.
    """

    metric: str
    figures: Statistics
    method: str = ""
    label: str = ""

    @property
    def title(self) -> str:
        """What people read for it."""
        return self.label or title(self.metric, self.figures.unit)

    @property
    def value(self) -> str:
        """The figure of a row without a distribution, with its unit."""
        value, unit = self.figures.avg, self.figures.unit
        return megabytes(value) if unit == "bytes" else f"{short(value)} {unit}"


def metric_rows(profile: Profile) -> list[Row]:
    """The steady state: stages, the whole, text; metrics that only a later version knows come last."""
    names = [*METRICS, *(name for name in profile.samples if name not in METRICS)]
    found = ((name, statistics(profile.samples.get(name, ()), profile.units.get(name, "ms"))) for name in names)
    return [Row(name, figures) for name, figures in found if figures is not None]


def not_measured(profile: Profile) -> list[str]:
    """Titles of the metrics that every profile could have and this one has not."""
    there = {row.metric for row in metric_rows(profile)}
    return [title(name) for name in METRICS if name in _ALWAYS and name not in there]


def cold_rows(profile: Profile) -> list[Row]:
    """Phases of a cold start in their order, over the fresh processes."""
    found = ((phase, statistics(values, "ms")) for phase, values in profile.cold_start.items())
    return [Row(f"cold_start_{phase}", figures, label=title(phase)) for phase, figures in found if figures is not None]


def single_rows(profile: Profile) -> list[Row]:
    """Figures without a distribution: windows of a fixed rate, peaks of memory, energy and power."""
    rows = [
        Row(f"windows_{name}", Statistics("windows", profile.scenario[name]), label=f"windows {name}")
        for name in _COUNTS
        if isinstance(profile.scenario.get(name), (int, float))
    ]
    seen: Counter[str] = Counter()
    for memory in profile.memory:
        seen[memory.what] += 1
        # A second peak of the same kind, found in another way, must not stand in for the first.
        suffix = f"_{seen[memory.what]}" if seen[memory.what] > 1 else ""
        metric, peak = f"peak_memory_{memory.what}{suffix}", Statistics("bytes", memory.peak_bytes)
        rows.append(Row(metric, peak, memory.method, f"peak memory, {one_line(memory.what)}"))
    if profile.energy is not None:
        energy, method = profile.energy, f"{profile.energy.rail}: {profile.energy.method}"
        rows += [
            Row("energy_a_run", Statistics("J", energy.joules_a_run), method, "energy a run"),
            Row("energy_a_run_above_idle", Statistics("J", energy.joules_a_run_above_idle), method, "of it above idle"),
            Row("power_idle", Statistics("W", energy.idle_w), method, "power, idle"),
            Row("power_busy", Statistics("W", energy.busy_w), method, "power, measured runs"),
        ]
        for rail, watts in energy.rails_w.items():
            label, method = f"power, {one_line(rail)}", "measured runs, this rail alone"
            rows.append(Row(f"power_busy_{rail}", Statistics("W", watts), method, label))
    return rows


def facts(profile: Profile) -> dict[str, str]:
    """What was profiled, how, and on what, by name: bundle, clip, scenario, settings, and the context before the runs.

    What changed until after the runs reads ``before → after``.
    """
    bundle = {key: profile.bundle.get(key) for key in ("target", "precision", "backend", "path", "sha256")}
    after = profile.context.get("after")
    after = after if isinstance(after, dict) else {}
    found: dict[str, Any] = {
        **{key: value for key, value in bundle.items() if value is not None},
        **{key: value for key, value in profile.bundle.items() if key not in bundle and key != "name"},
        "clip": profile.clip,
        "scenario": scenario(profile),
        **profile.settings,
        "created": profile.created,
    }
    told = dict(named(key, value) for key, value in found.items() if value is not None and value != "")
    for key, value in profile.context.items():
        if key != "after":
            name, text = named(key, value)
            later = named(key, after.get(key, value))[1]
            told[_distinct(name, told)] = text if text == later else f"{text} → {later}"
    for key, value in after.items():
        if key not in profile.context:
            name, text = named(key, value)
            told[_distinct(f"{name} after", told)] = text
    return told


def scenario(profile: Profile) -> str:
    """The scenario in words, with what came and what was dropped."""
    told = profile.scenario
    kind = inline(told.get("kind", "not known"))
    parts = [kind if told.get("hop_s") is None else f"{kind}, a window every {inline(told['hop_s'])} s"]
    parts += [f"{inline(told[name])} {name}" for name in _COUNTS if told.get(name) is not None]
    others = {key: value for key, value in told.items() if key not in ("kind", "hop_s", *_COUNTS)}
    return ", ".join([*parts, inline(others)] if others else parts)


def _distinct(name: str, others: dict[str, str]) -> str:
    return name if name not in others else f"{name} (machine)"
