"""Reallocation inside decoders of transformers: padding, caches, missing modalities, telemetry."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from mosear.model.attention import FORMS, Telemetry, aligned_modality
from mosear.model.reallocation import Reallocation

torch.set_num_threads(1)

FAMILIES = {"llama": {}, "qwen2": {}, "qwen3": {"head_dim": 16}, "mistral": {"sliding_window": None}}
PROMPT = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 1, 0, 0, 0]])
STRONG = Reallocation(0.6, 0.3)


def decoder(family: str, implementation: str = "mosear", layers: int = 3, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=53,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        **(FAMILIES[family] | changes),
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.25)
    return model


def embeds(modality: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return torch.randn(*modality.shape, 48, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def run(model: Any, x: torch.Tensor, modality: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    return model(
        inputs_embeds=x,
        attention_mask=(modality >= 0).long(),
        key_modality=modality,
        **({"reallocation": STRONG} | kwargs),
    ).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("reallocation", [None, Reallocation(0.0, 0.0, rows="all"), Reallocation(0.5, 0.3, layers=())])
def test_nothing_to_move_is_the_library_s_own_attention(family: str, reallocation: Reallocation | None) -> None:
    modality = PROMPT.repeat(2, 1)
    modality[1, :3] = -1
    x = embeds(modality)
    expected = run(decoder(family, "sdpa"), x, modality)[:, 3:]
    torch.testing.assert_close(
        run(decoder(family), x, modality, reallocation=reallocation)[:, 3:], expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", ["text", "last", "all"])
def test_the_forms_agree_and_do_something(family: str, rows: Any) -> None:
    x, reallocation = embeds(PROMPT), Reallocation(0.6, 0.3, rows=rows)
    results = {form: run(decoder(family, form), x, PROMPT, reallocation=reallocation) for form in FORMS}
    for result in results.values():
        torch.testing.assert_close(result, results["mosear"], atol=2e-4, rtol=2e-4)
    assert (results["mosear"] - run(decoder(family), x, PROMPT, reallocation=None))[:, -1].abs().max() > 0.01


@pytest.mark.parametrize("form", FORMS)
def test_padding_on_the_left_changes_nothing(form: str) -> None:
    model = decoder("qwen2", form)
    lengths = (11, 8, 6)
    prompts = [PROMPT[:, -length:] for length in lengths]
    alone = [run(model, embeds(p, seed=i), p)[0, -1] for i, p in enumerate(prompts)]
    modality = torch.full((3, 11), -1)
    x = torch.full((3, 11, 48), 7.0)
    for i, length in enumerate(lengths):
        modality[i, -length:], x[i, -length:] = prompts[i][0], embeds(prompts[i], seed=i)[0]
    positions = (torch.arange(11) - (11 - torch.tensor(lengths))[:, None]).clamp_min(0)
    telemetry = Telemetry()
    batch = run(model, x, modality, position_ids=positions, telemetry=telemetry)
    assert torch.isfinite(batch).all()
    torch.testing.assert_close(batch[:, -1], torch.stack(alone), atol=1e-4, rtol=1e-4)
    # Each sample chose for itself: the batch is not selected as one.
    assert len({tuple(sample.flatten().tolist()) for sample in telemetry.selected}) > 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", ["text", "last", "all"])
def test_a_cached_step_is_the_last_row_of_a_full_forward(family: str, rows: Any) -> None:
    # What reallocation did to earlier rows shows in deeper layers' keys; in the last layer only the row itself counts.
    model, reallocation = decoder(family), Reallocation(0.6, 0.2, rows=rows, layers=(2,))
    x = embeds(PROMPT)
    full, step = Telemetry(), Telemetry()
    expected = run(model, x, PROMPT, reallocation=reallocation, telemetry=full)[:, -1]
    cache = DynamicCache(config=model.config)
    run(model, x[:, :-1], PROMPT[:, :-1], reallocation=reallocation, past_key_values=cache, use_cache=True)
    found = run(model, x[:, -1:], PROMPT, reallocation=reallocation, past_key_values=cache, telemetry=step)[:, -1]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(step.modality_mass, full.modality_mass, atol=1e-5, rtol=1e-4)
    assert step.selected.any()


def test_a_sliding_window_sees_the_modality_of_its_own_keys() -> None:
    model = decoder("mistral", sliding_window=6)
    reallocation, x = Reallocation(0.6, 0.0, layers=(2,)), embeds(PROMPT)
    full, step = Telemetry(), Telemetry()
    expected = run(model, x, PROMPT, reallocation=reallocation, telemetry=full)[:, -1]
    cache = DynamicCache(config=model.config)
    run(model, x[:, :-1], PROMPT[:, :-1], reallocation=reallocation, past_key_values=cache, use_cache=True)
    found = run(model, x[:, -1:], PROMPT, reallocation=reallocation, past_key_values=cache, telemetry=step)[:, -1]
    torch.testing.assert_close(step.modality_mass, full.modality_mass, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [1, 2])
def test_without_a_modality_nothing_is_reallocated(form: str, missing: int) -> None:
    model = decoder("llama", form)
    modality = torch.where(missing == PROMPT, -1, PROMPT)
    telemetry = Telemetry()
    x = embeds(PROMPT)
    found = run(model, x, modality, reallocation=Reallocation(0.9, 0.0, rows="all"), telemetry=telemetry)
    assert not telemetry.selected.any()
    visible = modality[0] >= 0
    torch.testing.assert_close(
        found[:, visible], run(model, x, modality, reallocation=None)[:, visible], atol=1e-4, rtol=1e-4
    )
    assert (telemetry.modality_mass[..., missing] == 0).all()
    assert (telemetry.audio_share == (1.0 if missing == 1 else 0.0)).all()


def test_telemetry_is_what_eager_attention_shows() -> None:
    eager, model = decoder("qwen2", "eager"), decoder("qwen2")
    x, telemetry = embeds(PROMPT), Telemetry()
    with torch.no_grad():
        seen = eager(inputs_embeds=x, output_attentions=True).attentions
    run(model, x, PROMPT, reallocation=Reallocation(0.0, 0.4, layers=(0, 2)), telemetry=telemetry)
    assert telemetry.layers == [0, 2]
    for index, layer in enumerate(telemetry.layers):
        last = seen[layer][:, :, -1]
        masses = torch.stack([last[..., PROMPT[0] == kind].sum(-1) for kind in range(3)], dim=-1)
        torch.testing.assert_close(telemetry.modality_mass[:, index], masses, atol=1e-5, rtol=1e-4)
        share = masses[..., 2] / (masses[..., 1] + masses[..., 2])
        torch.testing.assert_close(telemetry.audio_share[:, index], share, atol=1e-5, rtol=1e-4)
        assert torch.equal(telemetry.selected[:, index], (share > 0.4).float())


def test_it_trains_without_reallocation_and_refuses_dropout_with_it() -> None:
    model = decoder("llama", attention_dropout=0.1).train()
    loss = model(inputs_embeds=embeds(PROMPT), key_modality=PROMPT, labels=torch.zeros_like(PROMPT)).loss
    loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "embed_tokens" not in name)
    with pytest.raises(ValueError, match="eval mode"):
        run(model, embeds(PROMPT), PROMPT)


def test_modality_must_cover_the_keys() -> None:
    model, x = decoder("llama"), embeds(PROMPT)
    with pytest.raises(ValueError, match="needs key_modality"):
        model(inputs_embeds=x, reallocation=STRONG)
    with pytest.raises(ValueError, match="covers 5 tokens but attention sees 11"):
        model(inputs_embeds=x, reallocation=STRONG, key_modality=PROMPT[:, :5])
    assert aligned_modality(PROMPT, 4).tolist() == [[1, 0, 0, 0]]


def test_without_an_attention_mask_causality_is_kept() -> None:
    model, x = decoder("llama"), embeds(PROMPT)
    with torch.no_grad():
        bare = model(inputs_embeds=x, key_modality=PROMPT, reallocation=STRONG).logits
    torch.testing.assert_close(bare, run(model, x, PROMPT), atol=1e-5, rtol=1e-5)
