"""A checkpoint under evaluation, in PyTorch: as it is, or in the four variants of an ablation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from mosear.calibration.record import RECORD, Calibration
from mosear.evaluation.asking import WRITE, WRITTEN_TOKENS, Asking, View
from mosear.evaluation.variants import AS_IS, BASE, BOTH, ONLY_AR, ONLY_MOSE
from mosear.model.attention import Telemetry
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.model.configuration import preprocessing_of
from mosear.model.modeling import Mosear
from mosear.model.prompt_rows import prompt_rows
from mosear.model.reallocation import Reallocation
from mosear.model.writing import write
from mosear.runtime import manifest
from mosear.runtime.answer import Prefill, answer, unknown
from mosear.runtime.errors import UsageError
from mosear.runtime.modality import Modality
from mosear.runtime.pipeline import EMOTION_TASK, REASON_TASK, REASON_TOKENS
from mosear.runtime.windows import Window

_OBSERVE = Reallocation(rate=0.0, threshold=1.0)
"""Moves nothing, and reports the attention of every layer."""


@dataclass(frozen=True)
class CheckpointTerms:
    """What a checkpoint's answers are made by; see ``mosear.runtime.answer.Terms``."""

    labels: list[manifest.Label]
    temperature: float
    reallocation: manifest.Reallocation | None


class CheckpointModel:
    """See ``Model``. Gates are dynamic; reallocation and temperature are the checkpoint's calibrated ones.

    Args:
        path: the checkpoint's folder, or ``reference``.
        asking: what is asked of it.
        variants: ``("",)`` for the checkpoint as it is, or those of an ablation.
        base_reallocation: rate and threshold of the variant ``ar``; the checkpoint's own when None.
        threads: CPU threads; PyTorch's choice when None.

    Raises:
        BadInput: the checkpoint does not open.
        UsageError: a variant needs experts or reallocation, and the checkpoint has none; or it is asked for reasons and
            has no task for them.
    """

    def __init__(
        self,
        path: str | Path,
        asking: Asking,
        variants: tuple[str, ...] = (AS_IS,),
        base_reallocation: tuple[float, float] | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        folder = resolve(path)
        self._model = load_checkpoint(folder)
        calibration = None
        if (folder / RECORD).is_file():
            calibration = Calibration.load(folder, checkpoint_hash(folder))
        config = self._model.config
        setting = config.reallocation if calibration is None else calibration.reallocation_for(config)
        _check_variants(variants, self._model, setting)
        if asking.reason and REASON_TASK not in config.prompt.tasks:
            raise UsageError(f"{config.name} can't give reasons", "leave --reason out")
        bare = load_checkpoint(folder, with_experts=False) if {BASE, ONLY_AR} & set(variants) else self._model
        if asking.labels is not None:
            config = dataclasses.replace(config, labels=asking.labels)
        for model in (self._model, bare):
            model.config = config
        own = setting
        if base_reallocation is not None and setting is not None:
            own = dataclasses.replace(setting, rate=base_reallocation[0], threshold=base_reallocation[1])
        self._settings: Mapping[str, tuple[Mosear, Reallocation | None]] = {
            AS_IS: (self._model, setting),
            BASE: (bare, None),
            ONLY_MOSE: (self._model, None),
            ONLY_AR: (bare, own),
            BOTH: (self._model, setting),
        }
        self._asking = asking
        self.variants = variants
        self.labels = config.labels
        self.preprocessing = preprocessing_of(config)
        self._temperature = 1.0 if calibration is None else calibration.temperature
        count = self._model.decoder.config.num_hidden_layers
        self.layers = {name: (self._settings[name][1] or _OBSERVE).active_layers(count) for name in variants}

    @torch.no_grad()
    def look(self, window: Window, clip: str) -> Iterator[tuple[str, View]]:
        """What each variant says of a window; the encoders run once. See ``Model``."""
        if window.frames is None and window.samples is None:
            yield from ((name, View(unknown(window, clip), None)) for name in self.variants)
            return
        began = perf_counter()
        visual, audio = self._encode(window)
        encoders = (perf_counter() - began) * 1000
        for name in self.variants:
            began = perf_counter()
            model, setting = self._settings[name]
            model.reallocation = setting or _OBSERVE
            prefill, gates = _prefill(model, window, visual, audio)
            words = text = None
            if self._asking.reason:
                words = write(model, window.transcript, visual, audio, REASON_TASK, REASON_TOKENS)
            if self._asking.answer == WRITE:
                text = write(model, window.transcript, visual, audio, EMOTION_TASK, WRITTEN_TOKENS)
            timings = {"total": encoders + (perf_counter() - began) * 1000}
            terms = self._terms(model, setting, self.layers[name])
            yield name, View(answer(terms, window, clip, prefill, words, timings), prefill, text, gates)

    def _encode(self, window: Window) -> tuple[Tensor | None, Tensor | None]:
        visual = None if window.frames is None else self._model.encode_visual(torch.from_numpy(window.frames)[None])
        audio = None if window.samples is None else self._model.encode_audio(torch.from_numpy(window.samples)[None])
        return visual, audio

    def _terms(self, model: Mosear, setting: Reallocation | None, layers: list[int]) -> CheckpointTerms:
        ids = zip(self.labels, model.label_token_ids(), strict=True)
        labels = [manifest.Label(name=name, token_ids=tokens) for name, tokens in ids]
        stated = None
        if setting is not None:
            stated = manifest.Reallocation(
                rate=setting.rate, threshold=setting.threshold, rows=setting.rows, layers=layers
            )
        return CheckpointTerms(labels, self._temperature, stated)


def _check_variants(variants: tuple[str, ...], model: Mosear, setting: Reallocation | None) -> None:
    if {ONLY_MOSE, BOTH} & set(variants) and not model.experts:
        raise UsageError("the checkpoint has no experts to take away", "leave --ablate out")
    if {ONLY_AR, BOTH} & set(variants) and setting is None:
        raise UsageError(
            "the checkpoint has no attention reallocation to take away",
            "calibrate it with mosear-export calibrate, or leave --ablate out",
        )


def _prefill(
    model: Mosear, window: Window, visual: Tensor | None, audio: Tensor | None
) -> tuple[Prefill, dict[str, np.ndarray]]:
    """The label scores of all rows, as ``Pipeline.forward`` gives them, and the experts' gates of the first row."""
    rows = ("all",) if visual is None or audio is None else ("all", "visual", "audio")
    sequence = prompt_rows(model, window.transcript, visual, audio, rows)
    telemetry = Telemetry()
    model.token_modality.gates = {}
    try:
        logits = model(sequence, telemetry, keep=1)[:, 0].float()
        gates = _mean_gates(model.token_modality.gates, sequence.modality)
    finally:
        model.token_modality.gates = None
    ids = model.label_token_ids()
    if all(len(each) == 1 for each in ids):
        scores = logits.double().log_softmax(-1)[:, [each[0] for each in ids]]
    else:
        shown = [(None if row == "audio" else visual, None if row == "visual" else audio) for row in rows]
        each_row = [model.label_log_probabilities([window.transcript], *media) for media in shown]
        scores = torch.cat(each_row).double()
    prefill = Prefill(
        rows=rows,
        logits=logits.numpy(),
        label_log_probs=scores.numpy(),
        audio_share=telemetry.audio_share.numpy(),
        selected=telemetry.selected.numpy(),
        modality_mass=telemetry.modality_mass.numpy(),
        visual_embeds=None,
        audio_embeds=None,
        last_is_text=bool(sequence.modality[0, -1] == Modality.TEXT),
    )
    return prefill, gates


def _mean_gates(gates: Mapping[str, Tensor], modality: Tensor) -> dict[str, np.ndarray]:
    """By module, [2, 3]: mean over the visual rows and over the text and audio rows of the first prompt."""
    visual, other = modality[0] == Modality.VISUAL, modality[0] >= 0
    other = other & ~visual
    found = {}
    for path, gate in gates.items():
        means = [gate[0][rows].mean(0) if rows.any() else gate.new_zeros(gate.shape[-1]) for rows in (visual, other)]
        found[path] = torch.stack(means).float().numpy()
    return found
