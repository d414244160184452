"""Ranges and scales against an independent computation: plain torch, hooks, and the papers' formulas."""

import builtins
import copy
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import calibration_clips as made
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mosear.calibration.encoding import media
from mosear.calibration.gates import GateStatistics, hold_gates, measure_gates
from mosear.calibration.prompts import SHOWN, calibration_loop, prompts
from mosear.calibration.quantization import SMOOTHING, block_of, measure_ranges, passes, range_key
from mosear.calibration.windows import JointWindow
from mosear.runtime.errors import Failed


def windows(count: int) -> list[JointWindow]:
    rng = np.random.default_rng(0)
    return [
        JointWindow(made.picture(rng), made.voice(rng), transcript or None, label, subset)
        for label, subset, transcript in made.balanced(count)
    ]


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., Any]) -> Any:
    model = tiny_model()
    with torch.no_grad():  # outlier channels, as large language models have them; the function stays the same
        for layer in model.decoder.model.layers:
            norm, readers = layer.post_attention_layernorm, (layer.mlp.gate_proj, layer.mlp.up_proj)
            norm.weight[:3] *= 60
            for reader in readers:
                reader.weight[:, :3] /= 60
    return model


@pytest.fixture(scope="module")
def gates(model: Any) -> GateStatistics:
    frames, samples = media(windows(6))
    with torch.no_grad():
        encoded = model.vision(frames.reshape(-1, 1, 32, 32, 3)).reshape(6, -1, 16), model.audio(samples)
    return measure_gates(model, [w.transcript for w in windows(6)], encoded)


@pytest.fixture(scope="module")
def loop() -> Callable[[Any], None]:
    return calibration_loop(windows(6), lambda stage, fraction: None, 1)


@pytest.fixture(scope="module")
def measured(model: Any, gates: GateStatistics, loop: Callable[[Any], None]) -> Any:
    return measure_ranges(model, gates, loop)


@pytest.fixture(scope="module")
def inputs(model: Any, gates: GateStatistics, loop: Callable[[Any], None]) -> Any:
    """Every linear module's weight [in, out] and the inputs [rows, in] that hooks saw, a tensor a call, by key."""
    merged = copy.deepcopy(model)
    hold_gates(merged, gates)
    weights, seen = {}, defaultdict(list)
    for path, module in merged.named_modules():
        if isinstance(module, nn.Linear):
            key = range_key(path)
            weights[key] = module.weight.detach().T.double()
            module.register_forward_pre_hook(
                lambda _, x, key=key: seen[key].append(x[0].detach().flatten(0, -2).double())
            )
    with torch.no_grad():
        loop(merged)
    return {key: (weights[key], calls) for key, calls in seen.items()}


GROUPS = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")]


def siblings(key: str, keys: Any) -> list[str]:
    parent, _, leaf = key.rpartition(".")
    names = next((group for group in GROUPS if leaf in group), (leaf,))
    return [f"{parent}.{name}" if parent else name for name in names if f"{parent}.{name}" in keys or not parent]


def test_every_linear_module_is_measured_under_the_name_of_its_weight(model: Any, measured: Any) -> None:
    wanted = set()
    for layer in range(2):
        block = f"model.layers.{layer}"
        wanted |= {f"{block}.self_attn.{name}_proj" for name in "qkvo"}
        wanted |= {f"{block}.mlp.{name}_proj" for name in ("gate", "up", "down")}
    encoders = {key for key in measured if key.startswith(("vision.", "audio."))}
    assert set(measured) - encoders == wanted | {"lm_head"}
    for key in encoders - {"vision.projector", "audio.projector"}:
        assert isinstance(model.get_submodule(key), nn.Linear)
    assert {"vision.projector", "audio.projector"} < encoders


def test_ranges_are_the_largest_values_that_hooks_saw(measured: Any, inputs: Any) -> None:
    assert set(measured) == set(inputs)
    for key, (_, calls) in inputs.items():
        assert measured[key].input_amax == pytest.approx(float(torch.cat(calls).abs().max()), rel=1e-5), key


def test_smoothing_scales_follow_the_paper_s_formula(measured: Any, inputs: Any) -> None:
    for key, (_, calls) in inputs.items():
        x = torch.cat(calls)
        heaviest = torch.stack([inputs[k][0].abs().amax(1) for k in siblings(key, inputs)]).amax(0)
        wanted = heaviest ** (1 - SMOOTHING) / x.abs().amax(0) ** SMOOTHING
        np.testing.assert_allclose(measured[key].smooth, wanted.clamp(1e-4, 1e4), rtol=1e-4, err_msg=key)
        smoothed = x * torch.from_numpy(measured[key].smooth)
        assert measured[key].smooth_amax == pytest.approx(float(smoothed.abs().max()), rel=1e-5)


def fake_int4(weight: Tensor, block: int) -> Tensor:
    """Round a weight [in, out] to symmetric int4 with a scale for each ``block`` rows of a column."""
    blocks = weight.reshape(-1, block, weight.shape[1])
    step = blocks.abs().amax(1, keepdim=True) / 7
    return ((blocks / step).round().clamp(-8, 7) * step).reshape(weight.shape)


def awq_by_hand(weight: Tensor, calls: list[Tensor]) -> np.ndarray:
    """The scale x' = x s with the least output error among those of AWQ's search, s = w^(1-a) / x^a normalized."""
    block = block_of(weight.shape[0])
    x_mean = torch.stack([x.abs().mean(0) for x in calls]).mean(0)
    blocks = weight.abs().reshape(-1, block, weight.shape[1])
    w_mean = (blocks / blocks.amax(1, keepdim=True)).reshape(weight.shape).mean(1)
    best: tuple[float, Tensor] = (float("inf"), x_mean)
    for step in range(11):
        scale = (x_mean ** (step / 10) / w_mean ** (1 - step / 10)).clamp(1e-4, 1e4)
        scale = scale / (scale.max() * scale.min()).sqrt()
        low = fake_int4(weight * scale[:, None], block) / scale[:, None]
        error = sum(float((x @ low - x @ weight).square().mean()) for x in calls)
        best = min(best, (error, scale), key=lambda pair: pair[0])
    return (1 / best[1]).numpy()


def test_awq_scales_are_those_of_a_search_by_hand(measured: Any, inputs: Any) -> None:
    agreeing = 0
    for key, (_, calls) in inputs.items():
        group = siblings(key, inputs)
        wanted = np.mean([awq_by_hand(inputs[k][0], calls) for k in group], axis=0)
        agreeing += np.allclose(measured[key].awq, wanted, rtol=1e-3)
    # float32 and float64 may break a near tie between two strengths differently, in a module or two.
    assert agreeing >= len(inputs) - 2


def test_scaling_does_not_change_the_product(measured: Any, inputs: Any) -> None:
    for key, (weight, calls) in inputs.items():
        x = torch.cat(calls)
        for scale in (measured[key].smooth, measured[key].awq):
            s = torch.from_numpy(scale).double()
            torch.testing.assert_close((x * s) @ (weight / s[:, None]), x @ weight, rtol=1e-9, atol=1e-9)


def fake_int8(x: Tensor, amax: float) -> Tensor:
    return (x / (amax / 127)).round().clamp(-128, 127) * (amax / 127)


def int8_error(x: Tensor, weight: Tensor, amax: float) -> float:
    """Error of static int8: one scale for x, one a column of W [in, out]."""
    step = weight.abs().amax(0, keepdim=True) / 127
    low = (weight / step).round() * step
    return float((fake_int8(x, amax) @ low - x @ weight).square().mean())


def test_smoothing_lowers_the_int8_error_where_channels_stand_out(measured: Any, inputs: Any) -> None:
    for layer in range(2):
        for name in ("gate_proj", "up_proj"):
            key = f"model.layers.{layer}.mlp.{name}"
            weight, calls = inputs[key]
            x, found = torch.cat(calls), measured[key]
            s = torch.from_numpy(found.smooth).double()
            plain = int8_error(x, weight, found.input_amax)
            assert int8_error(x * s, weight / s[:, None], found.smooth_amax) < plain / 4


def test_awq_never_does_worse_than_plain_int4_over_the_model(measured: Any, inputs: Any) -> None:
    ratios = []
    for key, (weight, calls) in inputs.items():
        x, block = torch.cat(calls), block_of(weight.shape[0])
        s = torch.from_numpy(measured[key].awq).double()[:, None]
        errors = [
            float((x @ w - x @ weight).square().mean())
            for w in (fake_int4(weight / s, block) * s, fake_int4(weight, block))
        ]
        ratios.append(errors[0] / errors[1])
    assert np.exp(np.mean(np.log(ratios))) < 1


def test_modules_that_read_one_tensor_share_their_scales(measured: Any) -> None:
    for key in measured:
        for other in siblings(key, measured):
            np.testing.assert_array_equal(measured[key].smooth, measured[other].smooth)
            np.testing.assert_array_equal(measured[key].awq, measured[other].awq)
    assert not np.array_equal(measured["model.layers.0.self_attn.q_proj"].smooth, measured["lm_head"].smooth)


def test_the_model_stays_as_it_was(model: Any, gates: GateStatistics, loop: Callable[[Any], None]) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kinds = {name: type(module) for name, module in model.named_modules()}
    found = measure_ranges(model, gates, loop, methods=())
    assert all(ranges.smooth is None and ranges.awq is None and ranges.input_amax > 0 for ranges in found.values())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert kinds == {name: type(module) for name, module in model.named_modules()}
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("share_a", [True, False])
def test_held_gates_compute_what_constant_gates_do(tiny_model: Callable[..., Any], share_a: bool) -> None:
    model = tiny_model(mose={"r": 4, "alpha": 8.0, "share_a": share_a})
    frames, samples = media(windows(3))
    with torch.no_grad():
        visual, audio = model.encode_visual(frames), model.encode_audio(samples)
        mean = {path: torch.tensor([[0.3, 0.0, 0.7], [0.0, 0.8, 0.2]]) for path in model.experts}
        held = copy.deepcopy(model)
        hold_gates(held, GateStatistics(mean, mean))
        for path, module in model.experts.items():
            module.fixed_gates = mean[path]
        sequence = model.sequence(["yes", "no, not today", None], "emotion", visual, audio)
        torch.testing.assert_close(held(sequence), model(sequence), rtol=1e-4, atol=1e-4)


def test_prompts_leave_out_only_what_no_answer_depends_on(model: Any) -> None:
    batch = windows(6)
    said = [window.transcript for window in batch]
    with torch.no_grad():
        frames, samples = media(batch)
        visual, audio = model.encode_visual(frames), model.encode_audio(samples)
        found = [model(sequence, keep=1)[:, 0] for sequence in prompts(model, said, visual, audio)]
        wanted = [
            model(model.sequence(said, task, visual if seen else None, audio if heard else None), keep=1)[:, 0]
            for task in model.config.prompt.tasks
            for seen, heard in SHOWN
        ]
    order = sorted(torch.cat(found).tolist())
    np.testing.assert_allclose(order, sorted(torch.cat(wanted).tolist()), atol=2e-4)
    assert all((sequence.modality >= 0).all() for sequence in prompts(model, said, visual, audio))


ENCODER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VIDEOMAE = ENCODER | {"model_type": "videomae", "image_size": 32, "patch_size": 8, "num_frames": 2, "tubelet_size": 2}
HUBERT = ENCODER | {
    "model_type": "hubert",
    "conv_dim": (16, 16),
    "conv_kernel": (10, 8),
    "conv_stride": (5, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def test_other_encoders_are_measured_too(
    tiny_model: Callable[..., Any], gates: GateStatistics, loop: Callable[[Any], None]
) -> None:
    """HuBERT's weight-normalized convolution, VideoMAE's separate biases, fused projections, untied heads."""
    decoder = {
        "model_type": "phi3",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "vocab_size": 400,
    }
    decoder |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
    decoder |= {"tie_word_embeddings": False, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    model = tiny_model(vision=VIDEOMAE, audio=HUBERT, decoder=decoder, mose=None)
    found = measure_ranges(model, GateStatistics({}, {}), loop, ("smoothquant",))
    assert set(found) == {range_key(path) for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert all(np.isfinite(ranges.smooth).all() for ranges in found.values())
    loop(model)  # and the original still runs


def test_the_loop_runs_as_often_as_is_announced(model: Any, gates: GateStatistics) -> None:
    for methods in (("smoothquant",), ("awq",)):
        calls = 0

        def loop(model: Any) -> None:
            nonlocal calls
            calls += 1
            calibration_loop(windows(2), lambda stage, fraction: None, 1)(model)

        measure_ranges(model, gates, loop, methods)
        assert calls == passes(methods)


def test_blocks_fit_the_weight() -> None:
    assert [block_of(size) for size in (4096, 11008, 512, 192, 96, 48, 100)] == [128, 128, 128, 64, 32, 16, 128]


def test_without_modelopt_the_error_says_what_to_install(
    model: Any, gates: GateStatistics, loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("modelopt"):
            raise ImportError("No module named 'modelopt'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Failed) as caught:
        measure_ranges(model, gates, loop)
    assert "pip install" in caught.value.remedy


def test_nothing_of_modelopt_reaches_standard_output(
    model: Any, gates: GateStatistics, loop: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    measure_ranges(model, gates, loop, ("smoothquant",))
    assert capsys.readouterr().out == ""
