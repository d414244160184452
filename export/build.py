"""Checkpoint → verified bundle, top to bottom as the stages it runs."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mosear.calibration.record import Calibration
from mosear.export.clips import Example, folder_examples, preprocessing_of, synthetic_examples
from mosear.export.graphs.decoder import export_decoder
from mosear.export.graphs.encoders import export_audio, export_vision
from mosear.export.lowering.onnxruntime import lower
from mosear.export.lowering.weights import save_decoder
from mosear.export.merge import merge
from mosear.export.quantize import quantize_int8
from mosear.export.targets import Target
from mosear.export.verify import Report, verify
from mosear.model.checkpoint import TOKENIZER, checkpoint_hash, load_checkpoint
from mosear.model.configuration import MosearConfig
from mosear.model.modeling import Mosear
from mosear.model.publish import check_replaceable, published
from mosear.model.text import EOS
from mosear.runtime import manifest as contract
from mosear.runtime.bundle import file_entry
from mosear.runtime.errors import BadInput, CheckFailed
from mosear.runtime.manifest import MANIFEST_NAME, Manifest, write_manifest

EMBEDDING = "embedding.npy"
Progress = Callable[[str, float], None]


class VerificationFailed(CheckFailed):
    """A bundle that differs too much from its model; ``report`` holds every figure."""

    def __init__(self, what: str, remedy: str, report: Report) -> None:
        super().__init__(what, remedy)
        self.report = report


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a build makes.

    Attributes:
        checkpoint: folder of the checkpoint.
        output: the bundle's folder.
        target: the device class.
        precision: one of the target's.
        mose: ``merged`` (constant gates, no experts in the decode graph) or ``dynamic`` (gates in the graph, exact).
        capacity: length of the static KV cache, tokens.
        clips: folder of clips to verify on, or None for the synthetic set.
        examples: how many synthetic windows to verify on.
        intended_use: what the bundle is for; goes into the manifest.
        threads: CPU threads while verifying.
    """

    checkpoint: Path
    output: Path
    target: Target
    precision: str
    mose: str
    capacity: int
    clips: Path | None
    examples: int
    intended_use: str
    threads: int


def build(plan: Plan, progress: Progress) -> Report:
    """Run a build.

    Args:
        plan: what to make.
        progress: called with a stage's name and the fraction of it that is done.

    Returns:
        The report of its checks, all passed.

    Raises:
        BadInput: the checkpoint or the clips can't be used, or the output would overwrite something else.
        VerificationFailed: the bundle differs too much from the model; nothing is left but the report it carries.
        Failed: the disk is full.
    """
    progress("load", 0.0)
    model = load_checkpoint(plan.checkpoint)
    sha256 = checkpoint_hash(plan.checkpoint)
    calibration = Calibration.load(plan.checkpoint, sha256)
    examples = _examples(plan, model)
    progress("load", 1.0)
    with published(plan.output, MANIFEST_NAME) as folder:
        _write_graphs(plan, model, calibration, folder, progress)
        manifest = _manifest(plan, model, calibration, sha256, folder)
        write_manifest(folder, manifest)
        gates = calibration.gates if plan.mose == "merged" else None
        report = verify(folder, model, gates, examples, plan.threads, lambda done: progress("verify", done))
        if not report.passed:
            raise _failed(plan, report)
        write_manifest(folder, manifest.model_copy(update={"verification": report.as_dict()}))
    return report


def describe(plan: Plan) -> dict[str, Any]:
    """What ``build`` would do, from files alone: nothing is loaded, nothing written.

    Raises:
        BadInput: the checkpoint has no usable configuration or weights, or the output would overwrite something else.
    """
    config = MosearConfig.load(plan.checkpoint)
    check_replaceable(plan.output, MANIFEST_NAME)
    stored = sum(path.stat().st_size for path in plan.checkpoint.rglob("*.safetensors"))
    size = stored // (4 if plan.precision == "int8" else 1)
    return {
        "checkpoint": str(plan.checkpoint),
        "model": f"{config.vision['model_type']} + {config.audio['model_type']} + {config.decoder['model_type']}",
        "output": str(plan.output),
        "target": plan.target.name,
        "backend": plan.target.backend,
        "precision": plan.precision,
        "mose": plan.mose if config.mose else "none",
        "reallocation": None if config.reallocation is None else dataclasses.asdict(config.reallocation),
        "kv_cache_tokens": plan.capacity,
        "verify_on": str(plan.clips) if plan.clips else f"{plan.examples} synthetic windows",
        "intended_use": plan.intended_use,
        "weights_bytes_about": size,
        # Torch, transformers and the exporter take most of it: the reference build peaked at 720 MB with 11 MB stored.
        "memory_bytes_about": 4 * stored + 675_000_000,
    }


def _examples(plan: Plan, model: Mosear) -> list[Example]:
    examples = synthetic_examples(model.config, plan.examples) if plan.clips is None else folder_examples(
        model.config, plan.clips
    )  # fmt: skip
    if not examples:
        raise BadInput("there are no clips to verify on", "give --clips a folder whose labels.csv lists some")
    return examples


def _write_graphs(plan: Plan, model: Mosear, calibration: Calibration, folder: Path, progress: Progress) -> None:
    with _quiet_exporter():
        progress("vision graph", 0.0)
        vision = export_vision(model)
        progress("vision graph", 1.0)
        progress("audio graph", 0.0)
        audio = export_audio(model)
        progress("audio graph", 1.0)
        progress("decoder graphs", 0.0)
        merged = plan.mose == "merged" and bool(model.experts)
        decoder = merge(model, calibration.gates) if merged else model.decoder
        prefill = lower(export_decoder(decoder, reallocation=model.reallocation), "prefill")
        progress("decoder graphs", 0.5)
        decode = lower(export_decoder(decoder, reallocation=model.reallocation, low_rank=False), "decode")
        progress("decoder graphs", 1.0)
    graphs = {"vision": vision, "audio": audio, "prefill": prefill, "decode": decode}
    if plan.precision == "int8":
        for done, name in enumerate(graphs, 1):
            graphs[name] = quantize_int8(graphs[name])
            progress("quantize", done / len(graphs))
    onnx.save(graphs["vision"], folder / "vision.onnx")
    onnx.save(graphs["audio"], folder / "audio.onnx")
    save_decoder(graphs["prefill"], graphs["decode"], folder)
    np.save(folder / EMBEDDING, model.decoder.get_input_embeddings().weight.detach().float().numpy())
    model.tokenizer.save(str(folder / TOKENIZER))


def _manifest(plan: Plan, model: Mosear, calibration: Calibration, sha256: str, folder: Path) -> Manifest:
    config, decoder = model.config, model.decoder.config
    head_dim = getattr(decoder, "head_dim", None) or decoder.hidden_size // decoder.num_attention_heads
    reallocation = model.reallocation
    end = model.tokenizer.token_to_id(EOS)
    return Manifest(
        name=config.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=version("mosear"),
        checkpoint=contract.Checkpoint(name=config.name, sha256=sha256),
        target=plan.target.name,
        backend=plan.target.backend,
        precision=plan.precision,
        files={path.name: file_entry(path) for path in sorted(folder.iterdir())},
        graphs=contract.Graphs(
            vision="vision.onnx", audio="audio.onnx", prefill="decoder_prefill.onnx", decode="decoder_decode.onnx"
        ),
        embedding=EMBEDDING,
        tokenizer=TOKENIZER,
        preprocessing=preprocessing_of(config),
        decoder=contract.Decoder(
            layers=decoder.num_hidden_layers,
            hidden_size=decoder.hidden_size,
            heads=decoder.num_attention_heads,
            kv_heads=decoder.num_key_value_heads,
            head_dim=head_dim,
            vocab_size=decoder.vocab_size,
            capacity=min(plan.capacity, decoder.max_position_embeddings),
            eos_token_ids=[] if end is None else [end],
        ),
        tokens=contract.Tokens(visual=model.visual_tokens, audio=config.audio_tokens),
        prompt=config.prompt,
        labels=[
            contract.Label(name=name, token_ids=ids)
            for name, ids in zip(config.labels, model.label_token_ids(), strict=True)
        ],
        mose=_mose(plan, model, calibration),
        reallocation=None
        if reallocation is None
        else contract.Reallocation(
            rate=reallocation.rate,
            threshold=reallocation.threshold,
            rows=reallocation.rows,
            layers=reallocation.active_layers(decoder.num_hidden_layers),
        ),
        temperature=calibration.temperature,
        calibration=contract.Calibration(
            sha256=calibration.clips_sha256, clips=calibration.clips, source=calibration.source
        ),
        licences=list(config.licences),
        intended_use=plan.intended_use,
        notice=config.notice,
    )


def _mose(plan: Plan, model: Mosear, calibration: Calibration) -> dict[str, Any] | None:
    if model.config.mose is None:
        return None
    gates = calibration.gates
    return {
        "mode": plan.mose,
        "r": model.config.mose.r,
        "alpha": model.config.mose.alpha,
        "share_a": model.config.mose.share_a,
        "target_modules": list(model.config.mose.target_modules),
        "gate_mean": {path: tensor.tolist() for path, tensor in gates.mean.items()},
        "gate_variance": {path: tensor.tolist() for path, tensor in gates.variance.items()},
    }


def _failed(plan: Plan, report: Report) -> VerificationFailed:
    failed = [check for check in report.checks if not check.passed]
    worst = "; ".join(f"{c.name}: {c.measured:.4g}, must be {c.relation} {c.tolerance:g}" for c in failed)
    remedy = "try --mose dynamic" if plan.mose == "merged" else "use a higher --precision"
    return VerificationFailed(f"the bundle differs from the model: {worst}", remedy, report)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep torch's exporter from filling the terminal with notes that no user of a build can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
