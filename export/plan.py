"""What one build makes: resolved from a recipe and a target before anything is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosear.export.checks.tolerances import Tolerances, default_tolerances
from mosear.export.precision import formats_of, precision_name
from mosear.export.recipe import Recipe
from mosear.export.resources import Estimate, estimate
from mosear.export.targets import Target, find_target
from mosear.model.checkpoint import resolve
from mosear.model.configuration import MosearConfig
from mosear.model.publish import check_replaceable
from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import MANIFEST_NAME
from mosear.runtime.privacy.intended_use import stated_use

RTX = "tensorrt_rtx"


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a build makes.

    Attributes:
        checkpoint: folder of the checkpoint.
        output: the bundle's folder.
        recipe: what to do.
        target: the device class.
        threads: CPU threads while verifying.
        engines: compute capabilities to compile engines for here; empty leaves that to the device.
    """

    checkpoint: Path
    output: Path
    recipe: Recipe
    target: Target
    threads: int
    engines: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        """The precision's name in the manifest."""
        return precision_name(self.recipe, self.target)

    @property
    def precisions(self) -> dict[str, str]:
        """Format by component; two joined by ``+`` where prefill and decode differ."""
        table = formats_of(self.recipe, self.target)
        return {name: "+".join(dict.fromkeys(graphs.values())) for name, graphs in table.items()}

    @property
    def checked_precisions(self) -> dict[str, str]:
        """Format by component as the checks see it: labels are scored in prefill."""
        table = formats_of(self.recipe, self.target)
        return {name: table[name].get(name) or table[name]["prefill"] for name in ("vision", "audio", "decoder")}

    @property
    def tolerances(self) -> Tolerances:
        """The bounds of the checks."""
        return default_tolerances(self.checked_precisions).override(self.recipe.bounds)

    @property
    def intended_use(self) -> str:
        """The line that the manifest records."""
        return stated_use(self.recipe.intended_use, self.recipe.use_reason)

    @property
    def calibration(self) -> Path:
        """Folder of the calibration: the recipe's, or the checkpoint's own."""
        return self.recipe.calibration or self.checkpoint


def make_plan(checkpoint: str, output: Path, recipe: Recipe, threads: int, engines: bool = True) -> Plan:
    """Resolve a plan.

    Args:
        checkpoint: a folder, or ``reference``.
        output: the bundle's folder.
        recipe: what to do, flags put over it.
        threads: CPU threads while verifying.
        engines: compile the engines of a target that can be compiled for without its GPU.

    Raises:
        UsageError: the target, the precision, a tolerance or the intended use is not one that there is.
        BadInput: there is no such checkpoint.
    """
    target, _ = find_target(recipe.target, None)
    compiled = target.compute_capabilities if engines and target.backend == RTX else ()
    plan = Plan(resolve(checkpoint), output, recipe, target, threads, compiled)
    # Each of these raises what is wrong with the recipe, before anything is loaded.
    formats_of(recipe, target)
    default_tolerances(plan.checked_precisions).override(recipe.bounds)
    stated_use(recipe.intended_use, recipe.use_reason)
    if recipe.lm_head == "labels" and target.compute_capabilities:
        raise UsageError(
            f"lm_head: labels is not for {target.name}: a further graph is a further engine with all weights again",
            "leave it out; a GPU projects one row onto the vocabulary in no time",
        )
    return plan


def describe(plan: Plan) -> dict[str, Any]:
    """What ``build`` would do and need, from files alone: no weight is read, nothing written.

    Raises:
        BadInput: the checkpoint has no usable configuration or weights, or the output would overwrite something else.
    """
    config = MosearConfig.load(plan.checkpoint)
    check_replaceable(plan.output, MANIFEST_NAME)
    needs: Estimate = estimate(plan.checkpoint, config, plan.recipe, plan.target, bool(plan.engines))
    reallocation = plan.recipe.reallocation_of(config.reallocation)
    return {
        "checkpoint": str(plan.checkpoint),
        "model": f"{config.vision['model_type']} + {config.audio['model_type']} + {config.decoder['model_type']}",
        "output": str(plan.output),
        "target": plan.target.name,
        "backend": plan.target.backend,
        "precision": plan.precision,
        "formats": plan.precisions,
        "mose": plan.recipe.mose.mode if config.mose else "none",
        "reallocation": None if reallocation is None else dataclasses.asdict(reallocation),
        "lm_head": plan.recipe.lm_head,
        "kv_cache_tokens": plan.recipe.capacity,
        "calibration": str(plan.calibration),
        "checks": needs.checks,
        "verify_on": str(plan.recipe.checks.clips or f"{plan.recipe.checks.examples} synthetic windows"),
        "intended_use": plan.intended_use,
        "bundle_bytes": needs.bundle_bytes,
        "disk_bytes": needs.disk_bytes,
        "memory_bytes": needs.memory_bytes,
        "seconds": needs.seconds,
    }
