import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

from mosear.model.configuration import Mose
from mosear.model.experts import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    MoseLinear,
    TokenModality,
    adapter_state,
    balance_loss,
    load_adapter,
    read_adapter_config,
    save_adapter,
)
from mosear.runtime.errors import BadInput

MODALITY = torch.tensor([[0, 1, 1, 2, 0], [-1, 1, 2, 2, 0]])


def expert(share_a: bool = True, seed: int = 0) -> MoseLinear:
    torch.manual_seed(seed)
    holder = TokenModality()
    holder.value = MODALITY
    module = MoseLinear(nn.Linear(6, 5), Mose(r=3, alpha=6.0, temperature=0.7, share_a=share_a), holder, "p")
    with torch.no_grad():
        module.gate.normal_()
        for weight in module.lora_B.values():
            weight.normal_()
    return module


@pytest.mark.parametrize("share_a", [True, False])
def test_output_is_the_formula_token_by_token(share_a: bool) -> None:
    module = expert(share_a)
    x = torch.randn(2, 5, 6)
    y = module(x)
    for b in range(2):
        for s in range(5):
            own = "visual" if MODALITY[b, s] == 1 else "non_visual"
            rows = {"visual": 0, "non_visual": 1, "omni": 2}
            logits = torch.stack([module.gate[rows[own]] @ x[b, s], module.gate[2] @ x[b, s]]) / 0.7
            gates = logits.softmax(0)
            wanted = module.base_layer(x[b, s])
            for gate, name in zip(gates, (own, "omni"), strict=True):
                a = module.lora_A["shared" if share_a else name]
                wanted = wanted + 2.0 * gate * (module.lora_B[name] @ (a @ x[b, s]))
            torch.testing.assert_close(y[b, s], wanted)


def test_gates_sum_to_one_and_leave_the_other_class_out() -> None:
    gates = expert().gates(torch.randn(2, 5, 6))
    torch.testing.assert_close(gates.sum(-1), torch.ones(2, 5))
    visual = MODALITY == 1
    assert gates[visual][:, 1].abs().max() == 0
    assert gates[~visual][:, 0].abs().max() == 0


def test_fresh_experts_change_nothing() -> None:
    holder = TokenModality()
    holder.value = MODALITY
    base = nn.Linear(6, 5)
    x = torch.randn(2, 5, 6)
    assert torch.equal(MoseLinear(base, Mose(r=2), holder, "p")(x), base(x))


def test_rows_without_a_modality_are_an_error() -> None:
    module = expert()
    module.modality.value = None
    with pytest.raises(RuntimeError, match="modality"):
        module(torch.randn(2, 5, 6))


def test_balance_loss_is_the_kl_of_the_mean_gate() -> None:
    gates = torch.zeros(1, 4, 3)
    gates[0, 0] = torch.tensor([0.9, 0.0, 0.1])
    gates[0, 1] = torch.tensor([0.7, 0.0, 0.3])
    gates[0, 2] = torch.tensor([0.0, 0.5, 0.5])
    gates[0, 3] = torch.tensor([0.0, 1.0, 0.0])
    modality = torch.tensor([[1, 1, 0, -1]])
    mean = torch.tensor([0.8, 0.2], dtype=torch.float64)
    wanted = torch.nn.functional.kl_div(torch.full((2,), 0.5, dtype=torch.float64).log(), mean, reduction="sum")
    assert balance_loss({"p": gates}, modality).item() == pytest.approx(wanted.item(), abs=1e-6)


def test_balance_loss_pulls_the_gates_together() -> None:
    module = expert()
    x = torch.randn(2, 5, 6)
    before = balance_loss({"p": module.gates(x)}, MODALITY)
    optimizer = torch.optim.Adam([module.gate], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        balance_loss({"p": module.gates(x)}, MODALITY).backward()
        optimizer.step()
    assert balance_loss({"p": module.gates(x)}, MODALITY) < before / 5


@pytest.mark.parametrize("share_a", [True, False])
def test_adapter_survives_a_round_trip(tmp_path: Path, tiny_model: Any, share_a: bool) -> None:
    mose = {"r": 4, "alpha": 8.0, "share_a": share_a}
    model, other = tiny_model(0, mose=mose), tiny_model(1, mose=mose)
    save_adapter(model.experts, model.config.mose, tmp_path)
    assert read_adapter_config(tmp_path) == model.config.mose
    load_adapter(other.experts, tmp_path)
    for name, tensor in adapter_state(model.experts).items():
        assert torch.equal(tensor, adapter_state(other.experts)[name])


def test_file_layout_is_peft_s(tmp_path: Path, tiny_model: Any) -> None:
    """PEFT's own LoRA on the same modules has the same file names, prefix and A matrices."""
    model = tiny_model()
    save_adapter(model.experts, model.config.mose, tmp_path / "ours")
    bare = tiny_model(mose=None).decoder
    peft = get_peft_model(bare, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    peft.save_pretrained(tmp_path / "peft")
    assert {p.name for p in (tmp_path / "ours").iterdir()} <= {p.name for p in (tmp_path / "peft").iterdir()}
    ours = load_file(tmp_path / "ours" / ADAPTER_WEIGHTS)
    theirs = get_peft_model_state_dict(peft)
    a_names = {name for name in theirs if ".lora_A." in name}
    assert a_names
    assert a_names == {name for name in ours if ".lora_A." in name}
    assert all(ours[name].shape == theirs[name].shape for name in a_names)
    keys = json.loads((tmp_path / "peft" / ADAPTER_CONFIG).read_text()).keys()
    assert {"peft_type", "task_type", "r", "lora_alpha", "target_modules", "bias", "inference_mode"} <= keys


@pytest.mark.parametrize("damage", ["missing", "extra", "misshaped", "truncated"])
def test_adapter_that_does_not_fit_is_refused(tmp_path: Path, tiny_model: Any, damage: str) -> None:
    model = tiny_model()
    save_adapter(model.experts, model.config.mose, tmp_path)
    path = tmp_path / ADAPTER_WEIGHTS
    state = load_file(path)
    name = sorted(state)[0]
    if damage == "missing":
        del state[name]
    elif damage == "extra":
        state["base_model.model.other.weight"] = torch.zeros(1)
    elif damage == "misshaped":
        state[name] = torch.zeros(1, 2)
    save_file(state, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    before = {key: tensor.clone() for key, tensor in adapter_state(model.experts).items()}
    with pytest.raises(BadInput) as caught:
        load_adapter(model.experts, tmp_path)
    named = {"extra": "base_model.model.other.weight", "truncated": ADAPTER_WEIGHTS}.get(damage, name)
    assert named in caught.value.what
    assert caught.value.remedy
    assert all(torch.equal(before[key], tensor) for key, tensor in adapter_state(model.experts).items())


def test_target_that_matches_nothing_is_an_error(tiny_model: Any) -> None:
    with pytest.raises(BadInput, match="w_proj"):
        tiny_model(mose={"r": 4, "target_modules": ["q_proj", "w_proj"]})
