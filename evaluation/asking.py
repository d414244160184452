"""How a model is asked, whichever it is, and what it says of one window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mosear.runtime.answer import Prefill
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.results import Emotion
from mosear.runtime.windows import Window

SCORE, WRITE = "score", "write"
WRITTEN_TOKENS = 24
"""A label that the model writes is cut after so many tokens: those that fine-tuned models write are a word or two."""


@dataclass(frozen=True)
class Asking:
    """What is asked of a model.

    Attributes:
        answer: ``score`` scores the label words after the prompt; ``write`` has the model write its answer greedily.
        reason: whether it is also asked for its reason.
        labels: words to score in place of the model's own, or None.
        window_s, hop_s: as for ``read_windows``.
    """

    answer: str = SCORE
    reason: bool = False
    labels: tuple[str, ...] | None = None
    window_s: float | None = None
    hop_s: float | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What one model says of one window.

    Attributes:
        emotion: the answer, with the reason where one is asked for.
        prefill: what it was made from; None for a window without picture and sound.
        text: what the model wrote for the label, where it is asked to write it.
        gates: by module path, [2, 3]: mean share of the experts visual, non_visual and omni on visual rows and on the
            others; empty where gates are constant or there are none.
    """

    emotion: Emotion
    prefill: Prefill | None
    text: str | None = None
    gates: Mapping[str, np.ndarray] = field(default_factory=dict)


class Model(Protocol):
    """A bundle or a checkpoint, opened. A checkpoint may have several variants, which share its encoders.

    Attributes:
        variants: their names; one empty name for a model as it is.
        labels: the words that are scored.
        preprocessing: sizes and rates.
        layers: by variant, the decoder's layers that report their attention.
    """

    @property
    def variants(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def preprocessing(self) -> Preprocessing: ...

    @property
    def layers(self) -> Mapping[str, list[int]]: ...

    def look(self, window: Window, clip: str) -> Iterator[tuple[str, View]]:
        """What each variant says of a window."""
        ...
