"""Second and third stage of the reference model's training: the backbone, with its bias, and then the experts.

The backbone learns from data whose audio is the reliable cue and is then frozen: so it has the bias that the paper
found in real models. The experts learn from data where either modality may be the true one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mosear.model.data import Windows
from mosear.model.experts import balance_loss
from mosear.model.mixed_precision import training_mode
from mosear.model.modeling import Mosear, Sequence
from mosear.model.optimization import Report, minimize
from mosear.model.text import EOS
from mosear.runtime.errors import BadInput


@dataclass(frozen=True)
class Stage:
    """How one stage of the decoder's training runs.

    Attributes:
        steps: optimizer steps.
        learning_rate: peak of the schedule.
        mixture: share of each subset in a batch.
        reason: share of batches that train the ``reason`` task.
        hide: share of batches that hide one modality; the label is then what the other one shows.
        batch: rows a step.
    """

    steps: int
    learning_rate: float
    mixture: dict[str, float]
    reason: float = 0.25
    hide: float = 0.2
    batch: int = 48


class _Examples:
    """Draws batches of prompts and answers from encoded windows."""

    def __init__(
        self, model: Mosear, windows: Windows, encoded: tuple[Tensor, Tensor], stage: Stage, seed: int
    ) -> None:
        self.model, self.windows, self.encoded, self.stage = model, windows, encoded, stage
        self.rng = np.random.default_rng(seed)
        end = model.tokenizer.token_to_id(EOS)
        if end is None:
            raise BadInput(f"the tokenizer has no {EOS} token", "train it with model/text.py, or add the token")
        self.eos: int = end
        subsets = windows.table["subset"]
        wanted = np.array([stage.mixture.get(str(name), 0.0) for name in subsets], dtype=np.float64)
        for name in stage.mixture:
            wanted[subsets == name] /= max(1, int((subsets == name).sum()))
        self.weights = wanted / wanted.sum()

    def _answer(self, text: str) -> list[int]:
        return [*self.model.tokenizer.encode(f" {text}", add_special_tokens=False).ids, self.eos]

    def draw(self) -> tuple[Sequence, Tensor]:
        """A batch and, for each position, the token that it must predict (-100 where nothing is asked)."""
        rng, stage, table = self.rng, self.stage, self.windows.table
        rows: NDArray[np.int64] = rng.choice(len(self.windows), stage.batch, p=self.weights)
        task, column = "emotion", "label"
        visual: Tensor | None = self.model.visual_projector(self.encoded[0][rows])
        audio: Tensor | None = self.model.audio_projector(self.encoded[1][rows])
        chance = rng.random()
        if chance < stage.reason:
            task, column = "reason", "reason"
        elif chance < stage.reason + stage.hide / 2:
            column, audio = "visual_label", None
        elif chance < stage.reason + stage.hide:
            column, visual = "audio_label", None
        answers = [self._answer(str(table[column][row])) for row in rows]
        longest = max(map(len, answers))
        transcripts = [str(table["transcript"][row]) if rng.random() < 0.7 else None for row in rows]
        # Answers are filled up on the right with the end token, so that the left padding stays the prompt's.
        filled = [answer + [self.eos] * (longest - len(answer)) for answer in answers]
        sequence = self.model.sequence(transcripts, task, visual, audio, filled)
        targets = torch.full_like(sequence.token_ids, -100)
        for index, answer in enumerate(answers):
            start = targets.shape[1] - longest
            targets[index, start - 1 : start - 1 + len(answer)] = torch.tensor(answer)
        return sequence, targets


def train_stage(
    name: str,
    model: Mosear,
    windows: Windows,
    encoded: tuple[Tensor, Tensor],
    stage: Stage,
    seed: int,
    report: Report,
    bfloat16: bool = False,
) -> None:
    """Train whatever parameters of ``model`` are not frozen on next-token loss of the answers.

    With experts present, λ times the gates' ``balance_loss`` is added (``config.mose.balance``).

    Args:
        name: what the progress calls it.
        model: changed in place. Reallocation is off while it trains.
        windows: the labelled windows.
        encoded: what ``encode_all`` returned for them.
        stage: the settings.
        seed: of everything random.
        report: progress.
        bfloat16: multiply in bfloat16, see ``mixed_precision``.
    """
    torch.manual_seed(seed)
    examples = _Examples(model, windows, encoded, stage, seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    reallocation, model.reallocation = model.reallocation, None
    with training_mode(model.decoder, bfloat16):
        minimize(
            name, parameters, lambda: _losses(model, *examples.draw()), stage.steps, stage.learning_rate, 0.01, report
        )
    model.reallocation = reallocation
    model.eval()


def _losses(model: Mosear, sequence: Sequence, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Next-token loss of the answers; and what is minimized."""
    first = int((targets >= 0).any(0).nonzero().min())
    gates: dict[str, Tensor] = {}
    model.token_modality.gates = gates
    logits = model(sequence, keep=targets.shape[1] - first)
    model.token_modality.gates = None
    loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets[:, first:].flatten(), ignore_index=-100)
    if not gates or model.config.mose is None:
        return loss, loss
    return loss, loss + model.config.mose.balance * balance_loss(gates, sequence.modality)
