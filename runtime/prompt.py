"""The prompt: one function for training and for the device, so that the two cannot drift apart."""

import re
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass
from tokenizers import Tokenizer

from mosear.runtime.errors import BadInput
from mosear.runtime.modality import Modality

MEDIA_TOKEN = -1
"""Token id of a position that an encoder's embedding fills."""

TRANSCRIPT_TOKENS = 64
"""A transcript is cut to this many tokens."""

_MARKERS = ("visual", "audio", "transcript", "task")
_MARKER = re.compile(r"\{(" + "|".join(_MARKERS) + r")\}")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Prompt:
    """The prompt of a model.

    Attributes:
        template: text with the markers ``{visual}``, ``{audio}``, ``{transcript}`` and ``{task}``, each once.
        tasks: what stands for ``{task}``, by the name of the task (``emotion``; ``reason`` where the model can).
        no_transcript: what stands for ``{transcript}`` when there is none.

    Raises:
        pydantic.ValidationError: a marker is missing or stands twice, or there is no task.
    """

    template: str
    tasks: dict[str, str]
    no_transcript: str

    @field_validator("template")
    @classmethod
    def _each_marker_once(cls, template: str) -> str:
        found = _MARKER.findall(template)
        if sorted(found) != sorted(_MARKERS):
            wanted = ", ".join("{" + name + "}" for name in _MARKERS)
            raise ValueError(f"the template must hold {wanted}, each once")
        return template

    @field_validator("tasks")
    @classmethod
    def _some_task(cls, tasks: dict[str, str]) -> dict[str, str]:
        if not tasks:
            raise ValueError("there must be at least one task")
        return tasks


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of the file ``path`` (tokenizer.json), without the truncation and padding it may have saved.

    Raises:
        BadInput: the file is missing or is not a tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for whatever is wrong with the file
        raise BadInput(f"{path} is not a usable tokenizer ({error})", "export or copy the bundle again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode_transcript(tokenizer: Tokenizer, transcript: str) -> list[int]:
    """Token ids of what was said, at most ``TRANSCRIPT_TOKENS``, with special tokens taken as plain text.

    Whoever speaks or writes the transcript must not be able to end the prompt: a special token's spelling is
    encoded like any other text, and where the vocabulary has it as a word too, the id is left out.
    """
    was_plain = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        ids = tokenizer.encode(transcript, add_special_tokens=False).ids
    finally:
        tokenizer.encode_special_tokens = was_plain
    unknown = getattr(tokenizer.model, "unk_token", None)
    control = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    control.discard(tokenizer.token_to_id(unknown) if unknown is not None else MEDIA_TOKEN)
    return [i for i in ids if i not in control][:TRANSCRIPT_TOKENS]


def constant_beginning(prompt: Prompt, tokenizer: Tokenizer) -> np.ndarray:
    """Token ids int64 [P] that every prompt begins with: the text before the first marker, all of it text."""
    text = _MARKER.split(prompt.template)[0]
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids if text else [], np.int64)


def assemble(
    prompt: Prompt,
    tokenizer: Tokenizer,
    visual_tokens: int,
    audio_tokens: int,
    transcript: str | None,
    task: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Lay out one prompt.

    The text between the markers is encoded piece by piece without special tokens, so a piece's ids never depend on
    its neighbours. Media positions are laid out whether or not the modality is there: a missing one is hidden by its
    keys, and no position shifts.

    Args:
        prompt: the model's prompt.
        tokenizer: the model's tokenizer.
        visual_tokens: how many positions ``{visual}`` takes.
        audio_tokens: how many positions ``{audio}`` takes.
        transcript: what was said, or None (blank text counts as None).
        task: a key of ``prompt.tasks``.

    Returns:
        ``token_ids`` int64 [S] with ``MEDIA_TOKEN`` at media positions, and ``modality`` int64 [S] (see ``Modality``).

    Raises:
        KeyError: the prompt has no such task.
    """
    said = transcript.strip() if transcript else ""
    pieces = _MARKER.split(prompt.template)
    ids: list[int] = []
    modality: list[int] = []
    for index, piece in enumerate(pieces):
        is_marker = index % 2 == 1
        if is_marker and piece in ("visual", "audio"):
            count = visual_tokens if piece == "visual" else audio_tokens
            ids += [MEDIA_TOKEN] * count
            modality += [Modality.VISUAL if piece == "visual" else Modality.AUDIO] * count
            continue
        if is_marker and piece == "transcript" and said:
            encoded = encode_transcript(tokenizer, said)
        else:
            text = piece
            if is_marker:
                text = prompt.no_transcript if piece == "transcript" else prompt.tasks[task]
            encoded = tokenizer.encode(text, add_special_tokens=False).ids if text else []
        ids += encoded
        modality += [Modality.TEXT] * len(encoded)
    return np.array(ids, np.int64), np.array(modality, np.int64)
