"""The reference model's tokenizer: byte-level BPE learnt from the prompts, labels and reasons it will meet."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
SPECIAL = (PAD, BOS, EOS, "[INST]", "[/INST]", "<video>", "</video>", "<audio>", "</audio>", "[emotion]", "[reason]")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE tokenizer; any text can be encoded, whatever it was learnt from.

    Args:
        texts: what to learn from.
        vocabulary: tokens in all, special tokens and the 256 bytes included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
