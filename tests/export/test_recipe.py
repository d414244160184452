"""Recipes: what ships, what a file may say, what it may not, and what wins over it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.export.recipe import Components, Phases, Recipe
from mosear.export.recipe_files import FLAGS, find_recipe, override, read_recipe, shipped_recipes
from mosear.export.strict_yaml import parse_yaml
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import BadInput, MosearError, UsageError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_three_recipes_ship_and_are_found_by_name() -> None:
    assert list(shipped_recipes()) == ["cpu-balanced", "cpu-exact", "jetson-orin"]
    balanced = find_recipe("cpu-balanced").precision
    assert isinstance(balanced, Components)
    assert balanced.decoder == Phases(prefill="int8", decode="int4")
    exact = find_recipe("cpu-exact")
    assert (exact.precision, exact.mose.mode) == ("fp32", "dynamic")
    orin = find_recipe("jetson-orin")
    assert isinstance(orin.precision, Components)
    assert (orin.precision.vision, orin.precision.decoder, orin.precision.lm_head) == ("fp16", "int4", "int8")


def test_an_empty_file_is_the_default_recipe(write: Write) -> None:
    assert read_recipe(write("# nothing but a remark\n")) == Recipe()


def test_every_key_is_read(write: Write, tmp_path: Path) -> None:
    recipe = read_recipe(
        write(
            "target: my-board.yaml\nprecision: mixed\nlayers:\n- {match: '*.down_proj', format: int8}\n"
            "calibration: clips/cal\nmose: {mode: merged, max_kl: 1e-3, min_agreement: 0.5, rank: 4}\n"
            "reallocation: {rate: 0.25, layers: all}\nlm_head: labels\ncapacity: 1024\n"
            "checks: {clips: /data/val, tolerances: {label_agreement: 0.9, accuracy_lost: null}, sensitivity: true}\n"
            "intended_use: workplace\nuse_reason: 'safety: drowsy drivers'\n"
        )
    )
    assert recipe.target == str(tmp_path / "my-board.yaml")
    assert recipe.calibration == tmp_path / "clips/cal"
    assert recipe.checks.clips == Path("/data/val")
    assert recipe.bounds == {
        "label_agreement": 0.9, "accuracy_lost": None, "mose_label_kl": 1e-3, "mose_label_agreement": 0.5
    }  # fmt: skip
    assert recipe.layers[0].match == "*.down_proj"
    assert (recipe.lm_head, recipe.capacity, recipe.mose.rank) == ("labels", 1024, 4)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("target: cpu\nprecison: int8\n", 2, ["'precison'", "did you mean precision"]),
        ("precision:\n  decoder: int4\n  vison: int8\n", 3, ["'precision.vison'", "did you mean vision"]),
        ("precision:\n  decoder: {prefil: int8, decode: int4}\n", 2, ["prefil"]),
        ("mose:\n  # remark\n  raank: 4\n", 3, ["'mose.raank'", "did you mean rank"]),
        ("layers:\n- {match: a, format: int8}\n- {match: b, format: int8, phase: x}\n", 3, ["'layers.1.phase'"]),
        ("reallocation:\n  rows: text\n  treshold: 0.1\n", 3, ["did you mean threshold"]),
        ("checks:\n  tolerances:\n    label_agreemnt: 1\n", 2, ["'label_agreemnt'", "did you mean label_agreement"]),
        ("checks:\n  tolerances: {mose_label_kl: 1}\n", 2, ["mose.max_kl"]),
        ("checks:\n  tolerances: {label_agreement: 1.5}\n", 2, ["1.5"]),
        ("checks:\n  tolerances: {label_kl: .nan}\n", 2, ["nan"]),
        ("precision: int5\n", 1, ["'int5'", "did you mean"]),
        ("capacity: 64\nprecision: [int8]\n", 2, ["precision"]),
        ("capacity: 63\n", 1, ["capacity is 63"]),
        ("capacity: '512'\n", 1, ["capacity is '512'"]),
        ("checks: {examples: true}\n", 1, ["checks.examples is True"]),
        ("checks: {clips: val, examples: 100}\n", 1, ["give one of the two"]),
        ("reallocation: {rate: 1}\n", 1, ["reallocation.rate is 1"]),
        ("mose: {mode: dynamic, rank: 4}\n", 1, ["rank would do nothing"]),
        ("layers:\n- match: a\n", 2, ["layers.0.format is missing"]),
        ("intended_use: ''\n", 1, ["intended_use is ''"]),
        ("target: cpu\ntarget: cuda\n", 2, ["'target' stands twice"]),
        ("mose:\n  mode: auto\n  mode: merged\n", 3, ["'mode' stands twice"]),
        ("target: &a cpu\nlm_head: *a\n", 1, ["anchors and aliases"]),
        ("target: !!python/object/apply:os.getcwd []\n", 1, ["constructor"]),
        ("- target\n", 1, ["a mapping is needed"]),
        ("target: [cpu\n", 2, ["expected"]),
        ("1: cpu\n", 1, ["key 1 is not a text"]),
    ],
)
def test_a_wrong_file_is_refused_by_key_and_line(write: Write, text: str, line: int, words: list[str]) -> None:
    path = write(text)
    with pytest.raises(BadInput) as caught:
        read_recipe(path)
    message = f"{caught.value.what} | {caught.value.remedy}"
    assert message.startswith(f"{path}:{line}: "), message
    for word in words:
        assert word in message
    assert "pydantic" not in message


def test_words_of_yaml_1_1_are_texts_and_its_odd_numbers_plain() -> None:
    document = parse_yaml("a: off\nb: yes\nc: 1e-3\nd: 1:30\ne: 010\nf: ~\ng: .5\nh: -.inf\ni: 2020-01-01", "it")
    assert document.content == {
        "a": "off", "b": "yes", "c": 1e-3, "d": "1:30", "e": 10, "f": None, "g": 0.5, "h": float("-inf"),
        "i": "2020-01-01",
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("target:precision mose{}[]&*!<|>-\n#'\"%@`?\t\\0aé\x00"), max_size=60))
def test_no_text_makes_anything_but_a_recipe_or_a_plain_error(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert isinstance(parse_yaml(text, "it").content, dict)


@pytest.mark.parametrize("data", [b"\xff\xfetarget", b"a: " + b"x" * 70_000, b"[" * 20_000])
def test_what_is_no_small_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"big\.yaml"):
        find_recipe(path)


def test_a_missing_file_and_a_missing_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        find_recipe(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="can't be read"):
        find_recipe(tmp_path)
    with pytest.raises(UsageError, match="did you mean cpu-balanced") as caught:
        find_recipe("cpu-balance")
    assert "jetson-orin" in caught.value.remedy


def test_flags_win_and_what_is_not_given_stays() -> None:
    recipe = Recipe.model_validate({"target": "cpu", "capacity": 256, "mose": {"mode": "merged", "rank": 4}})
    assert override(recipe, **dict.fromkeys(FLAGS)) == recipe
    changed = override(recipe, target="cuda", capacity=None, rank=8)
    assert (changed.target, changed.capacity, changed.mose.rank, changed.mose.mode) == ("cuda", 256, 8, "merged")
    assert recipe.target == "cpu"


def test_a_precision_flag_replaces_table_and_layer_rules() -> None:
    content = {"precision": {"decoder": "int4"}, "layers": [{"match": "*", "format": "int4"}]}
    changed = override(Recipe.model_validate(content), precision="fp32")
    assert (changed.precision, changed.layers) == ("fp32", [])


def test_a_flag_drops_what_it_makes_idle() -> None:
    recipe = Recipe.model_validate(
        {
            "mose": {"max_kl": 0.1, "rank": 4},
            "intended_use": "workplace",
            "use_reason": "safety",
            "checks": {"clips": "v"},
        }
    )
    assert override(recipe, mose="dynamic").mose.model_dump(exclude_none=True) == {"mode": "dynamic"}
    assert override(recipe, intended_use="research").use_reason is None
    assert override(recipe, examples=30).checks.clips is None
    assert override(recipe, sensitivity=True).checks.clips == Path("v")


@pytest.mark.parametrize(
    "flags",
    [{"precision": "int5"}, {"mose": "sometimes"}, {"rank": 0}, {"mose": "dynamic", "rank": 4}, {"capacity": 1},
     {"clips": Path("a"), "examples": 40}],
)  # fmt: skip
def test_a_wrong_flag_is_a_usage_error(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        override(Recipe(), **flags)


def test_a_flag_that_does_not_exist_is_the_programs_fault() -> None:
    with pytest.raises(TypeError, match="no flag is called typo"):
        override(Recipe(), typo=1)


def test_reallocation_as_the_checkpoint_has_it_off_or_changed() -> None:
    own = Reallocation(0.3, 0.5, "last", (0, 2))

    def of(value: Any, has: Reallocation | None = own) -> Reallocation | None:
        return Recipe.model_validate({"reallocation": value}).reallocation_of(has)

    assert of("checkpoint") is own
    assert of("off") is None
    assert of({"rate": 0.1}) == Reallocation(0.1, 0.5, "last", (0, 2))
    assert of({"layers": "all", "rows": "all"}) == Reallocation(0.3, 0.5, "all", None)
    assert of({"layers": [3, 1, 3]}) == Reallocation(0.3, 0.5, "last", (1, 3))
    assert of({"rate": 0.1, "threshold": 0.2}, None) == Reallocation(0.1, 0.2)
    with pytest.raises(MosearError, match="no attention reallocation"):
        of({"rate": 0.1}, None)


def test_the_documented_recipe_is_one_and_shows_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    content = parse_yaml(shown[1], "docs/recipes.md").content
    Recipe.model_validate(content)
    for path in [(name,) for name in Recipe.model_fields] + list(FLAGS.values()):
        inner: Any = content
        for key in path:
            assert key in inner, f"{'.'.join(path)} is not documented"
            inner = inner[key]
