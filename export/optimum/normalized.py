"""MoSEAR's configuration under the attribute names that `optimum` knows."""

from __future__ import annotations

from types import SimpleNamespace

from optimum.utils.normalized_config import NormalizedTextConfigWithGQA

from mosear.export.graphs.signatures import GraphSignature, decoder_configuration, signatures
from mosear.model.configuration import MosearConfig


class NormalizedMosearConfig(NormalizedTextConfigWithGQA):
    """The decoder's sizes as ``hidden_size``, ``num_layers`` …, the media's beside them, and every graph's signature.

    Args:
        config: a checkpoint's configuration.
    """

    VOCAB_SIZE = "decoder.vocab_size"
    HIDDEN_SIZE = "decoder.hidden_size"
    NUM_LAYERS = "decoder.num_hidden_layers"
    NUM_ATTENTION_HEADS = "decoder.num_attention_heads"
    NUM_KEY_VALUE_HEADS = "decoder.num_key_value_heads"
    MAX_POSITION_EMBEDDINGS = "decoder.max_position_embeddings"
    EOS_TOKEN_ID = "decoder.eos_token_id"
    IMAGE_SIZE = "media.frame_size"
    NUM_FRAMES = "media.frames"
    SAMPLE_RATE = "media.sample_rate"
    AUDIO_SEQUENCE_LENGTH = "media.window_samples"

    def __init__(self, config: MosearConfig) -> None:
        super().__init__(SimpleNamespace(decoder=decoder_configuration(config), media=config.preprocessing))
        self.signatures: dict[str, GraphSignature] = signatures(config)
