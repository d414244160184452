"""Checkpoint → verified bundle, top to bottom as the stages it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mosear.calibration.record import Calibration
from mosear.export.backends import BACKENDS
from mosear.export.checks.divergence import divergence_checks, mose_divergence
from mosear.export.checks.prompts import prompt_feeds
from mosear.export.checks.record import LayerRow, SensitivityRow
from mosear.export.checks.sensitivity import Part as Measured
from mosear.export.checks.sensitivity import by_cost, encoder_sensitivity, sensitivity
from mosear.export.clips import Example, folder_examples, synthetic_examples
from mosear.export.engine import compile_engines
from mosear.export.experts import Experts
from mosear.export.layer_check import check_layers
from mosear.export.lowering.weights import AUDIO, DECODE, LABELS, PREFILL, VISION, WEIGHTS, save_sharing_weights
from mosear.export.manifest import EMBEDDING, make_manifest
from mosear.export.node_names import name_nodes
from mosear.export.parts import Part, Parts, make_parts
from mosear.export.plan import Plan
from mosear.export.report.page import page
from mosear.export.report.write import write_report
from mosear.export.resources import END_TO_END, check_room, estimate
from mosear.export.verify import Report, verify, verify_layers
from mosear.model.checkpoint import TOKENIZER, checkpoint_hash, load_checkpoint, map_checkpoint
from mosear.model.configuration import MosearConfig
from mosear.model.modeling import Mosear
from mosear.model.publish import check_replaceable, published
from mosear.runtime.bundle import file_entry
from mosear.runtime.errors import BadInput, CheckFailed
from mosear.runtime.manifest import MANIFEST_NAME, Manifest, write_manifest

REPORT = "report.html"
SENSITIVITY_WINDOWS = 32
_CONSTANT_GATES = 1e-8
Progress = Callable[[str, float], None]


class VerificationFailed(CheckFailed):
    """A bundle that differs too much from its model; ``report`` holds every figure."""

    def __init__(self, what: str, remedy: str, report: Report) -> None:
        super().__init__(what, remedy)
        self.report = report


@dataclass(frozen=True)
class Source:
    """A checkpoint, opened.

    Attributes:
        mapped: the model with its weights on disk.
        whole: the model in float32, or None when it is too large for that.
        calibration: what was learnt about it from clips.
        sha256: its hash.
        examples: windows to check on.
        capacity: length of the KV cache, tokens: what the recipe asks for, or as many as the decoder has positions.
    """

    mapped: Mosear
    whole: Mosear | None
    calibration: Calibration
    sha256: str
    examples: list[Example]
    capacity: int


def build(plan: Plan, progress: Progress) -> Report:
    """Run a build.

    Args:
        plan: what to make.
        progress: called with a stage's name and the fraction of it that is done.

    Returns:
        The report of its checks, all passed.

    Raises:
        BadInput: the checkpoint or the clips can't be used, or the output would overwrite something else.
        UsageError: the recipe asks for what the checkpoint or the target does not have.
        VerificationFailed: the bundle differs too much from the model. The report is left beside ``plan.output``.
        Failed: there is too little memory or disk.
    """
    check_replaceable(plan.output, MANIFEST_NAME)
    source = open_source(plan, progress)
    experts = choose_experts(plan, source, progress)
    gates = source.calibration.gates if experts.mode == "merged" else None
    with published(plan.output, MANIFEST_NAME) as folder:
        parts = make_parts(
            source.mapped, gates, source.calibration.ranges, plan.recipe, plan.target, source.capacity, progress
        )
        save(parts, source.mapped, folder, progress)
        manifest = make_manifest(
            plan, source.mapped, source.calibration, source.sha256, parts, experts, source.capacity, folder
        )
        write_manifest(folder, manifest)
        report = _check(plan, source, experts, parts, folder, progress)
        if not report.passed:
            write_report(*report_files(plan.output), report)
            raise _failed(plan, experts, report)
        if plan.engines:
            manifest = _with_engines(plan, manifest, folder, progress)
        (folder / REPORT).write_text(page(report), encoding="utf-8")
        files = manifest.files | {REPORT: file_entry(folder / REPORT)}
        write_manifest(folder, manifest.model_copy(update={"files": files, "verification": _recorded(plan, report)}))
    for path in report_files(plan.output):
        path.unlink(missing_ok=True)
    return report


def open_source(plan: Plan, progress: Progress) -> Source:
    """Open the checkpoint, after a look at whether there is room for the build."""
    config = MosearConfig.load(plan.checkpoint)
    needs = estimate(plan.checkpoint, config, plan.recipe, plan.target, bool(plan.engines))
    check_room(needs, plan.output.absolute().parent)
    progress("load", 0.0)
    mapped = map_checkpoint(plan.checkpoint)
    progress("load", 0.3)
    sha256 = checkpoint_hash(plan.checkpoint)
    calibration = Calibration.load(plan.calibration, sha256)
    reallocation = plan.recipe.reallocation_of(calibration.reallocation_for(config))
    progress("load", 0.6)
    whole = load_checkpoint(plan.checkpoint) if needs.checks == END_TO_END else None
    mapped.reallocation = reallocation
    if whole is not None:
        whole.reallocation = reallocation
    checks = plan.recipe.checks
    examples = (
        synthetic_examples(config, checks.examples if whole is not None else 1)
        if checks.clips is None
        else folder_examples(config, checks.clips)
    )
    if not examples:
        raise BadInput("there are no clips to verify on", "give --clips a folder whose labels.csv lists some")
    progress("load", 1.0)
    capacity = min(plan.recipe.capacity, mapped.decoder.config.max_position_embeddings)
    return Source(mapped, whole, calibration, sha256, examples, capacity)


def choose_experts(plan: Plan, source: Source, progress: Progress) -> Experts:
    """Merged or dynamic: what the recipe says, or what the divergence of the two allows."""
    wanted = plan.recipe.mose.mode
    if not source.mapped.experts:
        return Experts("none", "the checkpoint has no experts")
    gates = source.calibration.gates
    divergence = None
    if source.whole is not None and wanted != "dynamic":
        progress("experts", 0.0)
        divergence = mose_divergence(
            source.whole,
            gates,
            source.examples,
            temperature=source.calibration.temperature,
            progress=lambda done: progress("experts", done),
        )
    if wanted != "auto":
        return Experts(wanted, "as asked", divergence)
    if divergence is None:
        worst = max(float(variance.max()) for variance in gates.variance.values())
        if worst <= _CONSTANT_GATES:
            return Experts("merged", "the calibrated gates do not vary, so merging is exact")
        return Experts(
            "dynamic", f"the model is too large to compare here, and its gates vary (variance up to {worst:.2g})"
        )
    checks = divergence_checks(divergence, plan.tolerances)
    figures = f"label agreement {divergence.label_agreement:.4f}, KL {divergence.label_kl:.2g}"
    if all(check.passed for check in checks):
        return Experts("merged", f"merged keeps to its tolerances ({figures})", divergence)
    return Experts("dynamic", f"merged would not keep to its tolerances ({figures})", divergence)


def save(parts: Parts, model: Mosear, folder: Path, progress: Progress) -> None:
    """Write graphs, their nodes named by layers, weights, embedding and tokenizer; each weight is made and dropped."""
    for name, part in ((VISION, parts.vision), (AUDIO, parts.audio)):
        save_sharing_weights({name: name_nodes(part.graph)}, part.stored, folder, f"{Path(name).stem}.weights")
    graphs = {PREFILL: name_nodes(parts.prefill.graph)}
    if parts.decode is not parts.prefill:
        graphs[DECODE] = name_nodes(parts.decode.graph)
    if parts.labels is not None:
        graphs[LABELS] = name_nodes(parts.labels.graph)
    save_sharing_weights(graphs, parts.decoder_weights, folder, WEIGHTS, lambda done: progress("weights", done))
    table = model.decoder.get_input_embeddings().weight.detach()
    stored = np.lib.format.open_memmap(
        folder / EMBEDDING, mode="w+", dtype=np.float16 if parts.half else np.float32, shape=tuple(table.shape)
    )
    rows = max(1, (32 << 20) // (4 * table.shape[1]))
    for start in range(0, len(table), rows):
        stored[start : start + rows] = table[start : start + rows].float().numpy()
    stored.flush()
    model.tokenizer.save(str(folder / TOKENIZER))


def report_files(output: Path) -> tuple[Path, Path]:
    """Where a build that failed its checks leaves its report: the page and its JSON, beside its output."""
    return output.with_name(f"{output.name}.report.html"), output.with_name(f"{output.name}.report.json")


def _check(plan: Plan, source: Source, experts: Experts, parts: Parts, folder: Path, progress: Progress) -> Report:
    gates = source.calibration.gates if experts.mode == "merged" else None
    model = source.whole or source.mapped
    rows: list[LayerRow] = check_layers(
        model, gates, folder / PREFILL, source.examples[0], source.capacity, lambda done: progress("layers", done)
    )
    progress("layers", 1.0)
    statistics = source.calibration.gates if experts.mode != "none" else None
    if source.whole is None:
        return verify_layers(
            folder, rows, tolerances=plan.tolerances, precisions=plan.checked_precisions, statistics=statistics
        )
    return verify(
        folder,
        source.whole,
        gates,
        source.examples,
        plan.threads,
        lambda done: progress("verify", done),
        tolerances=plan.tolerances,
        precisions=plan.checked_precisions,
        statistics=statistics,
        divergence=experts.divergence,
        sensitivity=_sensitivity(plan, source.whole, source, parts, progress) if plan.recipe.checks.sensitivity else (),
        layers=rows,
    )


def _sensitivity(
    plan: Plan, whole: Mosear, source: Source, parts: Parts, progress: Progress
) -> Sequence[SensitivityRow]:
    examples, ranges = source.examples[:SENSITIVITY_WINDOWS], source.calibration.ranges
    quantize = BACKENDS[plan.target.backend].quantize
    progress("sensitivity", 0.0)
    feeds = [prompt_feeds(whole, [example]) for example in examples]
    labels = [ids[0] for ids in whole.label_token_ids()]

    def measured(part: Part) -> Measured:
        return Measured(part.lowered, part.weights, part.formats)

    rows = sensitivity(
        parts.prefill.lowered,
        parts.prefill.weights,
        parts.prefill.formats,
        quantize,
        feeds,
        labels,
        ranges=ranges,
        threads=plan.threads,
        progress=lambda done: progress("sensitivity", 0.8 * done),
    )
    for name, part in (("vision", parts.vision), ("audio", parts.audio)):
        rows += encoder_sensitivity(
            name,
            measured(part),
            measured(parts.prefill),
            quantize,
            whole,
            examples,
            ranges=ranges,
            threads=plan.threads,
        )
    progress("sensitivity", 1.0)
    return by_cost(rows)


def _with_engines(plan: Plan, manifest: Manifest, folder: Path, progress: Progress) -> Manifest:
    engines = compile_engines(folder, manifest, plan.engines, progress)
    files = {engine.file: file_entry(folder / engine.file) for engine in engines}
    return manifest.model_copy(update={"engines": engines, "files": manifest.files | files})


def _recorded(plan: Plan, report: Report) -> dict[str, Any]:
    """The report as the manifest holds it, with the bounds that it was measured against."""
    return report.as_dict() | {"tolerances": asdict(plan.tolerances)}


def _failed(plan: Plan, experts: Experts, report: Report) -> VerificationFailed:
    failed = [check for check in report.checks if not check.passed]
    worst = "; ".join(f"{c.name}: {c.measured:.4g}, must be {c.relation} {c.bound:.4g}" for c in failed)
    of_experts = experts.mode == "merged" and any(check.component == "experts" for check in failed)
    remedy = (
        "try --mose dynamic" if of_experts else "use a higher --precision, or keep the worst layers in a higher one"
    )
    shown, _ = report_files(plan.output)
    return VerificationFailed(f"the bundle differs from the model: {worst}", f"{remedy}; see {shown}", report)
