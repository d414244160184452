"""What a profile is asked to do, checked before anything is loaded or timed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mosear.runtime.bundle import Bundle, sha256_file
from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import MANIFEST_NAME
from mosear.runtime.pipeline import REASON_TASK, provider_of
from mosear.runtime.profiling.scenario import Scenario
from mosear.runtime.windows import lengths

RUNS, WARM_UP, TOKENS, COLD_STARTS, IDLE_S = 30, 3, 32, 1, 2.0


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and how.

    Attributes:
        bundle: what is measured.
        clip: on what; the built-in clip when None.
        runs: windows that count, at least 1.
        warmup: windows before those.
        window_s: seconds of a window; the model's own when None, until ``resolved``.
        tokens: tokens of text at most behind each answer; when None, until ``resolved``, ``TOKENS`` where the model
            gives reasons and windows follow each other at once, else 0.
        threads: as ``Pipeline``.
        provider: as ``Pipeline``; the bundle's own when None, until ``resolved``.
        scenario: how windows come.
        hop_s: seconds from the arrival of a window to that of the next; of a fixed rate alone, where it is the window
            when None, until ``resolved``.
        cold: fresh processes that are started.
        operators: whether time by operator is measured, in a pass of its own.
        idle_s: seconds for which the power of the waiting machine is measured, where it has rails.
        debug: as ``Pipeline``.
    """

    bundle: Bundle
    clip: Path | None = None
    runs: int = RUNS
    warmup: int = WARM_UP
    window_s: float | None = None
    tokens: int | None = None
    threads: int | None = None
    provider: str | None = None
    scenario: Scenario = Scenario.single_stream
    hop_s: float | None = None
    cold: int = COLD_STARTS
    operators: bool = True
    idle_s: float = IDLE_S
    debug: bool = False

    def resolved(self) -> Plan:
        """The plan with what was left open decided.

        Raises:
            UsageError: a number is out of range, or something is asked that this model or scenario does not have.
        """
        if self.runs < 1:
            raise UsageError(f"{self.runs} runs measure nothing", f"choose --runs 1 or more; {RUNS} by default")
        for name in ("warmup", "cold", "tokens", "idle_s"):
            if (getattr(self, name) or 0) < 0:
                flag = name.removesuffix("_s")
                raise UsageError(f"--{flag} {getattr(self, name):g} is below 0", f"choose --{flag} 0 to leave it out")
        manifest = self.bundle.manifest
        window, _ = lengths(manifest.preprocessing, self.window_s)
        fixed = self.scenario is Scenario.fixed_rate
        if self.hop_s is not None and not fixed:
            raise UsageError("--hop is for windows at a fixed rate", "add --scenario fixed-rate, or leave --hop out")
        hop = lengths(manifest.preprocessing, window, self.hop_s)[1] if fixed else None
        can_reason = REASON_TASK in manifest.prompt.tasks
        if self.tokens and not can_reason:
            raise UsageError(f"{manifest.name} can't give reasons, so it generates no text", "leave --tokens out")
        tokens = self.tokens if self.tokens is not None else TOKENS if can_reason and not fixed else 0
        provider = self.provider or provider_of(manifest)
        return replace(self, window_s=window, hop_s=hop, tokens=tokens, provider=provider)

    @property
    def settings(self) -> dict[str, Any]:
        """What a profile records of it."""
        names = ("runs", "warmup", "threads", "provider", "tokens", "window_s")
        return {name: getattr(self, name) for name in names}

    @property
    def facts(self) -> dict[str, Any]:
        """What a profile records of the bundle; ``sha256`` is the manifest's, which holds those of all files."""
        return bundle_facts(self.bundle)


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """Name, path, sha256 of the manifest, target, precision and backend."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "path": str(bundle.path),
        "sha256": sha256_file(bundle.file(MANIFEST_NAME)),
        "target": manifest.target,
        "precision": manifest.precision,
        "backend": manifest.backend,
    }
