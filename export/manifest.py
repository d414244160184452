"""The manifest of a bundle that was just written."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mosear.calibration.record import Calibration
from mosear.export.experts import Experts
from mosear.export.lowering.weights import AUDIO, DECODE, LABELS, PREFILL, VISION
from mosear.export.parts import Parts
from mosear.export.plan import Plan
from mosear.model.checkpoint import TOKENIZER
from mosear.model.configuration import preprocessing_of
from mosear.model.modeling import Mosear
from mosear.model.text import EOS
from mosear.runtime import manifest as contract
from mosear.runtime.bundle import file_entry
from mosear.runtime.manifest import Manifest

EMBEDDING = "embedding.npy"


def make_manifest(
    plan: Plan,
    model: Mosear,
    calibration: Calibration,
    sha256: str,
    parts: Parts,
    experts: Experts,
    capacity: int,
    folder: Path,
) -> Manifest:
    """The manifest of the files in ``folder``.

    Args:
        plan: what was asked for.
        model: the checkpoint.
        calibration: what the build used of it.
        sha256: the checkpoint's hash.
        parts: the graphs.
        experts: how the experts are held.
        capacity: length of the KV cache, tokens.
        folder: of the bundle; everything in it is listed.
    """
    config, target = model.config, plan.target
    return Manifest(
        name=config.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=version("mosear"),
        checkpoint=contract.Checkpoint(name=config.name, sha256=sha256),
        target=target.name,
        backend=target.backend,
        provider=target.provider,
        precision=plan.precision,
        compute_capability=" ".join(target.compute_capabilities) or None,
        tensorrt_version=target.tensorrt,
        files={path.name: file_entry(path) for path in sorted(folder.iterdir())},
        graphs=contract.Graphs(
            vision=VISION,
            audio=AUDIO,
            prefill=PREFILL,
            decode=DECODE if parts.decode is not parts.prefill else PREFILL,
            labels=LABELS if parts.labels else None,
        ),
        embedding=EMBEDDING,
        tokenizer=TOKENIZER,
        preprocessing=preprocessing_of(config),
        decoder=_decoder(model, capacity),
        tokens=contract.Tokens(visual=model.visual_tokens, audio=config.audio_tokens),
        prompt=config.prompt,
        labels=[
            contract.Label(name=name, token_ids=ids)
            for name, ids in zip(config.labels, model.label_token_ids(), strict=True)
        ],
        label_tokens=parts.label_tokens,
        mose=_mose(model, calibration, parts, experts),
        reallocation=_reallocation(model),
        temperature=calibration.temperature,
        calibration=contract.Calibration(
            sha256=calibration.clips_sha256, clips=calibration.clips, source=calibration.source
        ),
        licences=list(config.licences),
        intended_use=plan.intended_use,
        notice=config.notice,
    )


def _decoder(model: Mosear, capacity: int) -> contract.Decoder:
    config, end = model.decoder.config, model.tokenizer.token_to_id(EOS)
    return contract.Decoder(
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        vocab_size=config.vocab_size,
        capacity=capacity,
        eos_token_ids=[] if end is None else [end],
    )


def _reallocation(model: Mosear) -> contract.Reallocation | None:
    settings = model.reallocation
    if settings is None:
        return None
    layers = settings.active_layers(model.decoder.config.num_hidden_layers)
    return contract.Reallocation(rate=settings.rate, threshold=settings.threshold, rows=settings.rows, layers=layers)


def _mose(model: Mosear, calibration: Calibration, parts: Parts, experts: Experts) -> dict[str, Any] | None:
    if model.config.mose is None or experts.mode == "none":
        return None
    gates = calibration.gates
    return {
        "mode": experts.mode,
        "why": experts.why,
        "r": model.config.mose.r,
        "alpha": model.config.mose.alpha,
        "share_a": model.config.mose.share_a,
        "target_modules": list(model.config.mose.target_modules),
        "truncation_error": parts.truncation,
        "gate_mean": {path: tensor.tolist() for path, tensor in gates.mean.items()},
        "gate_variance": {path: tensor.tolist() for path, tensor in gates.variance.items()},
    }
