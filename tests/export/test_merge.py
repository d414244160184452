from typing import Any

import pytest
import torch

from mosear.calibration.gates import GateStatistics, measure_gates
from mosear.export.graphs.decoder import decoder_weights, trace_decoder
from mosear.export.graphs.low_rank import GatedLowRankLinear
from mosear.export.merge import fix_gates, gating, merge_linear, merged_weight, merging, visual_term
from mosear.runtime.errors import BadInput, UsageError


def encoded(model: Any, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(7)
    return torch.randn(count, model.visual_tokens, 16), torch.randn(count, 3, 16)


def sequence(model: Any, parts: tuple[torch.Tensor, torch.Tensor]) -> Any:
    said = ["a few words", None, "x", "more words than that", None]
    return model.sequence(said, "emotion", model.visual_projector(parts[0]), model.audio_projector(parts[1]))


@pytest.mark.parametrize("share_a", [True, False])
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_merged_decoder_equals_the_unmerged_one_with_the_same_gates(tiny_model: Any, share_a: bool, kind: str) -> None:
    config = tiny_model().config
    decoder = {**config.decoder, "model_type": kind}
    model = tiny_model(mose={"r": 4, "alpha": 8.0, "share_a": share_a}, decoder=decoder)
    with torch.no_grad():
        parts = encoded(model)
        gates = measure_gates(model, [None] * 5, parts)
        dynamic = model(sequence(model, parts))
        fix_gates(model, gates)
        wanted = model(sequence(model, parts))
        fix_gates(model, None)
        for path, module in model.experts.items():
            parent, _, leaf = path.rpartition(".")
            setattr(model.decoder.get_submodule(parent), leaf, merge_linear(module, gates.mean[path]))
        found = model(sequence(model, parts))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(dynamic, wanted, atol=1e-4), "the gates of this model depend on its input"
    rank = model.decoder.get_submodule(next(iter(model.experts))).down.weight.shape[0]
    assert rank == (4 if share_a else 12)


def test_text_and_audio_rows_need_only_the_merged_weight(tiny_model: Any) -> None:
    model = tiny_model()
    module = next(iter(model.experts.values()))
    gates = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.2, 0.8]])
    merged = merge_linear(module, gates)
    x = torch.randn(1, 6, module.base_layer.in_features)
    module.fixed_gates = gates
    module.modality.value = torch.tensor([[0, 2, 1, 0, -1, 1]])
    plain = torch.nn.functional.linear(x, merged.weight, merged.bias)
    difference = (plain - module(x)).abs().amax(-1)[0]
    assert difference[[0, 1, 3, 4]].max() < 1e-5
    assert difference[[2, 5]].min() > 1e-3
    torch.testing.assert_close(merged(x), module(x), atol=1e-5, rtol=1e-4)


def test_gate_statistics_are_the_mean_and_variance_over_visible_rows(tiny_model: Any) -> None:
    model = tiny_model()
    parts = encoded(model)
    transcripts: list[str | None] = ["a", None, "longer than the others by far", None, "b"]
    found = measure_gates(model, transcripts, parts, batch=2)
    rows: dict[str, tuple[list[torch.Tensor], list[torch.Tensor]]] = {path: ([], []) for path in model.experts}
    with torch.no_grad():
        for i, said in enumerate(transcripts):
            visual, audio = (p[i : i + 1] for p in parts)
            one = model.sequence([said], "emotion", model.visual_projector(visual), model.audio_projector(audio))
            model.token_modality.gates = {}
            model(one)
            for path, gate in model.token_modality.gates.items():
                rows[path][0].append(gate[0][one.modality[0] == 1])
                rows[path][1].append(gate[0][one.modality[0] != 1])
            model.token_modality.gates = None
    for path, classes in rows.items():
        for index, parts_of_class in enumerate(classes):
            gates = torch.cat(parts_of_class)
            torch.testing.assert_close(found.mean[path][index], gates.mean(0), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found.variance[path][index], gates.var(0, correction=0), atol=1e-5, rtol=1e-3)


def test_gates_of_another_model_are_refused(tiny_model: Any) -> None:
    gates = GateStatistics({"x": torch.zeros(2, 3)}, {"x": torch.zeros(2, 3)})
    with pytest.raises(BadInput, match="other modules"), merging(tiny_model(), gates):
        pass


@pytest.mark.parametrize("share_a", [True, False])
def test_gated_form_equals_the_experts(tiny_model: Any, share_a: bool) -> None:
    model = tiny_model(mose={"r": 4, "alpha": 8.0, "share_a": share_a, "temperature": 0.7})
    parts = encoded(model)
    with torch.no_grad():
        wanted = model(sequence(model, parts))
        with gating(model):
            assert isinstance(model.decoder.get_submodule(next(iter(model.experts))), GatedLowRankLinear)
            found = model(sequence(model, parts))
        again = model(sequence(model, parts))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(again, wanted, atol=0, rtol=0)


@pytest.mark.parametrize("share_a", [True, False])
def test_truncation_is_the_best_of_its_rank_and_reports_what_it_loses(tiny_model: Any, share_a: bool) -> None:
    model = tiny_model(mose={"r": 4, "alpha": 8.0, "share_a": share_a})
    module = next(iter(model.experts.values()))
    gates = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.2, 0.8]])
    whole = visual_term(module, gates)
    full = (whole.up @ whole.down).double()
    values = torch.linalg.svdvals(full)
    for rank in (1, 3):
        term = visual_term(module, gates, rank)
        assert term.down.shape[0] == rank
        lost = torch.linalg.norm(full - (term.up @ term.down).double()) / torch.linalg.norm(full)
        assert float(lost) == pytest.approx(
            float(values[rank:].square().sum().sqrt() / torch.linalg.norm(full)), rel=1e-3
        )
        assert term.error == pytest.approx(float(lost), rel=1e-3)
    exact = visual_term(module, gates, 4 if share_a else 12)
    torch.testing.assert_close(exact.up @ exact.down, whole.up @ whole.down, atol=1e-5, rtol=1e-4)
    with pytest.raises(UsageError, match="has rank"):
        visual_term(module, gates, 13)


def test_merged_weights_are_made_when_they_are_read(tiny_model: Any) -> None:
    model = tiny_model()
    gates = GateStatistics(
        {path: torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]) for path in model.experts},
        {path: torch.zeros(2, 3) for path in model.experts},
    )
    with merging(model, gates) as merged:
        structure = trace_decoder(model.decoder, reallocation=model.reallocation)
        weights = decoder_weights(model.decoder, structure) | merged.weights
    assert structure.graph.ByteSize() < 200_000, "a structure holds no weights"
    for path, module in model.experts.items():
        wanted = merged_weight(module, gates.mean[path]).T
        torch.testing.assert_close(torch.from_numpy(weights[f"{path}.weight"].read()), wanted, atol=0, rtol=0)
        assert weights[f"{path}.weight"].shape == tuple(wanted.shape)
