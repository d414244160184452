"""``python -m mosear.model.training --config F --data DIR --decoder-data DIR -o OUT``: train a checkpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mosear.model.checkpoint import load_checkpoint, save_checkpoint
from mosear.model.configuration import CONFIG_FILE, MosearConfig
from mosear.model.data import Windows
from mosear.model.mixed_precision import has_fast_bfloat16
from mosear.model.modeling import Mosear
from mosear.model.optimization import Report
from mosear.model.pretraining import encode_all, pretrain_encoders
from mosear.model.publish import check_replaceable, published
from mosear.model.stages import Stage, train_stage
from mosear.model.text import train_tokenizer
from mosear.runtime.errors import BadInput, MosearError, report


@dataclass(frozen=True)
class Plan:
    """A training run, read from YAML.

    Attributes:
        model: the architecture.
        vocabulary: size of the tokenizer.
        encoder_epochs: passes over the clips for the vision and the audio encoder.
        encoder_learning_rate: of both.
        backbone: the stage that trains projectors and decoder; its mixture makes the bias.
        experts: the stage that trains MoSE on the frozen backbone.
    """

    model: MosearConfig
    vocabulary: int
    encoder_epochs: tuple[float, float]
    encoder_learning_rate: float
    backbone: Stage
    experts: Stage

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan.

        Raises:
            BadInput: the file is missing, is not YAML, or holds unknown or missing keys.
        """
        try:
            content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
            training = content["training"]
            return cls(
                model=MosearConfig.from_dict(content["model"]),
                vocabulary=int(training["vocabulary"]),
                encoder_epochs=(float(training["encoder_epochs"][0]), float(training["encoder_epochs"][1])),
                encoder_learning_rate=float(training["encoder_learning_rate"]),
                backbone=Stage(**training["backbone"]),
                experts=Stage(**training["experts"]),
            )
        except OSError as error:
            raise BadInput(
                f"{path} can't be read: {error}", "give a training plan like model/reference.yaml"
            ) from error
        except (yaml.YAMLError, KeyError, TypeError, ValueError, IndexError) as error:
            raise BadInput(
                f"{path} is not a training plan: {error!r}", "compare it with model/reference.yaml"
            ) from error


def train(
    plan: Plan,
    encoder_windows: Windows,
    decoder_windows: Windows,
    seed: int,
    encoders: Mosear | None,
    progress: Report,
    bfloat16: bool = False,
) -> Mosear:
    """Run every stage.

    Args:
        plan: the settings.
        encoder_windows: labelled windows for the encoders.
        decoder_windows: labelled windows for the decoder and its experts; other ones, so that the decoder sees what
            the encoders make of clips that they don't know.
        seed: of everything random.
        encoders: a trained model whose encoders and tokenizer are taken over instead of being trained again, or None.
        progress: called with stage, fraction and a short text.
        bfloat16: multiply in bfloat16, see ``mixed_precision``.

    Returns:
        The trained model, in evaluation mode.
    """
    torch.manual_seed(seed)
    if encoders is None:
        prompt, table = plan.model.prompt, encoder_windows.table
        texts = [*table["reason"], *table["transcript"], prompt.template, *prompt.tasks.values()]
        tokenizer = train_tokenizer([*map(str, texts), *(f" {label}" for label in plan.model.labels)], plan.vocabulary)
    else:
        tokenizer = encoders.tokenizer
    config = replace(plan.model, decoder=plan.model.decoder | {"vocab_size": tokenizer.get_vocab_size()})
    model = Mosear(config, tokenizer, with_experts=False)
    if encoders is None:
        pretrain_encoders(
            model, encoder_windows, plan.encoder_epochs, plan.encoder_learning_rate, seed, progress, bfloat16
        )
    else:
        model.vision.load_state_dict(encoders.vision.state_dict())
        model.audio.load_state_dict(encoders.audio.state_dict())
        model.vision.requires_grad_(False)
        model.audio.requires_grad_(False)
    encoded = encode_all(model, decoder_windows, progress)
    train_stage("backbone", model, decoder_windows, encoded, plan.backbone, seed, progress, bfloat16)
    if config.mose is not None:
        model.requires_grad_(False)
        torch.manual_seed(seed + 1)
        model.add_experts()
        train_stage("experts", model, decoder_windows, encoded, plan.experts, seed + 1, progress, bfloat16)
    return model.eval()


app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option("--config", help="the training plan, YAML")],
    data: Annotated[Path, typer.Option("--data", help="labelled windows for the encoders, as arrays")],
    decoder_data: Annotated[Path, typer.Option("--decoder-data", help="other labelled windows, for the decoder")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the checkpoint, replaced when complete")],
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    encoders: Annotated[str | None, typer.Option(help="take the encoders of this checkpoint, don't train them")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 2,
    bfloat16: Annotated[
        bool | None, typer.Option(help="multiply in bfloat16; default: where the CPU is fast at it")
    ] = None,
) -> None:
    """Train a MoSEAR checkpoint: encoders, backbone, experts."""
    try:
        torch.set_num_threads(threads)
        plan, windows, others = Plan.load(config), Windows.open(data), Windows.open(decoder_data)
        check_replaceable(output, CONFIG_FILE)
        taken = load_checkpoint(encoders) if encoders is not None else None
        columns = (
            TextColumn("{task.description:16}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}% {task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks: dict[str, Any] = {}

            def show(stage: str, fraction: float, note: str) -> None:
                task = tasks.get(stage)
                if task is None:
                    task = tasks[stage] = bars.add_task(stage, total=1.0, note="")
                bars.update(task, completed=fraction, note=note)

            fast = has_fast_bfloat16() if bfloat16 is None else bfloat16
            model = train(plan, windows, others, seed, taken, show, fast)
        with published(output, CONFIG_FILE) as building:
            save_checkpoint(model, building)
        print(output)
    except MosearError as error:
        report(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    app()
