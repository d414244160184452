"""What a build does, as one typed YAML file: precision by component and layer, calibration, MoSE, AR, checks, use.

Every key has a default, so a recipe states only what it changes. A flag of the command wins over the environment, which
wins over the recipe (`override`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from mosear.export.checks.tolerances import Tolerances
from mosear.model.reallocation import Reallocation, Rows
from mosear.runtime.errors import UsageError
from mosear.runtime.privacy.intended_use import NOT_STATED

Format = Literal["fp32", "fp16", "int8", "int4", "fp8"]
PrecisionName = Literal["fp32", "fp16", "int8", "int4", "fp8", "mixed"]


def near(word: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)`` with what ``word`` may have been meant for, or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=3, cutoff=0.7)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_min_length=1)


def _text_or_table(value: Any) -> str:
    return "<text>" if isinstance(value, str) else "<table>"


class Phases(_Strict):
    """One format for the prefill graph, one for the decode graph. Two formats store the weight twice."""

    prefill: Format
    decode: Format


ByPhase = Annotated[Annotated[Format, Tag("<text>")] | Annotated[Phases, Tag("<table>")], Discriminator(_text_or_table)]


class Components(_Strict):
    """Formats by component; one that is left out gets what the target's default precision gives it."""

    vision: Format | None = None
    audio: Format | None = None
    decoder: ByPhase | None = None
    lm_head: ByPhase | None = None


class LayerRule(_Strict):
    """A format for the weights that a pattern matches, over what the component says.

    Attributes:
        match: shell pattern over weight names, as ``model.layers.0.*`` or ``*.down_proj``; encoders' names begin with
            ``vision.`` and ``audio.``.
        format: their format in every graph.
    """

    match: str
    format: Format


class Mose(_Strict):
    """How the experts are kept.

    Attributes:
        mode: ``merged`` (constant gates, free in decoding), ``dynamic`` (gates in the graph, exact) or ``auto``: merged
            when its divergence from dynamic keeps to the two bounds, else dynamic.
        max_kl: largest mean KL divergence of the label distributions from dynamic, nats; None for the checks' own.
        min_agreement: smallest share of windows with the same label as dynamic, likewise.
        rank: truncate the visual low-rank term to this rank by SVD; None keeps it whole.
    """

    mode: Literal["auto", "merged", "dynamic"] = "auto"
    max_kl: Annotated[float, Field(strict=True, ge=0)] | None = None
    min_agreement: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    rank: Annotated[int, Field(strict=True, ge=1)] | None = None

    @model_validator(mode="after")
    def _every_key_acts(self) -> Mose:
        idle = [name for name in ("max_kl", "min_agreement", "rank") if getattr(self, name) is not None]
        if self.mode == "dynamic" and idle:
            raise ValueError(f"{', '.join(idle)} would do nothing in mode dynamic")
        return self


class ReallocationSettings(_Strict):
    """Attention reallocation's settings; one that is left out stays as the checkpoint has it."""

    rate: Annotated[float, Field(strict=True, ge=0, lt=1)] | None = None
    threshold: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    rows: Rows | None = None
    layers: list[Annotated[int, Field(strict=True, ge=0)]] | Literal["all"] | None = None


class Checks(_Strict):
    """What a build is checked on.

    Attributes:
        clips: folder of clips with labels.csv, or None for the synthetic set.
        examples: how many windows of the synthetic set.
        tolerances: by name, as in `Tolerances`: a bound, or None to report the figure only.
        sensitivity: also measure what quantizing each layer alone costs.
    """

    clips: Path | None = None
    examples: Annotated[int, Field(strict=True, ge=18)] = 300
    tolerances: dict[str, Annotated[float, Field(strict=True)] | None] = Field(default_factory=dict)
    sensitivity: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _every_key_acts(self) -> Checks:
        if self.clips is not None and "examples" in self.model_fields_set:
            raise ValueError("examples counts synthetic windows, which clips replaces: give one of the two")
        return self

    @field_validator("tolerances")
    @classmethod
    def _known_names(cls, bounds: dict[str, float | None]) -> dict[str, float | None]:
        for name, owner in (("mose_label_kl", "mose.max_kl"), ("mose_label_agreement", "mose.min_agreement")):
            if name in bounds:
                raise ValueError(f"{name} is set by {owner}")
        names = [field.name for field in fields(Tolerances)]
        for name in bounds:
            if name not in names:
                raise ValueError(f"no check is called {name!r}{near(name, names)}")
        try:
            Tolerances().override(bounds)
        except UsageError as error:
            raise ValueError(f"{error.what}: {error.remedy}") from error
        return bounds


class Recipe(_Strict):
    """Everything that decides what a build makes of a checkpoint; docs/recipes.md describes each key.

    Attributes:
        target: name of a target, or path of a target's YAML file.
        precision: a name, a table by component, or None for the target's default.
        layers: exceptions by layer; a later one wins.
        calibration: a calibration file or folder, or None for the checkpoint's own.
        mose: how the experts are kept.
        reallocation: ``checkpoint`` (as it has it), ``off``, or what to change.
        lm_head: ``full``, or ``labels`` to keep only the label words' rows of the output projection.
        capacity: length of the KV cache, tokens.
        checks: what the build must pass.
        intended_use: what the bundle is for.
        use_reason: the medical or safety reason for a restricted use.
    """

    target: str = "cpu"
    precision: (
        Annotated[
            Annotated[PrecisionName, Tag("<text>")] | Annotated[Components, Tag("<table>")],
            Discriminator(_text_or_table),
        ]
        | None
    ) = None
    layers: list[LayerRule] = Field(default_factory=list)
    calibration: Path | None = None
    mose: Mose = Field(default_factory=Mose)
    reallocation: Annotated[
        Annotated[Literal["checkpoint", "off"], Tag("<text>")] | Annotated[ReallocationSettings, Tag("<table>")],
        Discriminator(_text_or_table),
    ] = "checkpoint"
    lm_head: Literal["full", "labels"] = "full"
    capacity: Annotated[int, Field(strict=True, ge=64)] = 512
    checks: Checks = Field(default_factory=Checks)
    intended_use: str = NOT_STATED
    use_reason: str | None = None

    @property
    def bounds(self) -> dict[str, float | None]:
        """What changes the default `Tolerances`, the bounds of the experts' divergence among them."""
        mose = {"mose_label_kl": self.mose.max_kl, "mose_label_agreement": self.mose.min_agreement}
        return {**self.checks.tolerances, **{name: bound for name, bound in mose.items() if bound is not None}}

    def reallocation_of(self, own: Reallocation | None) -> Reallocation | None:
        """What the bundle reallocates.

        Args:
            own: the checkpoint's (or its calibration's) settings.

        Raises:
            UsageError: the recipe changes a part of settings that the checkpoint does not have.
        """
        wanted = self.reallocation
        if isinstance(wanted, str):
            return own if wanted == "checkpoint" else None
        changes: dict[str, Any] = {
            name: value for name in ("rate", "threshold", "rows") if (value := getattr(wanted, name)) is not None
        }
        if wanted.layers is not None:
            changes["layers"] = None if wanted.layers == "all" else tuple(sorted(set(wanted.layers)))
        if own is not None:
            return replace(own, **changes)
        if not {"rate", "threshold"} <= changes.keys():
            raise UsageError(
                "the checkpoint has no attention reallocation that the recipe could change",
                "give both reallocation.rate and reallocation.threshold, or leave reallocation out",
            )
        return Reallocation(**changes)
