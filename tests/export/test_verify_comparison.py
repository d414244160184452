"""A bundle against PyTorch: known errors are found, at their size and in their check, and nothing else is."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from verification_fakes import SUBSETS, TorchPipeline, random_examples

from mosear.calibration.gates import GateStatistics
from mosear.export.checks.comparison import Comparison, compare
from mosear.export.checks.divergence import divergence_checks, mose_divergence
from mosear.export.checks.gating import label_checks, layer_checks, numeric_checks
from mosear.export.checks.rows import LayerRow
from mosear.export.checks.tables import gate_rows, heads_rows, latency, reliability, right_by_subset, subset_row
from mosear.export.checks.tolerances import default_tolerances
from mosear.export.merge import fix_gates

EXACT = dict.fromkeys(("vision", "audio", "decoder"), "fp32")
COUNT, NUMERIC = 21, 6


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., Any]) -> Any:
    torch.set_num_threads(1)
    return tiny_model()


@pytest.fixture(scope="module")
def examples(model: Any) -> Any:
    return random_examples(model, COUNT)


@pytest.fixture(scope="module")
def gates(model: Any) -> GateStatistics:
    """Gates far from what the experts would choose, but the same for all tokens of a class."""
    mean = {path: torch.tensor([[0.95, 0.0, 0.05], [0.0, 0.1, 0.9]]) for path in model.experts}
    return GateStatistics(mean, {path: torch.full((2, 3), 0.04) for path in mean})


def checks_of(run: Comparison, model: Any, examples: Any) -> dict[str, Any]:
    bounds = default_tolerances(EXACT)
    right = right_by_subset(run, model.config.labels, examples)
    trust = reliability(run, model.config.labels, examples)
    rows = numeric_checks(run, EXACT, bounds) + label_checks(run, right, trust, "fp32", bounds)
    assert len({row.name for row in rows}) == len(rows), "names are unique"
    return {row.name: row for row in rows}


def compared(pipeline: TorchPipeline, model: Any, gates: Any, examples: Any) -> Comparison:
    return compare(pipeline, model, gates, examples, NUMERIC, lambda fraction: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("static", [False, True])
def test_an_exact_runtime_passes_everything(model: Any, examples: Any, gates: GateStatistics, static: bool) -> None:
    held = gates if static else None
    run = compared(TorchPipeline(copy.deepcopy(model), held), model, held, examples)
    checks = checks_of(run, model, examples)
    assert checks["logits, max difference (same gates)"].measured < 1e-4
    assert checks["vision tokens, cosine"].measured > 0.999999
    assert checks["label distributions, mean KL (same gates)"].measured < 1e-6
    assert checks["heads selected alike"].measured == 1.0
    if static:
        assert run.divergence is not None
    else:
        assert run.divergence is None
        assert all(check.passed for check in checks.values())
        assert checks["label agreement with the unmerged model"].measured == 1.0
    assert all(expert.fixed_gates is None for expert in model.experts.values()), "gates are put back"


def test_the_unmerged_model_is_the_measure_of_labels(model: Any, examples: Any, gates: GateStatistics) -> None:
    """A merged runtime is exact number by number, and still compared with dynamic gates label by label."""
    run = compared(TorchPipeline(copy.deepcopy(model), gates), model, gates, examples)
    fix_gates(model, None)
    with torch.no_grad():
        wanted = np.array(
            [
                model.label_log_probabilities(
                    [example.window.transcript],
                    model.encode_visual(torch.from_numpy(example.window.frames)[None]),
                    model.encode_audio(torch.from_numpy(example.window.samples)[None]),
                )[0].numpy()
                for example in examples
            ]
        )
    np.testing.assert_allclose(run.pytorch, wanted, atol=1e-4)
    assert np.abs(run.bundle - wanted).max() > 0.01, "these gates do change the model"
    agreement = (run.bundle.argmax(-1) == wanted.argmax(-1)).mean()
    assert checks_of(run, model, examples)["label agreement with the unmerged model"].measured == agreement
    assert run.divergence is not None
    assert run.divergence.label_agreement == agreement
    p, q = (softmax(scores / 1.5, axis=-1) for scores in (wanted, run.bundle))
    assert run.divergence.label_kl == pytest.approx(
        np.mean([entropy(*pair) for pair in zip(p, q, strict=True)]), rel=1e-2
    )


def test_each_error_shows_in_its_check(model: Any, examples: Any) -> None:
    pipeline = TorchPipeline(copy.deepcopy(model), vision_error=0.5, logits_error=0.25, flipped=1)
    checks = checks_of(compared(pipeline, model, None, examples), model, examples)
    assert checks["vision tokens, max difference"].measured == pytest.approx(0.5, abs=1e-4)
    assert checks["vision tokens, cosine"].measured < 1 - 1e-4
    assert checks["logits, max difference (same gates)"].measured == pytest.approx(0.25, abs=1e-4)
    heads = model.config.decoder["num_hidden_layers"] * model.config.decoder["num_attention_heads"]
    assert checks["heads selected alike"].measured == pytest.approx(1 - 1 / heads)
    failed = {name for name, check in checks.items() if not check.passed}
    assert failed == {
        "vision tokens, max difference",
        "vision tokens, cosine",
        "logits, max difference (same gates)",
        "heads selected alike",
    }


def test_moved_labels_are_counted_in_every_window(model: Any, examples: Any) -> None:
    """Windows behind the numeric ones count as well; accuracy is scikit-free arithmetic on the moved answers."""
    moved = frozenset({2, 7, 11, 14, 20})
    run = compared(TorchPipeline(copy.deepcopy(model), moved=moved), model, None, examples)
    before = run.pytorch.argmax(-1)
    after = np.array([0 if index in moved else label for index, label in enumerate(before)])
    changed = before != after
    assert changed.any()
    checks = checks_of(run, model, examples)
    assert checks["label agreement with the unmerged model"].measured == pytest.approx(1 - changed.mean())
    assert not checks["label agreement with the unmerged model"].passed
    true = np.array([model.config.labels.index(example.label) for example in examples])
    lost = {}
    for place, subset in enumerate(SUBSETS):
        rows = np.arange(COUNT) % 3 == place
        lost[subset] = float((before == true)[rows].mean() - (after == true)[rows].mean())
        check = checks[f"accuracy lost, {subset}"]
        assert check.measured == pytest.approx(lost[subset])
        assert check.count == rows.sum()
        assert (check.margin > 0) == bool(((before == true) != (after == true))[rows].any())
    gained = checks["modality gap gained"].measured
    assert gained == pytest.approx(lost["video_aligned"] - lost["audio_aligned"])
    assert checks["modality gap"].measured - checks["modality gap, PyTorch"].measured == pytest.approx(gained)
    rows = right_by_subset(run, model.config.labels, examples)
    for subset, sides in rows.items():
        row = subset_row(*sides)
        assert (row.lost - row.gained) / row.clips == pytest.approx(lost[subset])


def test_label_kl_is_over_the_temperature(model: Any, examples: Any) -> None:
    run = compared(TorchPipeline(copy.deepcopy(model), moved=frozenset({1}), temperature=2.0), model, None, examples)
    p, q = (softmax(scores[1] / 2.0) for scores in (run.pytorch, run.bundle))
    assert run.label_kl[1] == pytest.approx(entropy(p, q), rel=1e-3)
    np.testing.assert_allclose(run.bundle_scores, np.exp(log_softmax(run.bundle / 2.0, axis=-1)))


def test_windows_without_a_modality(model: Any, examples: Any) -> None:
    mixed = list(examples)
    for index, missing in ((1, "frames"), (4, "samples"), (9, "frames"), (15, "samples"), (16, "samples")):
        window = dataclasses.replace(mixed[index].window, **{missing: None})
        mixed[index] = dataclasses.replace(mixed[index], window=window)
    run = compared(TorchPipeline(copy.deepcopy(model)), model, None, mixed)
    np.testing.assert_allclose(run.bundle, run.pytorch, atol=1e-4)
    assert [rows.shape[0] for rows in run.heads] == [3, 1, 3, 3, 1, 3]
    assert all(check.passed for check in checks_of(run, model, mixed).values())


def test_labels_of_several_tokens(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model(labels=["neutral", "angrily surprised", "sad and worried", "happy"])
    assert {len(ids) for ids in model.label_token_ids()} > {1}
    windows = random_examples(model, 9)
    run = compared(TorchPipeline(copy.deepcopy(model)), model, None, windows)
    np.testing.assert_allclose(run.bundle, run.pytorch, atol=1e-4)
    assert max(run.label_kl) < 1e-6
    times = latency(run, threads=1)
    assert times is not None
    assert list(times.bundle) == list(times.pytorch) == ["vision", "audio", "prefill", "total"]
    assert times.bundle["total"] == 6.0, "what only one side timed is in neither total"


def test_clips_without_labels_gate_no_accuracy(model: Any, examples: Any) -> None:
    bare = [dataclasses.replace(example, label=None) for example in examples]
    run = compared(TorchPipeline(copy.deepcopy(model)), model, None, bare)
    names = checks_of(run, model, bare)
    assert not any("accuracy" in name or "gap" in name or "calibration" in name for name in names)
    assert names["label agreement with the unmerged model"].count == COUNT


def test_heads_and_latency_tables(model: Any, examples: Any) -> None:
    run = compared(TorchPipeline(copy.deepcopy(model), flipped=2), model, None, examples)
    rows = heads_rows(run, [0, 1])
    assert [row.layer for row in rows] == [0, 1]
    np.testing.assert_allclose([row.share for row in rows], np.mean(run.shares, axis=0))
    assert rows[0].agreement == pytest.approx(1 - 2 / 4), "two of layer 0's four heads were turned round"
    assert rows[1].agreement == 1.0
    times = latency(run, threads=1)
    assert times is not None
    assert times.windows == NUMERIC - 1, "the first warms up"
    assert times.bundle == {"vision": 1.0, "audio": 2.0, "prefill": 3.0, "labels": 0.5, "total": 6.5}
    assert times.pytorch["total"] > 0


@pytest.mark.parametrize("batch", [1, 4, 50])
def test_divergence_does_not_depend_on_the_batch(model: Any, examples: Any, gates: GateStatistics, batch: int) -> None:
    found = mose_divergence(model, gates, examples, temperature=1.5, batch=batch)
    run = compared(TorchPipeline(copy.deepcopy(model), gates), model, gates, examples)
    assert run.divergence is not None
    assert found.windows == COUNT
    assert found.label_agreement == run.divergence.label_agreement
    assert found.label_kl == pytest.approx(run.divergence.label_kl, rel=1e-3)
    assert found.worst_kl >= found.label_kl > 0
    assert all(expert.fixed_gates is None for expert in model.experts.values())


def test_divergence_of_gates_that_are_constant_is_nothing(tiny_model: Callable[..., Any]) -> None:
    """Gates that weigh the input with zeros are even for every token: merged is exact, and auto takes it."""
    model = tiny_model()
    with torch.no_grad():
        for expert in model.experts.values():
            expert.gate.zero_()
    even = {path: torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]) for path in model.experts}
    found = mose_divergence(model, GateStatistics(even, even), random_examples(model, 9))
    assert found.label_kl < 1e-9
    assert all(check.passed for check in divergence_checks(found, default_tolerances(EXACT)))
    bad = dataclasses.replace(found, label_agreement=0.5, label_kl=1.0)
    assert not any(check.passed for check in divergence_checks(bad, default_tolerances(EXACT)))
    assert all(check.passed for check in divergence_checks(bad, default_tolerances(EXACT), gating=False))


def test_gate_rows_name_layer_projection_and_class(gates: GateStatistics) -> None:
    rows = gate_rows(gates)
    assert len(rows) == 2 * 2 * 2
    row = next(r for r in rows if (r.layer, r.projection, r.modality) == (1, "v_proj", "non_visual"))
    assert row.module == "model.layers.1.self_attn.v_proj"
    assert row.mean == pytest.approx({"visual": 0.0, "non_visual": 0.1, "omni": 0.9})
    assert row.variance["omni"] == pytest.approx(0.04)


def test_layer_rows_gate_by_the_worst_layer() -> None:
    rows = [LayerRow(0, 1.0, 1e-6), LayerRow(1, 0.98, 0.2, heads_agree=0.9), LayerRow(2, 0.9999, 0.01, heads_agree=1.0)]
    checks = {check.name: check for check in layer_checks(rows, "fp32", default_tolerances(EXACT))}
    assert checks["layer outputs, least cosine"].measured == 0.98
    assert checks["layer outputs, max difference"].measured == 0.2
    assert checks["heads selected alike, layer by layer"].measured == pytest.approx(0.95)
    assert not any(check.passed for check in checks.values())
    broken = layer_checks([*rows, LayerRow(3, float("nan"), 0.0)], "fp32", default_tolerances(EXACT))
    assert not broken[0].passed
    assert layer_checks([], "fp32", default_tolerances(EXACT)) == []
