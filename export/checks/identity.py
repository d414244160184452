"""What a report is about, from the manifest: the model, its settings, and its size by component."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from mosear.export.checks.rows import Identity, SizeRow
from mosear.model.modeling import Mosear
from mosear.runtime.manifest import MANIFEST_NAME, Manifest

COMPONENTS = ("vision", "audio", "decoder")


def precisions_of(manifest: Manifest) -> dict[str, str]:
    """One precision for all components: what a manifest states."""
    return dict.fromkeys(COMPONENTS, manifest.precision)


def identity_of(manifest: Manifest, precisions: Mapping[str, str]) -> Identity:
    """The facts of a bundle that its report repeats."""
    settings, learnt = manifest.reallocation, manifest.calibration
    return Identity(
        name=manifest.name,
        checkpoint=manifest.checkpoint.sha256,
        target=manifest.target,
        backend=manifest.backend,
        precision=manifest.precision,
        precisions=dict(precisions),
        mose=str((manifest.mose or {}).get("mode", "none")),
        reallocation="off"
        if settings is None
        else f"rate {settings.rate:g}, threshold {settings.threshold:g}, {settings.rows} rows, "
        f"{len(settings.layers)} layers",
        labels=tuple(label.name for label in manifest.labels),
        created=manifest.created,
        tool_version=manifest.tool_version,
        calibration_clips=learnt.clips if learnt else 0,
        calibration_source=learnt.source if learnt else "",
        calibration_sha256=learnt.sha256 if learnt else "",
        intended_use=manifest.intended_use,
        notice=manifest.notice,
        licences=tuple(manifest.licences),
    )


def size_rows(
    manifest: Manifest, folder: Path, precisions: Mapping[str, str], model: Mosear | None
) -> tuple[SizeRow, ...]:
    """Sizes by component. A file belongs to the component that its name begins with; the rest stand under ``other``.

    Args:
        manifest: of the bundle.
        folder: where it is.
        precisions: by component.
        model: to say what the parameters take in float32; None leaves that out.
    """
    named = {manifest.embedding: "embedding", manifest.tokenizer: "tokenizer"}
    graphs = manifest.graphs
    named |= {graphs.vision: "vision", graphs.audio: "audio", graphs.prefill: "decoder", graphs.decode: "decoder"}
    whole = {} if model is None else _float32_bytes(model)
    files: dict[str, dict[str, int]] = {name: {} for name in (*COMPONENTS, "embedding", "tokenizer", "other")}
    for name in sorted(manifest.files):
        if name == MANIFEST_NAME:
            continue
        guess = next((part for part in COMPONENTS if Path(name).name.startswith(part)), "other")
        files[named.get(name, guess)][name] = (folder / name).stat().st_size
    return tuple(
        SizeRow(name, precisions.get(name, ""), entries, whole.get(name, 0))
        for name, entries in files.items()
        if entries
    )


def _float32_bytes(model: Mosear) -> dict[str, int]:
    def total(*modules: nn.Module) -> int:
        return 4 * sum(parameter.numel() for module in modules for parameter in module.parameters())

    embedding = 4 * model.decoder.get_input_embeddings().weight.numel()
    tied = model.decoder.get_output_embeddings().weight is model.decoder.get_input_embeddings().weight
    return {
        "vision": total(model.vision, model.visual_projector),
        "audio": total(model.audio, model.audio_projector),
        "decoder": total(model.decoder) - (0 if tied else embedding),
        "embedding": embedding,
    }
