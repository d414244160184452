"""Bounds: their defaults by precision, what a recipe may change, and when a check passes."""

import math
from dataclasses import fields
from typing import Any

import pytest

from mosear.export.checks.record import Check
from mosear.export.checks.tolerances import Tolerances, coarsest, default_tolerances
from mosear.runtime.errors import UsageError

EVERYWHERE = {kind: dict.fromkeys(("vision", "audio", "decoder"), kind) for kind in ("fp32", "fp16", "int8", "int4")}


def test_exact_build_keeps_the_exact_bounds() -> None:
    bounds = default_tolerances(EVERYWHERE["fp32"])
    assert bounds.vision_difference == bounds.audio_difference == bounds.logits_difference == 1e-3
    assert bounds.label_agreement == 0.99
    assert bounds.heads_agreement == 0.995


def test_no_bound_grows_tighter_with_a_coarser_precision() -> None:
    ordered = [default_tolerances(EVERYWHERE[kind]) for kind in ("fp32", "fp16", "int8", "int4")]
    for field in fields(Tolerances):
        bounds = [getattr(each, field.name) for each in ordered]
        falling = field.name.endswith(("agreement", "cosine"))
        loose = [(-math.inf if falling else math.inf) if bound is None else bound for bound in bounds]
        assert loose == sorted(loose, reverse=falling), field.name
    assert all(each.label_kl is not None and each.label_agreement is not None for each in ordered), "all of them gate"


def test_tokens_are_bound_by_their_own_encoder() -> None:
    bounds = default_tolerances({"vision": "fp32", "audio": "int8", "decoder": "int4"})
    assert bounds.vision_difference == 1e-3
    assert bounds.audio_cosine == default_tolerances(EVERYWHERE["int8"]).audio_cosine
    assert bounds.label_kl == default_tolerances(EVERYWHERE["int4"]).label_kl
    assert coarsest({"vision": "fp16", "decoder": "mixed"}) == "int4"


def test_override_by_name() -> None:
    bounds = default_tolerances(EVERYWHERE["int8"]).override({"label_kl": 1, "accuracy_lost": None})
    assert (bounds.label_kl, bounds.accuracy_lost) == (1.0, None)
    assert bounds.label_agreement == default_tolerances(EVERYWHERE["int8"]).label_agreement


@pytest.mark.parametrize(
    "bounds",
    [
        {"label_agreemnt": 0.9},
        {"label_kl": -0.1},
        {"label_kl": math.nan},
        {"label_kl": math.inf},
        {"label_kl": "0.1"},
        {"label_kl": True},
        {"heads_agreement": 99.5},
        {"vision_cosine": 1.01},
    ],
)
def test_impossible_bounds_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(bounds))):
        Tolerances().override(bounds)


def test_a_check_passes_on_its_side_of_the_bound_only() -> None:
    assert Check("x", 0.1, "<=", 0.1).passed
    assert not Check("x", 0.11, "<=", 0.1).passed
    assert Check("x", 0.9, ">=", 0.9).passed
    assert not Check("x", 0.89, ">=", 0.9).passed
    assert Check("x", 9.0, "<=", None).passed
    assert Check("x", 0.15, "<=", 0.1, margin=0.06).passed
    assert not Check("x", 0.15, "<=", 0.1, margin=0.04).passed
    assert Check("x", 0.85, ">=", 0.9, margin=0.06).passed
    assert not Check("x", math.nan, "<=", 0.1).passed
    assert not Check("x", math.nan, ">=", 0.1).passed
    assert not Check("x", math.inf, "<=", 0.1).passed
