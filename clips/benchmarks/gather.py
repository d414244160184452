"""Clips are gathered line by line: what can't be evaluated is kept with its reason, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from mosear.clips.benchmarks.record import BenchmarkClip, Skipped
from mosear.runtime.errors import BadInput


class LeftOutError(Exception):
    """The clip at hand can't be evaluated; the message says why."""


class Gathering:
    """Clips and left-out lines of one or more label files, in their order.

    Args:
        source: what the lines are from, for errors.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._clips: dict[str, BenchmarkClip] = {}
        self._skipped: list[Skipped] = []

    def add(self, line: str, read_name: Callable[[], str], read_clip: Callable[[str], BenchmarkClip]) -> None:
        """Take a line in: ``read_name()`` gives the clip's name and ``read_clip(name)`` the clip.

        Either may raise LeftOutError. Of lines with one name the first that can be read is kept. ``line`` says where it
        stands, and is its name among the clips that are left out where it has none.
        """
        name = line
        try:
            name = read_name()
            clip = read_clip(name)
            before = self._clips.get(name)
            if before is not None:
                raise LeftOutError(_again(before, clip, line))
            self._clips[name] = clip
        except LeftOutError as left_out:
            self._skipped.append(Skipped(name, str(left_out)))

    def clips(self, remedy: str) -> tuple[BenchmarkClip, ...]:
        """The clips that can be evaluated.

        Raises:
            BadInput: there is none; it tells the commonest reason.
        """
        if self._clips:
            return tuple(self._clips.values())
        if not self._skipped:
            raise BadInput(f"{self.source} has no clips.", remedy)
        reason, count = Counter(each.reason for each in self._skipped).most_common(1)[0]
        first = next(each.name for each in self._skipped if each.reason == reason)
        total = len(self._skipped)
        raise BadInput(
            f"none of the {total} clips of {self.source} can be used; {count} like {first}: {reason}.", remedy
        )

    def is_empty(self) -> bool:
        """Whether no line was taken in."""
        return not self._clips and not self._skipped

    def skipped(self) -> tuple[Skipped, ...]:
        """Lines that were left out, in their order."""
        return tuple(self._skipped)


def _again(before: BenchmarkClip, clip: BenchmarkClip, line: str) -> str:
    if before.fold != clip.fold:
        return f"it comes again ({line}) in fold {clip.fold}, and is in fold {before.fold}; the first is kept"
    if (before.label, before.labels) != (clip.label, clip.labels):
        return f"it comes again ({line}) with another label; the first is kept"
    return f"it comes again ({line}); the first is kept"
