"""The reference MoSEAR in PyTorch: the truth that every exported artefact is compared with."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, Cache, DynamicCache

from mosear.model.attention import Telemetry
from mosear.model.configuration import MosearConfig
from mosear.model.encoders import AudioEncoder, VisionEncoder
from mosear.model.experts import MoseLinear, TokenModality, inject
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import BadInput
from mosear.runtime.modality import Modality
from mosear.runtime.prompt import assemble


@dataclass
class Sequence:
    """A batch of prompts, ready for the decoder.

    Attributes:
        token_ids: int64 [B, S]; -1 at media positions.
        modality: int64 [B, S]; ``Modality.HIDDEN`` for padding and for media that is masked away.
        position_ids: int64 [B, S].
        visual: [B, Nv, D] projected visual tokens, used by the rows that show any.
        audio: [B, Na, D] projected audio tokens, likewise.
    """

    token_ids: Tensor
    modality: Tensor
    position_ids: Tensor
    visual: Tensor | None = None
    audio: Tensor | None = None


class Mosear(nn.Module):
    """Vision encoder, audio encoder, projectors and a causal decoder with modality-specific experts.

    Args:
        config: the architecture.
        tokenizer: the decoder's tokenizer.
        with_experts: False builds the bare backbone even when ``config.mose`` is set.

    Raises:
        BadInput: the configuration names an unknown architecture or sizes that don't fit each other.
    """

    def __init__(self, config: MosearConfig, tokenizer: Tokenizer, with_experts: bool = True) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        pre = config.preprocessing
        self.vision = VisionEncoder(config.vision, config.visual_grid, pre.frame_size)
        self.audio = AudioEncoder(config.audio, config.audio_tokens, pre.window_samples)
        values = {key: value for key, value in config.decoder.items() if key != "model_type"}
        try:
            decoder_config = AutoConfig.for_model(config.decoder["model_type"], **values)
        except (KeyError, ValueError) as error:
            raise BadInput(f"decoder.model_type: {error}", "use a causal language model of transformers") from error
        # from_config draws weights once; what a checkpoint holds is bound over them by name.
        self.decoder: Any = AutoModelForCausalLM.from_config(decoder_config, attn_implementation="mosear")
        width = decoder_config.hidden_size
        self.visual_projector = nn.Linear(self.vision.hidden_size, width)
        self.audio_projector = nn.Linear(self.audio.hidden_size, width)
        if pre.frames % config.frames_per_clip:
            raise BadInput(
                f"a window has {pre.frames} frames but the vision encoder reads {config.frames_per_clip} at a time",
                "make preprocessing.frames a multiple of it",
            )
        self.token_modality = TokenModality()
        self.experts: dict[str, MoseLinear] = {}
        self.reallocation: Reallocation | None = config.reallocation
        if config.mose is not None and with_experts:
            self.add_experts()

    def add_experts(self, dtype: torch.dtype | None = None) -> None:
        """Put fresh experts on the decoder and freeze it; with B = 0 the outputs don't change."""
        if self.config.mose is None:
            raise BadInput("the configuration has no mose section", "add one")
        self.experts = inject(self.decoder, self.config.mose, self.token_modality, dtype)

    @property
    def visual_tokens(self) -> int:
        """Visual tokens a window becomes."""
        return self.vision.tokens * self.config.preprocessing.frames // self.config.frames_per_clip

    def encode_visual(self, frames: Tensor) -> Tensor:
        """Projected visual tokens [B, Nv, D] of uint8 frames [B, F, H, W, 3]."""
        batch, count = frames.shape[:2]
        clip = self.config.frames_per_clip
        hidden = self.vision(frames.reshape(batch * count // clip, clip, *frames.shape[2:]))
        return self.visual_projector(hidden).reshape(batch, -1, self.visual_projector.out_features)

    def encode_audio(self, samples: Tensor) -> Tensor:
        """Projected audio tokens [B, Na, D] of float32 samples [B, window_samples]."""
        return self.audio_projector(self.audio(samples))

    def sequence(
        self,
        transcripts: list[str | None],
        task: str,
        visual: Tensor | None,
        audio: Tensor | None,
        answers: list[list[int]] | None = None,
    ) -> Sequence:
        """Prompts as a left-padded batch.

        Args:
            transcripts: what is said, or None where it is not known; one a row.
            task: a key of ``config.prompt.tasks``.
            visual: [B, Nv, D] projected tokens, or None to hide the visual keys.
            audio: [B, Na, D] projected tokens, or None to hide the audio keys.
            answers: token ids that follow each prompt, or None.
        """
        rows = []
        for index, transcript in enumerate(transcripts):
            ids, modality = assemble(
                self.config.prompt, self.tokenizer, self.visual_tokens, self.config.audio_tokens, transcript, task
            )
            if answers is not None:
                tail = np.asarray(answers[index], dtype=np.int64)
                ids = np.concatenate([ids, tail])
                modality = np.concatenate([modality, np.full(len(tail), int(Modality.TEXT), dtype=np.int64)])
            rows.append((ids, modality))
        token_ids, kinds, positions = (torch.from_numpy(array) for array in _left_pad(rows))
        for hidden, kind in ((visual is None, Modality.VISUAL), (audio is None, Modality.AUDIO)):
            if hidden:
                kinds = kinds.masked_fill(kinds == kind, int(Modality.HIDDEN))
        return Sequence(token_ids, kinds, positions, visual, audio)

    def embed(self, sequence: Sequence) -> Tensor:
        """Input embeddings [B, S, D]: words, projected media, zeros where hidden."""
        embeds = self.decoder.get_input_embeddings()(sequence.token_ids.clamp_min(0))
        embeds = embeds * (sequence.token_ids >= 0).unsqueeze(-1)
        for tokens, kind in ((sequence.visual, Modality.VISUAL), (sequence.audio, Modality.AUDIO)):
            rows = sequence.modality == kind
            if tokens is not None and rows.any():
                embeds = embeds.masked_scatter(rows.unsqueeze(-1), tokens[rows.any(1)].to(embeds.dtype))
        return embeds

    def forward(self, sequence: Sequence, telemetry: Telemetry | None = None, keep: int = 0) -> Tensor:
        """Next-token logits.

        Args:
            sequence: the batch.
            telemetry: records what reallocation saw and did, a layer at a time.
            keep: logits of only the last ``keep`` positions; 0 keeps all.

        Returns:
            [B, S or keep, V].
        """
        self.token_modality.value = sequence.modality
        return self.decoder(
            inputs_embeds=self.embed(sequence),
            attention_mask=(sequence.modality >= 0).long(),
            position_ids=sequence.position_ids,
            key_modality=sequence.modality,
            reallocation=self.reallocation,
            telemetry=telemetry,
            use_cache=False,
            logits_to_keep=keep,
        ).logits

    def label_token_ids(self) -> list[list[int]]:
        """Token ids of each label word as it follows the prompt."""
        return [self.tokenizer.encode(f" {label}", add_special_tokens=False).ids for label in self.config.labels]

    def step(self, embeds: Tensor, modality: Tensor, position_ids: Tensor, cache: Cache) -> Tensor:
        """One forward on a KV cache, as a device decodes: reallocation selects its heads on this forward's last row.

        Args:
            embeds: [B, S, D], the new tokens.
            modality: int64 [B, T], past and new tokens.
            position_ids: int64 [B, S].
            cache: holds the T - S past tokens; the new ones are added.

        Returns:
            [B, V], the logits behind the last token.
        """
        self.token_modality.value = modality[:, modality.shape[1] - embeds.shape[1] :]
        return self.decoder(
            inputs_embeds=embeds,
            attention_mask=(modality >= 0).long(),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            key_modality=modality,
            reallocation=self.reallocation,
            logits_to_keep=1,
        ).logits[:, -1]

    @torch.no_grad()
    def label_log_probabilities(
        self, transcripts: list[str | None], visual: Tensor | None, audio: Tensor | None
    ) -> Tensor:
        """Log-probability of every label as the answer, token by token behind the prompt.

        Returns:
            float32 [B, labels]: the sum of the log-probabilities of the label's tokens.
        """
        prompt = self.sequence(transcripts, "emotion", visual, audio)
        shared = DynamicCache()
        first = self.step(self.embed(prompt), prompt.modality, prompt.position_ids, shared).float().log_softmax(-1)
        columns = []
        for ids in self.label_token_ids():
            total = first[:, ids[0]]
            cache = copy.deepcopy(shared) if len(ids) > 1 else shared
            modality, positions = prompt.modality, prompt.position_ids[:, -1:]
            for token, following in itertools.pairwise(ids):
                given = torch.full((len(transcripts), 1), token)
                modality = torch.cat([modality, torch.full_like(given, int(Modality.TEXT))], dim=1)
                positions = positions + 1
                logits = self.step(self.decoder.get_input_embeddings()(given), modality, positions, cache)
                total = total + logits.float().log_softmax(-1)[:, following]
            columns.append(total)
        return torch.stack(columns, dim=-1)


def _left_pad(
    rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    length = max(len(ids) for ids, _ in rows)
    shape = (len(rows), length)
    ids = np.zeros(shape, dtype=np.int64)
    modality = np.full(shape, int(Modality.HIDDEN), dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    for index, (row, kinds) in enumerate(rows):
        start = length - len(row)
        ids[index, start:] = row
        modality[index, start:] = kinds
        positions[index, start:] = np.arange(len(row))
    return ids, modality, positions
