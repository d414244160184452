"""Comparing a finished bundle with the checkpoint that it says it was made from."""

from __future__ import annotations

from pathlib import Path

from mosear.calibration.record import Calibration
from mosear.export.build import Progress
from mosear.export.clips import folder_examples, synthetic_examples
from mosear.export.verify import Report, verify
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput


def reverify(
    bundle: Bundle, checkpoint: str, clips: Path | None, examples: int, threads: int, progress: Progress
) -> Report:
    """Run a build's checks again.

    Args:
        bundle: the opened bundle.
        checkpoint: a folder, or ``reference``.
        clips: folder of clips with labels.csv, or None for the synthetic set.
        examples: how many synthetic windows.
        threads: CPU threads of the runtime.
        progress: called with a stage's name and the fraction done.

    Raises:
        BadInput: the bundle was made from another checkpoint.
    """
    folder = resolve(checkpoint)
    sha256 = checkpoint_hash(folder)
    if sha256 != bundle.manifest.checkpoint.sha256:
        raise BadInput(
            f"the bundle was made from checkpoint {bundle.manifest.checkpoint.sha256[:12]}, not {sha256[:12]}",
            "give the checkpoint that it was made from",
        )
    progress("load", 0.0)
    model = load_checkpoint(folder)
    windows = synthetic_examples(model.config, examples) if clips is None else folder_examples(model.config, clips)
    progress("load", 1.0)
    merged = (bundle.manifest.mose or {}).get("mode") == "merged"
    gates = Calibration.load(folder, sha256).gates if merged else None
    return verify(bundle.path, model, gates, windows, threads, lambda done: progress("verify", done))
