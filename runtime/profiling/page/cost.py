"""What a bundle costs apart from the time of an answer: starting, memory, energy."""

from __future__ import annotations

from mosear.runtime.profiling.forms.rows import NO_ENERGY, cold_rows, single_rows
from mosear.runtime.profiling.forms.words import short
from mosear.runtime.profiling.page.stages import statistics_table, waterfall
from mosear.runtime.profiling.record import Profile
from mosear.runtime.report.markup import Markup, joined, table, tag

_TOTAL = "cold_start_total"


def cold_start(profile: Profile) -> Markup:
    """Phases of a fresh process."""
    rows = cold_rows(profile)
    heading = tag("h2", "Cold start")
    if not rows:
        return tag("section", heading, tag("p", "Not measured."))
    phases = [row for row in rows if row.metric != _TOTAL]
    whole = next((row for row in rows if row.metric == _TOTAL), None)
    plot = waterfall(phases, whole, "Phases of a fresh process, medians, ms", "a phase")
    return tag("section", heading, tag("div", plot, class_="charts"), statistics_table(rows))


def memory_and_energy(profile: Profile) -> Markup:
    """Peaks with how they were found, and energy with what idling takes of it."""
    rows = single_rows(profile)
    parts: list[Markup] = []
    energy = profile.energy
    if energy is None:
        parts.append(tag("p", NO_ENERGY))
    else:
        idle = energy.joules_a_run - energy.joules_a_run_above_idle
        told = (
            f"A run takes {short(energy.joules_a_run)} J of on-module energy; {short(idle)} J of it would have gone "
            f"into idling, {short(energy.joules_a_run_above_idle)} J are the run's own."
        )
        parts.append(tag("p", told))
    if not profile.memory:
        parts.append(tag("p", "Memory was not measured."))
    if rows:
        parts.append(table(("", "value", "how"), [(row.title, row.value, row.method) for row in rows]))
    return tag("section", tag("h2", "Memory and energy"), joined(parts))
