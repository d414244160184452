"""What to tell whoever made a study."""

from __future__ import annotations

from collections import Counter

from mosear.evaluation.study.key import StudyKey


def summary(key: StudyKey, page: str, key_file: str) -> list[str]:
    """Line by line: what was drawn, what is not shown and why, and what to do with the two files."""
    held = Counter(clip.media for clip in key.clips)
    lines = [f"{len(key.clips)} of {counted(key.comparable, 'clip')} with two different reasons, seed {key.seed}"]
    if key.identical:
        lines.append(
            f"not shown, and counted as equal: {counted(len(key.identical), 'clip')} with one and the same reason"
        )
    for reason, count in Counter(each.reason for each in key.left_out).items():
        lines.append(f"left out: {counted(count, 'clip')}: {reason}")
    if held["converted"]:
        lines.append(f"converted to MP4, which all browsers play: {counted(held['converted'], 'clip')}")
    if held["named"]:
        lines.append(f"only named in the page, for raters to play beside it: {counted(held['named'], 'clip')}")
    if key.checks:
        lines.append(f"checks of attention: {len(key.checks)}")
    lines.append(f"for raters: {page}; to be kept from them: {key_file}")
    return lines


def counted(count: int, name: str) -> str:
    """A number with its noun."""
    return f"{count} {name}{'' if count == 1 else 's'}"
