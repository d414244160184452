"""What the doctor found: one line of it, whether that is well, and the line to run when it is not."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mosear.runtime.errors import one_line

MB = 1_000_000


class Verdict(str, Enum):
    """How a finding is to be taken."""

    ok = "ok"
    note = "note"
    """Works, but something about it is worth knowing."""
    wrong = "wrong"
    """Does not work, and is there or was asked for."""
    absent = "absent"
    """Is not here, and nothing asks for it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: the group of checks, as ``providers``.
        subject: what was looked at, as ``CPUExecutionProvider``.
        verdict: how to take it.
        seen: what was seen, in one line.
        fix: the line to run; there always is one when the verdict is ``wrong``.
        details: figures behind ``seen``, plain JSON.

    Raises ValueError for something wrong without a fix.
    """

    check: str
    subject: str
    verdict: Verdict
    seen: str
    fix: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", one_line(self.seen, 300))
        if self.verdict is Verdict.wrong and not self.fix:
            raise ValueError(f"{self.subject} is wrong, and there is no line to run: {self.seen}")
        if self.fix is not None:
            object.__setattr__(self, "fix", one_line(self.fix))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "check": self.check,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "seen": self.seen,
            "fix": self.fix,
            "details": self.details,
        }


def megabytes(size: float) -> str:
    """``1.2 GB`` or ``340 MB``."""
    return f"{size / MB / 1000:.1f} GB" if size >= 1000 * MB else f"{size / MB:.0f} MB"
