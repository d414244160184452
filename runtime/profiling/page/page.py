"""A profile as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from mosear.runtime.profiling.page.cost import cold_start, memory_and_energy
from mosear.runtime.profiling.page.distribution import distribution
from mosear.runtime.profiling.page.heading import heading
from mosear.runtime.profiling.page.operators import operators
from mosear.runtime.profiling.page.stages import stages
from mosear.runtime.profiling.page.style import STYLE
from mosear.runtime.profiling.page.timeline import timeline
from mosear.runtime.profiling.record import Profile
from mosear.runtime.report.document import document

_SECTIONS = (heading, stages, distribution, timeline, cold_start, memory_and_energy, operators)


def page(profile: Profile) -> str:
    """The page's HTML. Everything that comes from a bundle, a path or a machine is escaped.

    Its size does not grow with the number of runs: plots keep the extremes of what falls on one spot.
    """
    title = f"Profile of {profile.bundle.get('name') or 'a bundle'}"
    return document(title, [section(profile) for section in _SECTIONS], STYLE)
