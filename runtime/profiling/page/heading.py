"""What the page is of, and what to mind before comparing it."""

from __future__ import annotations

from mosear.runtime.profiling.forms.rows import facts
from mosear.runtime.profiling.record import END_TO_END, Profile
from mosear.runtime.report.markup import Markup, joined, tag

_LONG = 400


def heading(profile: Profile) -> Markup:
    """Name, warnings, and the facts that make the figures comparable."""
    count = len(profile.samples.get(END_TO_END, ()))
    return joined(
        tag("h1", f"Profile of {profile.bundle.get('name') or 'a bundle'}"),
        tag("p", f"{count} measured run{'' if count == 1 else 's'}.", class_="soft"),
        callout(profile.warnings),
        described(facts(profile)),
    )


def callout(lines: list[str]) -> Markup:
    """A box with a line each; nothing without lines."""
    return tag("div", [tag("p", line) for line in lines], class_="callout") if lines else Markup()


def described(items: dict[str, str]) -> Markup:
    """Names and what they stand for; what is very long is cut, JSON has it whole."""
    pairs = [
        joined(tag("dt", name), tag("dd", text if len(text) <= _LONG else f"{text[:_LONG]} …"))
        for name, text in items.items()
    ]
    return tag("dl", pairs)
