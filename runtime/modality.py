"""The modality of a token, the one vocabulary that the model, the exporter and the runtime share."""

from enum import IntEnum


class Modality(IntEnum):
    """Modality id of a token. A ``HIDDEN`` token (padding, or a modality masked away) is invisible to every query."""

    HIDDEN = -1
    TEXT = 0
    VISUAL = 1
    AUDIO = 2


LABELS = ("neutral", "angry", "happy", "sad", "worried", "surprise")
"""The six labels of MER2023, in the order of its files."""
