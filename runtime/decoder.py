"""The decoder: a prompt of text and media, the scores of labels after it, and text generated from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.manifest import Decoder as Shape
from mosear.runtime.manifest import Label
from mosear.runtime.modality import Modality
from mosear.runtime.scores import log_softmax
from mosear.runtime.sessions import Arrays, DecoderSession
from mosear.runtime.spans import TEXT_PREFILL, span


@dataclass(frozen=True, eq=False)
class PromptRows:
    """Prompts of one length, side by side.

    Attributes:
        embeds: float32 [B, S, D].
        modality: int64 [B, S]; hidden keys are ``Modality.HIDDEN``.
    """

    embeds: np.ndarray
    modality: np.ndarray


def lay_rows(
    token_ids: np.ndarray,
    modality: np.ndarray,
    embedding: np.ndarray,
    media: dict[Modality, np.ndarray],
    shown: Sequence[Sequence[Modality]],
) -> PromptRows:
    """Fill one prompt with embeddings, and hide modalities row by row.

    Args:
        token_ids: int64 [S] from ``prompt.assemble``.
        modality: int64 [S] from the same.
        embedding: float32 [V, D], the token embeddings.
        media: by modality, float32 [n, D] for its n positions.
        shown: for each row the modalities that it sees; the positions of the others stay, hidden and zero.
    """
    is_text = modality == Modality.TEXT
    embeds = np.zeros((len(shown), len(token_ids), embedding.shape[1]), np.float32)
    embeds[:, is_text] = embedding[token_ids[is_text]]
    keys = np.repeat(modality[None], len(shown), axis=0)
    for row, modalities in enumerate(shown):
        for kind in (Modality.VISUAL, Modality.AUDIO):
            where = modality == kind
            if kind in modalities:
                embeds[row, where] = media[kind]
            else:
                keys[row, where] = Modality.HIDDEN
    return PromptRows(embeds, keys)


def stack_rows(prompts: Sequence[PromptRows]) -> PromptRows:
    """Prompts of one length below one another."""
    if len(prompts) == 1:
        return prompts[0]
    return PromptRows(
        np.concatenate([each.embeds for each in prompts]), np.concatenate([each.modality for each in prompts])
    )


class Decoder:
    """The decoder of a bundle.

    Args:
        session: runs the graphs and owns the KV cache.
        shape: from the manifest.
        embedding: float32 [V, D], the token embeddings.
        columns: the tokens that the K columns of a prefill's logits stand for; None when K = V, all of them.
        beginning: token ids int64 [P] that every prompt begins with: they are run once, here, and held.

    Raises:
        Failed: the inference library fails.
    """

    def __init__(
        self,
        session: DecoderSession,
        shape: Shape,
        embedding: np.ndarray,
        columns: Sequence[int] | None = None,
        beginning: np.ndarray | None = None,
    ) -> None:
        self._session = session
        self._shape = shape
        self._embedding = embedding
        self._column = None if columns is None else {token: place for place, token in enumerate(columns)}
        self._held = np.zeros((0, shape.hidden_size), np.float32)
        if beginning is not None and 0 < len(beginning) < shape.capacity:
            self._held = np.asarray(embedding[beginning], np.float32)
            count = len(beginning)
            modality = np.full((1, count), Modality.TEXT, np.int64)
            session.hold(self._held[None], np.arange(count, dtype=np.int64)[None], modality)

    def prefill(self, rows: PromptRows, reserve: int = 0) -> Arrays:
        """Run the prompts; the cache then holds them. Logits are float32 [B, 1, K].

        Args:
            rows: the prompts.
            reserve: how many more tokens must fit.

        Raises:
            ValueError: a prompt does not begin as all of them must.
            BadInput: the prompt is longer than the cache.
            Failed: the logits are no numbers.
        """
        batch, length = rows.modality.shape
        held = len(self._held)
        if length <= held or (rows.embeds[:, :held] != self._held).any():
            raise ValueError("the prompt does not begin with what is held")
        if length + reserve > self._shape.capacity:
            raise BadInput(
                f"the prompt takes {length + reserve} tokens, and the bundle was built for {self._shape.capacity}",
                "give a shorter transcript, or build the bundle with a larger capacity",
            )
        positions = np.repeat(np.arange(held, length, dtype=np.int64)[None], batch, axis=0)
        return _finite(self._session.prefill(rows.embeds[:, held:], positions, rows.modality))

    def score_labels(self, rows: PromptRows, logits: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
        """Log-probability of each label after each prompt, float64 [B, L].

        Where the prefill has logits for the labels' first tokens alone, the first token's probability is among them,
        and not in the whole vocabulary. This adds one number to all labels of a row, so labels compare as ever.

        A label of one token is read off the logits of the prefill. The others go on from its cache, all of them in
        one batch, each fed its own tokens.

        Args:
            rows: the prompts that the cache holds.
            logits: [B, 1, K] of their prefill.
            labels: from the manifest.
        """
        first = log_softmax(logits[:, -1])
        begin = [label.token_ids[0] for label in labels]
        scores = first[:, begin if self._column is None else [self._column[token] for token in begin]]
        long = [index for index, label in enumerate(labels) if len(label.token_ids) > 1]
        if not long:
            return scores
        batch, prompt_length = rows.modality.shape
        self._session.repeat(len(long))
        modality = np.repeat(rows.modality, len(long), axis=0)
        spelled = [labels[index].token_ids for index in long]
        for step in range(1, max(map(len, spelled))):
            fed = np.array([ids[min(step, len(ids)) - 1] for ids in spelled] * batch)
            result, modality = self._step(fed, modality, prompt_length + step - 1)
            log_probs = log_softmax(result["logits"][:, -1]).reshape(batch, len(long), -1)
            for place, (index, ids) in enumerate(zip(long, spelled, strict=True)):
                if step < len(ids):
                    scores[:, index] += log_probs[:, place, ids[step]]
        return scores

    def generate(self, rows: PromptRows, max_tokens: int) -> Iterator[int]:
        """Tokens of the likeliest continuation, one at a time, up to an end token, ``max_tokens`` or the capacity.

        Args:
            rows: one prompt (B = 1); it is run here.
            max_tokens: at most so many.

        Raises:
            ValueError: the prefill has no logits for the whole vocabulary.
        """
        if self._column is not None:
            raise ValueError("text can't be generated from the logits of labels alone")
        with span(TEXT_PREFILL):
            token = _likeliest(self.prefill(rows))
        modality = rows.modality
        length = modality.shape[1]
        for count in range(max_tokens):
            if token in self._shape.eos_token_ids:
                return
            yield token
            if count + 1 == max_tokens or length + count >= self._shape.capacity:
                return
            with span("token_decode"):
                result, modality = self._step(np.array([token]), modality, length + count)
                token = _likeliest(result)

    def _step(self, tokens: np.ndarray, modality: np.ndarray, position: int) -> tuple[Arrays, np.ndarray]:
        """One token for each row of the cache, and the modality of past and present after it."""
        modality = np.concatenate([modality, np.full((len(tokens), 1), Modality.TEXT, np.int64)], axis=1)
        embeds = np.asarray(self._embedding[tokens], np.float32)[:, None]
        positions = np.full((len(tokens), 1), position, np.int64)
        return _finite(self._session.decode(embeds, positions, modality)), modality


def reserve_for(labels: Sequence[Label]) -> int:
    """How many tokens must fit behind the prompt to score ``labels``: the last of a label is never fed."""
    return max(len(label.token_ids) for label in labels) - 1


def _likeliest(outputs: Arrays) -> int:
    return int(np.argmax(outputs["logits"][0, -1]))


def _finite(outputs: Arrays) -> Arrays:
    if not np.isfinite(outputs["logits"]).all():
        raise Failed(
            "the model's logits are not finite numbers", "verify the bundle with mosear-export verify, or build it anew"
        )
    return outputs
