"""What a bundle is meant for, and the uses that the EU AI Act bans.

Article 5(1)(f) of Regulation (EU) 2024/1689 bans inferring emotions in the workplace and in education, except for
medical or safety reasons. These checks are a reminder, not legal advice.
"""

import re

from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import Manifest

NOT_STATED = "not stated"
RESTRICTED = re.compile(r"\b(workplace|education)\b", re.IGNORECASE)
_WITH_REASON = re.compile(r"\(.*\S.*\)$")


def stated_use(use: str, reason: str | None) -> str:
    """The line that a bundle's manifest records.

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
    return use or NOT_STATED


def check_live_use(manifest: Manifest) -> None:
    """Raise UsageError for a bundle that is meant for a restricted use and states no reason.

    The exporter builds none; a manifest that was changed by hand ends here, before a camera is opened.
    """
    use = manifest.intended_use
    if RESTRICTED.search(use) and not _WITH_REASON.search(use):
        raise UsageError(
            f"this bundle's intended use, {use!r}, is banned in the EU without a medical or safety reason",
            "build it with --use-reason; this is a reminder of the AI Act, Art. 5(1)(f), and not legal advice",
        )
