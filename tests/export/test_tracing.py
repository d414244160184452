"""Tracing: structures are made from names and shapes alone, and the module is left as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from small_decoders import PADDED, PROMPTS, Reference, add_low_rank, compare, run_canonical, session, small_decoder
from transformers import AutoConfig, AutoModelForCausalLM

from mosear.export.graphs import tracing
from mosear.export.graphs.decoder import decoder_weights, trace_decoder
from mosear.export.graphs.half import half_weights, to_half
from mosear.export.graphs.low_rank import GatedLowRankLinear
from mosear.export.graphs.tracing import Structure, weightless
from mosear.export.merge import gating
from mosear.export.tensors import attach, is_placeholder
from mosear.model.reallocation import Reallocation
from mosear.model.weights import parameters_without_memory

REALLOCATION = Reallocation(0.5, 0.35, layers=(1,))


def decoder_of_two_layers(**changes: Any) -> Any:
    decoder = small_decoder("qwen2", num_hidden_layers=2, **changes)
    add_low_rank(decoder)
    return decoder


def without_values(decoder: Any, how: str) -> Any:
    """Weights that can't be read (on the meta device), or that spoil whatever reads them."""
    for module in decoder.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = parameter.to("meta") if how == "meta" else torch.full_like(parameter, float("nan"))
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=False)
    return decoder


@pytest.fixture(scope="module")
def healthy() -> Structure:
    return trace_decoder(decoder_of_two_layers(), reallocation=REALLOCATION)


@pytest.mark.parametrize("how", ["meta", "nan"])
def test_weights_are_never_read(healthy: Structure, how: str) -> None:
    decoder = without_values(decoder_of_two_layers(), how)
    found = trace_decoder(decoder, reallocation=REALLOCATION)
    assert found.transposed == healthy.transposed
    assert found.graph.SerializeToString(deterministic=True) == healthy.graph.SerializeToString(deterministic=True)
    for tensor in found.graph.graph.initializer:
        if not is_placeholder(tensor):
            assert not np.isnan(numpy_helper.to_array(tensor).astype(np.float64)).any(), tensor.name
    assert {parameter.device.type for parameter in decoder.parameters()} == {"meta" if how == "meta" else "cpu"}


def test_structures_have_names_and_shapes_and_no_data(healthy: Structure) -> None:
    decoder = decoder_of_two_layers()
    stored = {t.name: list(t.dims) for t in healthy.graph.graph.initializer if is_placeholder(t)}
    expected = {
        name: list(parameter.shape)[::-1] if parameter.dim() == 2 else list(parameter.shape)
        for name, parameter in decoder.named_parameters()
        if name != "model.embed_tokens.weight"
    }
    assert stored == expected
    assert healthy.transposed == {name for name in expected if len(expected[name]) == 2}
    inline = [t for t in healthy.graph.graph.initializer if not is_placeholder(t)]
    assert sum(len(numpy_helper.to_array(t).tobytes()) for t in inline) < 4096
    assert healthy.graph.ByteSize() < 100_000
    inputs = {value.name for value in healthy.graph.graph.input}
    assert not inputs & stored.keys()


def test_equal_weights_stay_apart() -> None:
    """All weights look alike while they are traced; the optimizer must not take them for one."""
    decoder = decoder_of_two_layers()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.fill_(0.5)
    structure = trace_decoder(decoder)
    weights = decoder_weights(decoder, structure)
    read = [name for node in structure.graph.graph.node for name in node.input if name in weights]
    assert len(weights) == len([*decoder.parameters()]) - 1
    assert set(read) == weights.keys()


def test_weights_are_read_when_they_are_wanted(healthy: Structure) -> None:
    decoder = decoder_of_two_layers()
    weights = decoder_weights(decoder, healthy)
    with torch.no_grad():
        decoder.model.layers[1].mlp.up_proj.weight.mul_(3)
    for name, weight in weights.items():
        expected = decoder.get_parameter(name).detach().numpy()
        np.testing.assert_array_equal(weight.read(), expected.T if expected.ndim == 2 else expected, err_msg=name)
        assert weight.read().flags.c_contiguous


def test_types_of_weights_do_not_matter(healthy: Structure) -> None:
    decoder = decoder_of_two_layers()
    for parameter in decoder.parameters():
        parameter.data = parameter.data.bfloat16()
    structure = trace_decoder(decoder, reallocation=REALLOCATION)
    assert structure.graph.SerializeToString(deterministic=True) == healthy.graph.SerializeToString(deterministic=True)
    for name, weight in decoder_weights(decoder, structure).items():
        array = weight.read()
        assert array.dtype == np.float32
        expected = decoder.get_parameter(name).detach().float().numpy()
        np.testing.assert_array_equal(array, expected.T if expected.ndim == 2 else expected, err_msg=name)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for its peak of memory")
def test_a_decoder_larger_than_what_tracing_takes() -> None:
    def memory(field: str) -> int:
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
        return int(line.split()[1]) * 1024

    config = AutoConfig.for_model(
        "llama",
        vocab_size=60_000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=2,
        num_attention_heads=16,
        num_key_value_heads=4,
    )
    with parameters_without_memory():
        decoder = AutoModelForCausalLM.from_config(config, attn_implementation="mosear").eval()
    size = sum(4 * parameter.numel() for parameter in decoder.parameters())
    assert size > 1.3e9
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    structure = trace_decoder(decoder)
    assert memory("VmHWM") - before < 0.3 * size
    assert structure.graph.ByteSize() < 200_000


@pytest.mark.parametrize("where", ["export", "after"])
def test_a_failing_exporter_leaves_the_decoder_as_it_was(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    decoder = small_decoder("qwen2", num_hidden_layers=2)
    holder = add_low_rank(decoder)
    decoder.train()
    holder.value = torch.tensor([[7]])
    before = dict(decoder.named_parameters(remove_duplicate=False))
    values = {name: parameter.detach().clone() for name, parameter in before.items()}
    seen: list[bool] = []

    def fail(*given: Any, **settings: Any) -> Any:
        # While the exporter works, nothing is behind the parameters.
        seen.extend(parameter.untyped_storage().nbytes() <= 4 for parameter in decoder.parameters())
        raise RuntimeError("no such operator")

    place, name = (torch.onnx, "export") if where == "export" else (tracing, "_optimize")
    monkeypatch.setattr(place, name, fail)
    with pytest.raises(RuntimeError, match="no such operator"):
        trace_decoder(decoder)
    if where == "export":
        assert len(seen) == len(before)
        assert all(seen)
    after = dict(decoder.named_parameters(remove_duplicate=False))
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert all(torch.equal(after[name], values[name]) for name in before)
    assert decoder.config._attn_implementation == "mosear"
    assert decoder.training
    assert torch.equal(holder.value, torch.tensor([[7]]))
    assert not [hook for layer in decoder.model.layers for hook in layer._forward_hooks]


def test_tied_parameters_are_tied_again() -> None:
    decoder = small_decoder("qwen2", num_hidden_layers=1, tie_word_embeddings=True)
    with weightless(decoder):
        assert all(parameter.untyped_storage().nbytes() <= 4 for parameter in decoder.parameters())
    assert decoder.lm_head.weight is decoder.model.embed_tokens.weight


@pytest.mark.parametrize("share_a", [True, False])
def test_gates_in_the_graph_are_the_experts_own(tiny_model: Callable[..., Any], share_a: bool) -> None:
    """Dynamic experts, a padded batch, a prompt and two steps: PyTorch's experts are the truth."""
    model = tiny_model(mose={"r": 3, "alpha": 8.0, "share_a": share_a, "temperature": 0.6})
    experts = dict(model.experts)
    with gating(model):
        gated = [module for module in model.decoder.modules() if isinstance(module, GatedLowRankLinear)]
        assert len(gated) == len(experts)
        structure = trace_decoder(model.decoder, reallocation=REALLOCATION)
        weights = decoder_weights(model.decoder, structure)
    assert all(model.decoder.get_submodule(path) is module for path, module in experts.items())
    full = session(attach(structure.graph, weights))
    half = session(attach(to_half(structure.graph), half_weights(weights)))
    reference = Reference(model.decoder, model.token_modality, REALLOCATION)
    width = model.decoder.config.hidden_size
    exact, near = None, None
    for step, feeds in enumerate(chunks(width)):
        expected = reference.run(feeds)
        exact, near = run_canonical(full, feeds, exact), run_half(half, feeds, near)
        compare(exact, expected)
        scale = np.abs(expected["logits"]).max()
        assert np.abs(near["logits"] - expected["logits"]).max() < 0.01 * scale
        if not step:
            # The gates do depend on the input: held at a constant they say something else.
            for module in experts.values():
                module.fixed_gates = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
            constant = Reference(model.decoder, model.token_modality, REALLOCATION).run(feeds)
            for module in experts.values():
                module.fixed_gates = None
            assert np.abs(constant["logits"] - expected["logits"]).max() > 0.03 * scale


def chunks(width: int) -> Iterator[dict[str, torch.Tensor]]:
    """A padded batch of three prompts, and two steps; the last row goes on with a visual, then an audio token."""
    modality = PROMPTS[:3]
    for step, rows in enumerate((12, 1, 1)):
        if step:
            modality = torch.cat([modality, torch.tensor([[0], [0], [step]])], dim=1)
        yield {
            "inputs_embeds": torch.randn(3, rows, width, generator=torch.Generator().manual_seed(step)),
            "position_ids": (torch.arange(modality.shape[1])[None] - PADDED[:3, None]).clamp_min(0)[:, -rows:],
            "key_modality": modality,
        }


def run_half(runner: Any, feeds: dict[str, torch.Tensor], cache: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    values = {name: tensor.numpy() for name, tensor in feeds.items()}
    for value in runner.get_inputs():
        if value.name.startswith("past_"):
            empty = np.zeros((len(PROMPTS[:3]), value.shape[1], 0, value.shape[3]), np.float16)
            values[value.name] = cache[value.name.replace("past", "present")] if cache else empty
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(None, values), strict=True))


def test_traces_hold_nothing_of_the_machine(healthy: Structure) -> None:
    text = str(healthy.graph)
    assert "site-packages" not in text
    assert ".py" not in text
