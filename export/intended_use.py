"""What a bundle is meant for, and the uses that the EU AI Act bans.

Article 5(1)(f) of Regulation (EU) 2024/1689 bans inferring emotions in the workplace and in education, except for
medical or safety reasons. This check is a reminder, not legal advice.
"""

from __future__ import annotations

import re

from mosear.runtime.errors import UsageError

DEFAULT_USE = "not stated"
RESTRICTED = re.compile(r"\b(workplace|education)\b", re.IGNORECASE)


def check_intended_use(use: str, reason: str | None) -> str:
    """The line that the manifest records.

    Args:
        use: what the bundle is for, in the builder's words.
        reason: the medical or safety reason, for a restricted use.

    Raises:
        UsageError: a restricted use without a reason, or a reason for a use that needs none.
    """
    use, stated = " ".join(use.split()), " ".join((reason or "").split())
    if RESTRICTED.search(use):
        if not stated:
            raise UsageError(
                f"intended use {use!r} is banned in the EU without a medical or safety reason (AI Act, Art. 5(1)(f))",
                'state it: --use-reason "safety: ..." (use_reason in a recipe); this is a reminder, not legal advice',
            )
        return f"{use} ({stated})"
    if stated:
        raise UsageError("a use reason goes with an intended use in workplace or education", "leave it out")
    return use or DEFAULT_USE
