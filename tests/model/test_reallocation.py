"""The three forms of attention reallocation against plain loops over the definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mosear.model.reallocation import (
    MASKED,
    Reallocation,
    attention_logits,
    bias_attention,
    probability_attention,
    reallocate,
    reallocation_bias,
    segment_attention,
)

torch.set_num_threads(1)
FORMS = {"probability": probability_attention, "bias": bias_attention, "segment": segment_attention}
TEXT, VISUAL, AUDIO = 0, 1, 2


def by_the_book(probabilities, modality, rate, threshold, rows):  # type: ignore[no-untyped-def]
    """The definition in plain Python: new probabilities, shares, selection."""
    result = probabilities.copy()
    batch, heads, queries, keys = probabilities.shape
    shares, selected = np.zeros((batch, heads)), np.zeros((batch, heads), dtype=bool)
    for b in range(batch):
        for h in range(heads):

            def mass(row, kind, b=b, h=h):  # type: ignore[no-untyped-def]
                return sum(probabilities[b, h, row, j] for j in range(keys) if modality[b][j] == kind)

            audio, visual = mass(queries - 1, AUDIO), mass(queries - 1, VISUAL)
            shares[b, h] = audio / (audio + visual) if audio + visual > 0 else 0.0
            selected[b, h] = shares[b, h] > threshold and audio > 0 and visual > 0
            for i in range(queries):
                own = modality[b][keys - queries + i]
                chosen = {"text": own == TEXT, "last": i == queries - 1 and own >= 0, "all": own >= 0}[rows]
                audio, visual = mass(i, AUDIO), mass(i, VISUAL)
                if not (selected[b, h] and chosen and audio > 0 and visual > 0):
                    continue
                for j in range(keys):
                    if modality[b][j] == AUDIO:
                        result[b, h, i, j] *= 1 - rate
                    elif modality[b][j] == VISUAL:
                        result[b, h, i, j] *= 1 + rate * audio / visual
    return result, shares, selected


@st.composite
def cases(draw):  # type: ignore[no-untyped-def]
    """Attention inputs: grouped heads, hidden keys anywhere, missing modalities, sharp and flat attention."""
    batch, key_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    queries = draw(st.integers(1, 5))
    keys = draw(st.integers(queries, 12))
    kinds = st.lists(st.sampled_from([-1, 0, 1, 1, 2, 2]), min_size=keys, max_size=keys)
    modality = torch.tensor([draw(kinds) for _ in range(batch)])
    # The last row is the one that decides: it is always a real token, as it is in batches padded on the left.
    modality[:, -1] = draw(st.sampled_from([0, 0, 1, 2]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size, sharpness = 8, draw(st.sampled_from([0.3, 1.0, 3.0]))

    def random(heads: int, length: int) -> torch.Tensor:
        return torch.randn(batch, heads, length, size, generator=generator, dtype=torch.float64)

    query, key, value = random(key_heads * group, queries) * sharpness, random(key_heads, keys), random(key_heads, keys)
    causal = torch.arange(keys)[None] <= torch.arange(queries)[:, None] + keys - queries
    visible = causal[None] & (modality >= 0)[:, None]
    mask = torch.where(visible, 0.0, MASKED).double()[:, None]
    reallocation = Reallocation(
        rate=draw(st.sampled_from([0.0, 0.25, 0.5, 0.99])),
        threshold=draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0])),
        rows=draw(st.sampled_from(["text", "last", "all"])),
    )
    return query, key, value, mask, modality, size**-0.5, reallocation


def truth(case):  # type: ignore[no-untyped-def]
    query, key, value, mask, modality, scale, reallocation = case
    group = query.shape[1] // key.shape[1]
    logits = (query @ key.repeat_interleave(group, 1).transpose(2, 3)).numpy() * scale + mask.numpy()
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    plain = weights / weights.sum(-1, keepdims=True)
    moved, shares, selected = by_the_book(
        plain, modality.tolist(), reallocation.rate, reallocation.threshold, reallocation.rows
    )
    return plain, moved, moved @ value.repeat_interleave(group, 1).numpy(), shares, selected


def real_rows(case) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Rows of tokens that exist; a hidden row may see no key, and what it makes is read by nobody."""
    query, modality = case[0], case[4]
    return (modality[:, -query.shape[2] :] >= 0).numpy()


@settings(max_examples=120, deadline=None)
@given(cases())
def test_every_form_is_the_definition_in_double_precision(case) -> None:  # type: ignore[no-untyped-def]
    _, _, expected, shares, selected = truth(case)
    assume((np.abs(shares - case[-1].threshold) > 1e-9).all())
    for name, form in FORMS.items():
        output, decision = form(*case)
        assert torch.isfinite(output).all(), name
        for found, wanted, real in zip(output.numpy(), expected, real_rows(case), strict=True):
            np.testing.assert_allclose(found[:, real], wanted[:, real], atol=1e-10, rtol=1e-10, err_msg=name)
        np.testing.assert_allclose(decision.audio_share.numpy(), shares, atol=1e-10, err_msg=name)
        np.testing.assert_array_equal(decision.selected.numpy(), selected, err_msg=name)


@settings(max_examples=120, deadline=None)
@given(cases(), st.integers(1, 5))
def test_every_form_is_the_definition_in_single_precision(case, block: int) -> None:  # type: ignore[no-untyped-def]
    _, _, expected, shares, selected = truth(case)
    assume((np.abs(shares - case[-1].threshold) > 1e-4).all())
    single = [tensor.float() if torch.is_tensor(tensor) and tensor.is_floating_point() else tensor for tensor in case]
    for name, form in FORMS.items():
        output, decision = form(*single, block=block) if name == "segment" else form(*single)
        assert output.dtype == decision.audio_share.dtype == torch.float32
        for found, wanted, real in zip(output.numpy(), expected, real_rows(case), strict=True):
            np.testing.assert_allclose(found[:, real], wanted[:, real], atol=1e-5, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(decision.audio_share.numpy(), shares, atol=1e-6, rtol=1e-5, err_msg=name)
        np.testing.assert_array_equal(decision.selected.numpy(), selected, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_every_form_in_half_precision(case, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    half = [tensor.to(dtype) if torch.is_tensor(tensor) and tensor.is_floating_point() else tensor for tensor in case]
    # The truth starts from the rounded inputs: only what happens inside is judged.
    rounded = [tensor.double() if torch.is_tensor(tensor) and tensor.is_floating_point() else tensor for tensor in half]
    _, _, expected, shares, selected = truth(rounded)
    assume((np.abs(shares - case[-1].threshold) > 1e-4).all())
    bias, _ = reallocation_bias(*(rounded[i] for i in (0, 1, 3, 4, 5, 6)))
    visible = rounded[3] > MASKED
    logits = attention_logits(rounded[0], rounded[1], torch.zeros_like(rounded[3]), rounded[5])
    # A logit x is rounded by at most eps * |x| / 2 on each of a few steps, a weight then by that much of itself.
    spread = float(((logits + bias).abs() * visible).max()) + float(bias.abs().max())
    tolerance = (4 + 2 * spread) * torch.finfo(dtype).eps * float(rounded[2].abs().max())
    for name, form in FORMS.items():
        output, decision = form(*half)
        assert output.dtype == dtype
        assert decision.modality_mass.dtype == torch.float32
        for found, wanted, real in zip(output.double().numpy(), expected, real_rows(case), strict=True):
            np.testing.assert_allclose(found[:, real], wanted[:, real], atol=tolerance, err_msg=name)
        # Masses are taken in float32 from the same inputs, so the choice of heads does not feel the type.
        np.testing.assert_array_equal(decision.selected.numpy(), selected, err_msg=name)


@settings(max_examples=120, deadline=None)
@given(cases())
def test_what_moves_and_what_stays(case) -> None:  # type: ignore[no-untyped-def]
    query, key, _, mask, modality, scale, reallocation = case
    plain = attention_logits(query, key, mask, scale).softmax(-1)
    moved, decision = reallocate(plain, modality, reallocation, mask)
    np.testing.assert_allclose(moved.sum(-1).numpy(), 1.0, atol=1e-12)
    is_audio, is_visual = ((modality == kind)[:, None, None].double() for kind in (AUDIO, VISUAL))
    others = (1 - is_audio - is_visual) > 0
    assert torch.equal(moved * others, plain * others)
    before, after = (plain * is_audio).sum(-1), (moved * is_audio).sum(-1)
    touched = (moved != plain).any(-1)
    untouched = ~touched
    torch.testing.assert_close(after[touched], before[touched] * (1 - reallocation.rate), atol=1e-14, rtol=1e-12)
    assert torch.equal(moved[untouched], plain[untouched])
    assert not (touched & ~decision.selected[..., None]).any()
    lacking = ((plain * is_visual).sum(-1) == 0) | (before == 0)
    assert not (touched & lacking).any()
    own = modality[:, -query.shape[2] :]
    if reallocation.rows == "text":
        assert not (touched & (own != TEXT)[:, None]).any()
    if reallocation.rows == "last":
        assert not touched[..., :-1].any()


def test_a_row_computed_by_hand() -> None:
    probabilities = torch.tensor([[[[0.5, 0.125, 0.125, 0.25]]]])
    modality = torch.tensor([[TEXT, VISUAL, VISUAL, AUDIO]])
    moved, decision = reallocate(probabilities, modality, Reallocation(0.5, 0.4, rows="all"))
    assert moved.tolist() == [[[[0.5, 0.1875, 0.1875, 0.125]]]]
    assert decision.audio_share.tolist() == [[0.5]]
    assert decision.modality_mass.tolist() == [[[0.5, 0.25, 0.25]]]


def test_selection_is_strict_and_per_head_and_sample() -> None:
    # Masses are sums of powers of two: shares are exact, so that "more than the threshold" can be told from "equal".
    rows = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.125, 0.375], [0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    probabilities = torch.stack([rows[[0, 1]], rows[[2, 3]]])[:, :, None]
    modality = torch.tensor([[TEXT, VISUAL, AUDIO]] * 2)
    for threshold, expected in ((0.5, [[0, 1], [0, 0]]), (0.4999, [[1, 1], [0, 0]]), (0.75, [[0, 0], [0, 0]])):
        moved, decision = reallocate(probabilities, modality, Reallocation(0.5, threshold, rows="last"))
        assert decision.selected.int().tolist() == expected
        assert (moved != probabilities).any(-1).squeeze(-1).int().tolist() == expected
    assert decision.audio_share.tolist() == [[0.5, 0.75], [0.0, 0.0]]


@pytest.mark.parametrize("rows", ["text", "last", "all"])
def test_the_row_of_a_hidden_token_stays(rows: str) -> None:
    probabilities = torch.full((1, 1, 2, 4), 0.25)
    modality = torch.tensor([[VISUAL, AUDIO, TEXT, -1]])
    moved, _ = reallocate(probabilities, modality, Reallocation(0.5, 0.1, rows=rows))  # type: ignore[arg-type]
    assert torch.equal(moved[:, :, 1], probabilities[:, :, 1])
    assert torch.equal(moved[:, :, 0], probabilities[:, :, 0]) is (rows == "last")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hidden", [-math.inf, torch.finfo(torch.float32).min, MASKED])
def test_rows_that_see_nothing_are_finite_and_untouched(form: str, hidden: float) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 4, 8, generator=generator) for _ in range(3))
    mask = torch.zeros(1, 1, 4, 4)
    mask[:, :, :2] = hidden
    modality = torch.tensor([[TEXT, VISUAL, AUDIO, TEXT]])
    output, decision = FORMS[form](query, key, value, mask, modality, 0.3, Reallocation(0.9, 0.0, rows="all"))
    plain, _ = FORMS[form](query, key, value, mask, modality, 0.3, Reallocation(0.0, 0.0, rows="all"))
    assert torch.isfinite(output).all()
    assert decision.selected.all()
    torch.testing.assert_close(output[:, :, :2], plain[:, :, :2], atol=1e-6, rtol=1e-6)
    assert (output[:, :, 2:] - plain[:, :, 2:]).abs().max() > 1e-3
    mask[:] = hidden
    output, decision = FORMS[form](query, key, value, mask, modality, 0.3, Reallocation(0.9, 0.0, rows="all"))
    assert torch.isfinite(output).all()
    assert not decision.selected.any()
    assert not decision.modality_mass.any()


@pytest.mark.parametrize("form", FORMS)
def test_vanishing_visual_mass_does_not_overflow(form: str) -> None:
    # exp(-85) is a normal float32 that 1 / x turns into 8e36; exp(-100) is below the normal numbers and counts as none.
    for gap, touched in ((85.0, True), (100.0, False)):
        key = torch.tensor([[[[0.0], [-gap]]]])
        value = torch.tensor([[[[0.0], [1.0]]]])
        modality = torch.tensor([[AUDIO, VISUAL]])
        reallocation = Reallocation(0.5, 0.0, rows="all")
        output, decision = FORMS[form](
            torch.ones(1, 1, 1, 1), key, value, torch.zeros(1, 1, 1, 2), modality, 1.0, reallocation
        )
        assert bool(decision.selected) is touched
        assert float(output) == pytest.approx(0.5 if touched else 0.0, rel=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1.0}, "rate"),
        ({"rate": -0.1}, "rate"),
        ({"rate": math.nan}, "rate"),
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"rows": "some"}, "rows"),
        ({"layers": (2, 1)}, "layers"),
        ({"layers": (1, 1)}, "layers"),
        ({"layers": (-1,)}, "layers"),
    ],
)
def test_settings_outside_their_range_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reallocation(**({"rate": 0.5, "threshold": 0.5} | values))


def test_layers() -> None:
    assert Reallocation(0.1, 0.5).active_layers(3) == [0, 1, 2]
    assert Reallocation(0.1, 0.5, layers=[0, 2]).active_layers(3) == [0, 2]  # type: ignore[arg-type]
    assert Reallocation(0.1, 0.5, layers=()).active_layers(3) == []
    assert hash(Reallocation(0.1, 0.5, layers=[0])) == hash(Reallocation(0.1, 0.5, layers=(0,)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer 3 does not exist"):
        Reallocation(0.1, 0.5, layers=(3,)).active_layers(3)
