"""What a judge is: something that answers a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

LONGEST = 1 << 20
"""Bytes of an answer that are read; a verdict has a few dozen."""


class NoAnswerError(Exception):
    """A judge gave no answer to this prompt, but may to another.

    Attributes:
        why: in a few words, without any part of the prompt.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Judge(Protocol):
    """Answers prompts.

    Attributes:
        identity: which judge and which model, as plain JSON without a secret: verdicts of another are not used again.
    """

    @property
    def identity(self) -> Mapping[str, str]: ...

    def ask(self, prompt: str) -> str:
        """What the judge answers, as it wrote it.

        Raises:
            NoAnswerError: it did not answer this prompt.
            Failed: it does not work at all.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...
