"""MoSE: modality-specific LoRA experts behind a regularized gate (Han et al., ACM MM 2025, arXiv 2508.01181).

For a token x of modality class c (visual, or non-visual: audio and text)

    y = W x + (alpha / r) * sum_{e in E(c)} g_e(x) * B_e A x      E(visual) = {visual, omni}
    g(x) = softmax over E(c) of (G x / T)                         E(non-visual) = {non_visual, omni}

The paper names the experts, the shared A and the regularized gate; the exact form of the gate and of its loss is
this project's choice.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mosear.model.configuration import EXPERTS, Mose
from mosear.model.weights import bind
from mosear.runtime.errors import BadInput
from mosear.runtime.modality import Modality

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PEFT_PREFIX = "base_model.model."
_ALLOWED = torch.tensor([[True, False, True], [False, True, True]])  # [non-hidden class: visual, non-visual] x EXPERTS


class TokenModality:
    """Carries the modality of the current rows to every expert of a decoder, and the gates back.

    transformers' decoders don't hand extra arguments to their projections, so the owner of the forward sets this
    before it runs the decoder.
    """

    def __init__(self) -> None:
        self.value: Tensor | None = None  # int64 [B, S]
        self.gates: dict[str, Tensor] | None = None  # filled with [B, S, 3] by module path while not None

    def is_visual(self) -> Tensor:
        """Boolean [B, S], True on visual rows."""
        if self.value is None:
            raise RuntimeError("the modality of the tokens was not set before the decoder ran")
        return self.value == Modality.VISUAL


class MoseLinear(nn.Module):
    """A frozen linear module with one LoRA expert a modality class and one for all tokens.

    Args:
        base: the module that is adapted; its weight [out, in] (and bias) stays as it is.
        mose: rank, scale, gate temperature and whether A is shared.
        modality: the holder that tells which rows are visual.
        path: the module's path in the decoder, under which its gates are recorded.
        dtype: of the experts; the base's when left out.
    """

    def __init__(
        self, base: nn.Linear, mose: Mose, modality: TokenModality, path: str, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.path = path
        self.base_layer = base
        self.mose = mose
        self.modality = modality
        reference = base.weight if dtype is None else base.weight.new_empty(0, dtype=dtype)
        shape = (mose.r, base.in_features)

        def a_matrix() -> nn.Parameter:
            weight = torch.empty(shape, dtype=reference.dtype, device=reference.device)
            nn.init.kaiming_uniform_(weight, a=5**0.5)
            return nn.Parameter(weight)

        names = ("shared",) if mose.share_a else EXPERTS
        self.lora_A = nn.ParameterDict({name: a_matrix() for name in names})
        self.lora_B = nn.ParameterDict(
            {name: nn.Parameter(reference.new_zeros(base.out_features, mose.r)) for name in EXPERTS}
        )
        self.gate = nn.Parameter(reference.new_zeros(len(EXPERTS), base.in_features))
        self.fixed_gates: Tensor | None = None  # [2 classes, 3 experts]: constant gates, as a merged model has them

    def gates(self, x: Tensor) -> Tensor:
        """Weights of the experts for every row of ``x``.

        Args:
            x: [B, S, in].

        Returns:
            [B, S, 3] in the order of ``EXPERTS``; each row sums to 1 and is 0 for the other class's expert.
        """
        row_class = torch.where(self.modality.is_visual(), 0, 1)
        if self.fixed_gates is not None:
            return self.fixed_gates.to(x)[row_class]
        allowed = _ALLOWED.to(x.device)[row_class]
        logits = nn.functional.linear(x, self.gate).float() / self.mose.temperature
        return logits.masked_fill(~allowed, float("-inf")).softmax(-1).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Project ``x`` [B, S, in] to [B, S, out]."""
        gates = self.gates(x)
        if self.modality.gates is not None:
            self.modality.gates[self.path] = gates
        if self.mose.share_a:
            low = nn.functional.linear(x, self.lora_A["shared"]).unsqueeze(-2).expand(*x.shape[:-1], len(EXPERTS), -1)
        else:
            low = torch.stack([nn.functional.linear(x, self.lora_A[name]) for name in EXPERTS], dim=-2)
        up = torch.cat([self.lora_B[name] for name in EXPERTS], dim=1)
        mixed = (gates.unsqueeze(-1) * low).flatten(-2)
        return self.base_layer(x) + (self.mose.alpha / self.mose.r) * nn.functional.linear(mixed, up)


def inject(
    decoder: nn.Module, mose: Mose, modality: TokenModality, dtype: torch.dtype | None = None
) -> dict[str, MoseLinear]:
    """Put experts on every target module of ``decoder`` and freeze all other parameters.

    Args:
        decoder: changed in place.
        mose: which modules, and how.
        modality: the holder that all experts read.
        dtype: of the experts; each base module's when left out.

    Returns:
        The expert modules by the path of the module they adapt.

    Raises:
        BadInput: a name of ``mose.target_modules`` matches no linear module.
    """
    found: dict[str, MoseLinear] = {}
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
    unmatched = set(mose.target_modules)
    for path, module in list(decoder.named_modules()):
        parent_path, _, leaf = path.rpartition(".")
        if leaf in mose.target_modules and isinstance(module, nn.Linear):
            expert = MoseLinear(module, mose, modality, path, dtype)
            setattr(decoder.get_submodule(parent_path), leaf, expert)
            found[path] = expert
            unmatched.discard(leaf)
    if unmatched:
        raise BadInput(
            f"the decoder has no linear module named {', '.join(sorted(unmatched))}",
            "set mose.target_modules to names of this decoder's linear modules",
        )
    return found


def balance_loss(gates: dict[str, Tensor], token_modality: Tensor) -> Tensor:
    """Gate regularization: Σ_c KL(mean gate of class c ‖ uniform over E(c)), averaged over modules.

    Args:
        gates: [B, S, 3] by module path.
        token_modality: int64 [B, S]; hidden rows don't count.

    Returns:
        A scalar ≥ 0, in nats; 0 when every class uses its two experts evenly.
    """
    visual = token_modality == Modality.VISUAL
    other = (token_modality == Modality.TEXT) | (token_modality == Modality.AUDIO)
    total = token_modality.new_zeros((), dtype=torch.float32)
    for gate in gates.values():
        for rows, pair in ((visual, [0, 2]), (other, [1, 2])):
            if rows.any():
                mean = gate[rows][:, pair].float().mean(0).clamp_min(1e-8)
                total = total + (mean * (mean * len(pair)).log()).sum()
    return total / len(gates)


def adapter_state(experts: dict[str, MoseLinear]) -> dict[str, Tensor]:
    """The experts' tensors under PEFT's names: ``base_model.model.<path>.lora_A.weight`` and so on."""
    state: dict[str, Tensor] = {}
    for path, module in experts.items():
        prefix = f"{PEFT_PREFIX}{path}"
        for name, weight in module.lora_A.items():
            state[f"{prefix}.lora_A.weight" if name == "shared" else f"{prefix}.lora_A.{name}.weight"] = weight
        for name, weight in module.lora_B.items():
            state[f"{prefix}.lora_B.{name}.weight"] = weight
        state[f"{prefix}.gate.weight"] = module.gate
    return state


def save_adapter(experts: dict[str, MoseLinear], mose: Mose, folder: Path) -> None:
    """Write the experts in PEFT's file layout: ``adapter_model.safetensors`` and ``adapter_config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in adapter_state(experts).items()}
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    content = {
        "peft_type": "MOSE",
        "task_type": "CAUSAL_LM",
        "r": mose.r,
        "lora_alpha": mose.alpha,
        "target_modules": list(mose.target_modules),
        "share_a": mose.share_a,
        "gate_temperature": mose.temperature,
        "gate_balance": mose.balance,
        "experts": list(EXPERTS),
        "bias": "none",
        "inference_mode": True,
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_adapter(experts: dict[str, MoseLinear], folder: Path) -> None:
    """Load what ``save_adapter`` wrote, strictly by name.

    Raises:
        BadInput: a file is missing or unreadable, or a tensor is missing, unexpected or of another shape.
    """
    path = folder / ADAPTER_WEIGHTS
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} can't be read: {error}", "restore the adapter's files") from error
    bind(adapter_state(experts), state, str(path))


def read_adapter_config(folder: Path) -> Mose:
    """The experts' settings in an adapter's ``adapter_config.json``.

    Raises:
        BadInput: the file is missing, unreadable, or of another adapter type.
    """
    path = folder / ADAPTER_CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["peft_type"] != "MOSE":
            raise BadInput(f"{path} is a {content['peft_type']} adapter, not MoSE", "give a MoSE adapter")
        return Mose(
            r=content["r"],
            alpha=content["lora_alpha"],
            temperature=content["gate_temperature"],
            share_a=content["share_a"],
            balance=content["gate_balance"],
            target_modules=tuple(content["target_modules"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} can't be read: {error!r}", "restore the adapter's files") from error
