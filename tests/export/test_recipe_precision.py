"""A recipe's precision resolved to a format a weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mosear.export.precision import float_type, formats_held, formats_of, precision_name, product_weights, resolve
from mosear.export.recipe import Recipe
from mosear.export.recipe_files import find_recipe, shipped_recipes
from mosear.export.targets import TARGETS, Target, find_target
from mosear.runtime.errors import BadInput, UsageError

Q = "model.layers.{}.self_attn.q_proj"
MERGED = [
    *(f"{Q.format(layer)}.{part}" for layer in (0, 1, 10) for part in ("weight", "down.weight", "up.weight")),
    *(f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1, 10)),
    "lm_head.weight",
]
WEIGHTS = {
    "vision": ["encoder.model.encoder.layers.0.mlp.fc1.weight", "projector.weight"],
    "audio": ["encoder.model.layers.0.fc1.weight", "projector.weight"],
    "prefill": MERGED,
    "decode": [name for name in MERGED if ".down." not in name and ".up." not in name],
}
DYNAMIC = [f"{Q.format(0)}.base_layer.weight", f"{Q.format(0)}.gate", f"{Q.format(0)}.lora_A.shared", "lm_head.weight"]


def plan(target: str, weights: dict[str, list[str]] = WEIGHTS, **content: Any) -> dict[str, dict[str, str]]:
    return resolve(Recipe.model_validate(content), find_target(target, None)[0], weights)


def used(formats: dict[str, str]) -> set[str]:
    return set(formats.values())


@pytest.mark.parametrize(
    ("target", "precision", "vision", "prefill", "decode", "head"),
    [
        ("cpu", "fp32", "fp32", "fp32", "fp32", ("fp32", "fp32")),
        ("cpu", "int8", "int8", "int8", "int8", ("int8", "int8")),
        ("cpu", "int4", "int8", "int4", "int4", ("int8", "int8")),
        ("cpu", "mixed", "int8", "int8", "int4", ("int8", "int4")),
        ("cpu", None, "fp32", "fp32", "fp32", ("fp32", "fp32")),
        ("cuda", "int4", "fp16", "int4", "int4", ("fp16", "fp16")),
        ("standard", "int4", "int8", "int4", "int4", ("int8", "int8")),
        ("jetson-agx-orin", "int8", "fp16", "int8", "int8", ("fp16", "fp16")),
        ("jetson-agx-orin", "int4", "fp16", "int4", "int4", ("fp16", "fp16")),
        ("jetson-thor", "fp8", "fp16", "fp8", "fp8", ("fp16", "fp16")),
        ("rtx-40", "fp8", "fp16", "fp8", "fp8", ("fp16", "fp16")),
        ("rtx-30", None, "fp16", "fp16", "fp16", ("fp16", "fp16")),
    ],
)
def test_names_expand_by_backend(
    target: str, precision: str | None, vision: str, prefill: str, decode: str, head: tuple[str, str]
) -> None:
    formats = plan(target, precision=precision)
    assert used(formats["vision"]) == used(formats["audio"]) == {vision}
    assert formats["prefill"][f"{Q.format(1)}.weight"] == prefill
    assert formats["decode"][f"{Q.format(1)}.weight"] == decode
    assert (formats["prefill"]["lm_head.weight"], formats["decode"]["lm_head.weight"]) == head
    assert {graph: list(names) for graph, names in formats.items()} == WEIGHTS


@pytest.mark.parametrize("target", list(TARGETS.values()), ids=list(TARGETS))
def test_every_precision_of_every_target_resolves_to_formats_that_it_has(target: Target) -> None:
    for precision in target.precisions:
        formats = resolve(Recipe(precision=precision), target, {**WEIGHTS, "prefill": [*MERGED, *DYNAMIC[:3]]})  # type: ignore[arg-type]
        for given in formats.values():
            assert used(given) <= set(formats_held(target))


@pytest.mark.parametrize("target", list(TARGETS.values()), ids=list(TARGETS))
def test_a_precision_or_format_that_a_target_lacks_is_refused_with_those_it_has(target: Target) -> None:
    for lacking in {"fp32", "fp16", "int8", "int4", "fp8", "mixed"} - set(target.precisions):
        with pytest.raises(UsageError) as caught:
            plan(target.name, precision=lacking)
        assert all(name in caught.value.remedy for name in target.precisions)
        if lacking != "mixed":
            with pytest.raises(UsageError, match=f"has no {lacking}"):
                plan(target.name, precision={"decoder": lacking})
            with pytest.raises(UsageError, match=f"has no {lacking}"):
                plan(target.name, layers=[{"match": "*.down_proj", "format": lacking}])


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_resolve_on_their_targets(name: str) -> None:
    recipe = find_recipe(name)
    target, _ = find_target(recipe.target, None)
    formats = resolve(recipe, target, WEIGHTS)
    assert formats["prefill"].keys() == set(MERGED)
    if name == "jetson-orin":
        assert formats["vision"]["projector.weight"] == "fp16"
        assert formats["prefill"]["lm_head.weight"] == "int8"
        assert formats["prefill"][f"{Q.format(0)}.weight"] == "int4"


def test_a_table_fills_what_it_leaves_out_from_the_targets_default() -> None:
    formats = plan("cpu", precision={"decoder": {"prefill": "int8", "decode": "int4"}})
    assert used(formats["vision"]) == {"fp32"}
    assert formats["prefill"]["lm_head.weight"] == "fp32"
    assert formats["prefill"][f"{Q.format(0)}.weight"] == "int8"
    assert formats["decode"][f"{Q.format(0)}.weight"] == "int4"


def test_later_layer_rules_win_and_layer_1_is_not_layer_10() -> None:
    rules = [
        {"match": "model.layers.1.*", "format": "fp32"},
        {"match": "*.down_proj", "format": "int8"},
        {"match": "vision.*", "format": "fp32"},
        {"match": "lm_head", "format": "int8"},
    ]
    formats = plan("cpu", precision="int4", layers=rules)
    for graph in ("prefill", "decode"):
        assert formats[graph][f"{Q.format(1)}.weight"] == "fp32"
        assert formats[graph][f"{Q.format(10)}.weight"] == "int4"
        assert formats[graph]["model.layers.1.mlp.down_proj.weight"] == "int8"
        assert formats[graph]["lm_head.weight"] == "int8"
    assert used(formats["vision"]) == {"fp32"}
    assert used(formats["audio"]) == {"int8"}


def test_patterns_see_the_same_names_merged_or_dynamic_and_tied_or_not() -> None:
    weights = {"prefill": [*DYNAMIC[:3], "model.embed_tokens.weight"], "decode": []}
    rules = [{"match": "*.q_proj", "format": "int8"}, {"match": "lm_head", "format": "int8"}]
    formats = plan("cpu", weights, precision="fp32", layers=rules)["prefill"]
    assert formats == dict(zip(weights["prefill"], ("int8", "fp32", "fp32", "int8"), strict=True))


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("*.down_prj", "*.down_proj"), ("modle.layers.0.*", "model.layers.0.*"), ("lm_heads", "lm_head"), ("zzz", None)],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_near_matches(pattern: str, near: str | None) -> None:
    with pytest.raises(BadInput) as caught:
        plan("cpu", precision="int8", layers=[{"match": pattern, "format": "fp32"}])
    assert repr(pattern) in caught.value.what
    assert (f"did you mean {near}" in caught.value.what) if near else ("did you mean" not in caught.value.what)


def test_the_experts_own_weights_keep_what_they_need() -> None:
    cpu = plan("cpu", precision="int4")["prefill"]
    assert cpu[f"{Q.format(0)}.down.weight"] == cpu[f"{Q.format(0)}.up.weight"] == "int8"
    orin = plan("jetson-agx-orin", precision="int8")["prefill"]
    assert orin[f"{Q.format(0)}.down.weight"] == "fp16"
    weights = {"prefill": DYNAMIC, "decode": DYNAMIC}
    assert list(plan("cpu", weights, precision="int4")["decode"].values()) == ["int4", "fp32", "int8", "int8"]
    assert list(plan("standard", weights, precision="int4")["decode"].values()) == ["int4", "fp16", "int8", "int8"]
    with pytest.raises(UsageError, match="only the experts' own weights"):
        plan("cpu", precision="int8", layers=[{"match": "*.up", "format": "int4"}])


def test_a_graph_has_one_floating_type_and_the_decoders_two_graphs_the_same() -> None:
    with pytest.raises(UsageError, match="decoder would hold weights in both fp16 and fp32"):
        plan("cuda", precision={"decoder": {"prefill": "fp16", "decode": "int4"}, "lm_head": "fp32"})
    with pytest.raises(UsageError, match="vision would hold"):
        plan("cuda", precision="fp16", layers=[{"match": "vision.projector", "format": "fp32"}])
    assert used(plan("cuda", precision={"vision": "fp32", "decoder": "int4"})["vision"]) == {"fp32"}
    cuda, cpu = TARGETS["cuda"], TARGETS["cpu"]
    assert (float_type(["int4"], cuda), float_type(["int4"], cpu), float_type(["int4", "fp32"], cuda)) == (
        "fp16", "fp32", "fp32"
    )  # fmt: skip


def test_one_word_for_the_manifest() -> None:
    cpu = TARGETS["cpu"]
    rule = {"match": "lm_head", "format": "int4"}
    words = [
        precision_name(Recipe.model_validate(content), cpu)
        for content in (
            {}, {"precision": "int4"}, {"precision": {"decoder": "int8"}}, {"precision": "int8", "layers": [rule]},
            {"precision": dict.fromkeys(("vision", "audio", "decoder", "lm_head"), "int8")},
        )
    ]  # fmt: skip
    assert words == ["fp32", "int4", "mixed", "mixed", "int8"]
    assert formats_of(Recipe(), cpu)["lm_head"] == {"prefill": "fp32", "decode": "fp32"}


def hand_made() -> ModelProto:
    """Products, and everything that is 2-D and not a candidate."""
    square = np.ones((4, 4), np.float32)
    names = ["good", "gemm", "table", "left", "twice", "turned", "shared", "both"]
    tensors = [numpy_helper.from_array(square, name) for name in names]
    tensors.append(
        TensorProto(name="large", data_type=TensorProto.FLOAT, dims=[4, 9], data_location=TensorProto.EXTERNAL)
    )
    nodes = [
        helper.make_node("MatMul", ["x", "good"], ["a"]),
        helper.make_node("Gemm", ["a", "gemm"], ["b"], transB=1),
        helper.make_node("Gather", ["table", "i"], ["c"]),
        helper.make_node("MatMul", ["left", "b"], ["d"]),
        helper.make_node("MatMul", ["d", "twice"], ["e"]),
        helper.make_node("Add", ["e", "twice"], ["f"]),
        helper.make_node("Gemm", ["f", "turned"], ["g"], transA=1),
        helper.make_node("MatMul", ["g", "shared"], ["h"]),
        helper.make_node("MatMul", ["h", "shared"], ["j"]),
        helper.make_node("MatMul", ["left", "both"], ["k"]),
        helper.make_node("MatMul", ["j", "large"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])
    i = helper.make_tensor_value_info("i", TensorProto.INT64, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 9])
    return helper.make_model(helper.make_graph(nodes, "g", [x, i], [y], tensors))


def test_only_the_constant_side_of_products_is_a_candidate() -> None:
    assert product_weights(hand_made()) == ["good", "gemm", "shared", "large"]


def test_candidates_of_a_decoder_are_its_linear_modules(tiny_model: Callable[..., Any]) -> None:
    import torch

    from mosear.export.graphs.decoder import trace_decoder

    decoder = {"model_type": "llama", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1,
               "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 400}  # fmt: skip
    model = tiny_model(decoder=decoder, mose=None)
    linear = {name for name, module in model.decoder.named_modules() if isinstance(module, torch.nn.Linear)}
    found = product_weights(trace_decoder(model.decoder, reallocation=model.reallocation).graph)
    assert {name.removesuffix(".weight") for name in found} == linear
