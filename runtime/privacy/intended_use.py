"""What a bundle is meant for, and the uses that the EU AI Act bans.

Article 5(1)(f) of Regulation (EU) 2024/1689 bans inferring emotions in the workplace and in education, except for
medical or safety reasons. These checks go by two words and their forms: they remind of the law, they can't tell what a
device is used for, and they are not legal advice.
"""

import re
import unicodedata

from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import Manifest

NOT_STATED = "not stated"

# Words end at anything but a letter, so that workplace_monitoring is one of them and firework places are none.
RESTRICTED = re.compile(
    r"(?<![^\W\d_])(?:work[\W_]*places?|educat(?:ion|ions|ional|ionally|e|es|ed|ing|or|ors))(?![^\W\d_])", re.IGNORECASE
)
_GROUND = re.compile(r"(?<![^\W\d_])(?:medical|medically|safety)(?![^\W\d_])", re.IGNORECASE)
_REASON = re.compile(r"\((?P<reason>.*)\)\W*$")


def is_restricted(use: str) -> bool:
    """Whether a use names workplace or education, however it is spelt."""
    return RESTRICTED.search(unicodedata.normalize("NFKC", use).replace("\u00ad", "")) is not None


def stated_use(use: str, reason: str | None) -> str:
    """The line that a bundle's manifest records.

    Args:
        use: what the bundle is for, in the builder's words.
        reason: the medical or safety reason, for a restricted use.

    Raises:
        UsageError: a restricted use without a reason, a reason that is neither medical nor of safety, or a reason for
            a use that needs none.
    """
    use, stated = " ".join(use.split()), " ".join((reason or "").split())
    if is_restricted(use):
        if not _GROUND.search(stated):
            raise UsageError(
                f"intended use {use!r} is banned in the EU without a medical or safety reason (AI Act, Art. 5(1)(f))",
                'state it: --use-reason "safety: ..." or "medical: ..." (use_reason in a recipe); this is a reminder, '
                "not legal advice",
            )
        return f"{use} ({stated})"
    if stated:
        raise UsageError("a use reason goes with an intended use in workplace or education", "leave it out")
    return use or NOT_STATED


def check_use(use: str, named: str) -> None:
    """Raise UsageError for a restricted use that does not end with its medical or safety reason in parentheses.

    Args:
        use: a line as ``stated_use`` gives it.
        named: what the error calls it.
    """
    reason = _REASON.search(use)
    if is_restricted(use) and not (reason and _GROUND.search(reason["reason"])):
        raise UsageError(
            f"{named}, {use!r}, is banned in the EU without a medical or safety reason (AI Act, Art. 5(1)(f))",
            "state it in parentheses, as --use-reason does for a build; this is a reminder and not legal advice",
        )


def check_live_use(manifest: Manifest) -> None:
    """Raise UsageError for a bundle that is meant for a restricted use and states no medical or safety reason.

    The exporter builds none; a manifest that was changed by hand ends here, before a camera is opened.
    """
    check_use(manifest.intended_use, "this bundle's intended use")
