"""Checkpoints in one file or in shards: loaded, or mapped from disk and not loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mosear.model.checkpoint import load_checkpoint, map_checkpoint, save_checkpoint
from mosear.model.modeling import Mosear
from mosear.model.shards import INDEX, WEIGHTS, open_weights, stored_bytes
from mosear.runtime.errors import BadInput, report

TinyModel = Callable[..., Any]


def bfloat16(folder: Path) -> None:
    """Store a checkpoint's backbone in bfloat16, as users' checkpoints are."""
    state = {name: tensor.bfloat16() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def shard(folder: Path, count: int = 3) -> None:
    """Split a checkpoint's weights as ``save_pretrained`` does: neighbours in different files, and an index."""
    state = load_file(folder / WEIGHTS)
    names = [f"model-{place + 1:05}-of-{count:05}.safetensors" for place in range(count)]
    weight_map = {name: names[place % count] for place, name in enumerate(sorted(state))}
    for shard_name in names:
        part = {name: tensor for name, tensor in state.items() if weight_map[name] == shard_name}
        save_file(part, folder / shard_name, metadata={"format": "pt"})
    total = sum(tensor.nbytes for tensor in state.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    (folder / WEIGHTS).unlink()


@pytest.fixture(scope="module", params=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, bfloat16, with experts."""
    tied = request.param == "tied"
    decoder = tiny_model().config.decoder
    folder = tmp_path_factory.mktemp(request.param) / "one"
    save_checkpoint(tiny_model(decoder={**decoder, "tie_word_embeddings": tied}), folder)
    bfloat16(folder)
    return folder


@pytest.fixture
def sharded(checkpoint: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "sharded"))
    shard(folder)
    return folder


def parameters(model: Mosear) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters(remove_duplicate=False))


@pytest.mark.parametrize("read", [load_checkpoint, map_checkpoint])
def test_shards_are_the_same_checkpoint_as_one_file(
    checkpoint: Path, sharded: Path, read: Callable[[Path], Mosear]
) -> None:
    one, several = parameters(read(checkpoint)), parameters(read(sharded))
    assert list(one) == list(several)
    assert all(torch.equal(one[name], several[name]) for name in one)
    assert len(list(sharded.glob("*-of-00003.safetensors"))) == 3


def test_mapped_equals_loaded(checkpoint: Path, sharded: Path) -> None:
    loaded, mapped = parameters(load_checkpoint(checkpoint)), parameters(map_checkpoint(sharded))
    assert list(loaded) == list(mapped)
    assert len(loaded) > 60
    for name, tensor in mapped.items():
        assert tensor.device.type == "cpu", name
        assert not tensor.requires_grad or ".lora_" in name or name.endswith(".gate"), name
        torch.testing.assert_close(tensor.float(), loaded[name], rtol=0, atol=0, msg=name)


def test_buffers_of_a_mapped_model_are_those_of_a_loaded_one(checkpoint: Path) -> None:
    loaded, mapped = load_checkpoint(checkpoint), map_checkpoint(checkpoint)
    expected = dict(loaded.named_buffers())
    for name, tensor in mapped.named_buffers():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)
    assert expected.keys() == dict(mapped.named_buffers()).keys()


def test_mapped_tensors_keep_the_type_and_values_of_the_file(checkpoint: Path) -> None:
    mapped = {
        name.replace(".base_layer.", "."): tensor for name, tensor in parameters(map_checkpoint(checkpoint)).items()
    }
    with safe_open(checkpoint / WEIGHTS, framework="pt") as file:
        names = list(file.keys())
        for name in names:
            assert mapped[name].dtype == torch.bfloat16
            assert torch.equal(mapped[name], file.get_tensor(name))
    experts = [tensor for name, tensor in mapped.items() if ".lora_" in name or name.endswith(".gate")]
    assert len(experts) == 2 * 2 * 5
    assert {tensor.dtype for tensor in experts} == {torch.float32}


def test_a_tied_vocabulary_is_one_tensor(checkpoint: Path) -> None:
    decoder = map_checkpoint(checkpoint).decoder
    table, head = decoder.get_input_embeddings().weight, decoder.lm_head.weight
    tied = decoder.config.tie_word_embeddings
    assert (table.data_ptr() == head.data_ptr()) == tied
    with safe_open(checkpoint / WEIGHTS, framework="pt") as file:
        assert ("decoder.lm_head.weight" in file.keys()) == (not tied)  # noqa: SIM118


def mappings(path: Path) -> list[tuple[int, int]]:
    """Addresses at which this process has a file mapped."""
    rows = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [row[0].split("-") for row in rows if row[-1] == str(path.resolve())]
    return [(int(low, 16), int(high, 16)) for low, high in spans]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped")
def test_every_stored_parameter_lies_in_a_mapped_file(sharded: Path) -> None:
    model = map_checkpoint(sharded)
    spans = [span for path in sharded.glob("*.safetensors") for span in mappings(path)]
    stored = [t for name, t in parameters(model).items() if ".lora_" not in name and not name.endswith(".gate")]
    for tensor in stored:
        assert any(low <= tensor.data_ptr() and tensor.data_ptr() + tensor.nbytes <= high for low, high in spans)
    outside = torch.zeros(3).data_ptr()
    assert not any(low <= outside < high for low, high in spans)


_MEASURE = """
import sys
from pathlib import Path
from mosear.model import checkpoint

def anonymous():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

checkpoint.map_checkpoint(sys.argv[2])  # libraries, and everything that is made once
before = anonymous()
model = getattr(checkpoint, sys.argv[1])(sys.argv[3])
total = sum(parameter.double().sum() for parameter in model.parameters() if parameter.dim() == 1)
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for its memory")
def test_mapping_takes_no_memory_for_weights(tiny_model: TinyModel, tmp_path: Path) -> None:
    decoder = tiny_model().config.decoder
    save_checkpoint(tiny_model(mose=None), tmp_path / "small")
    large = tiny_model(mose=None, decoder={**decoder, "hidden_size": 512, "intermediate_size": 8192})
    save_checkpoint(large, tmp_path / "large")
    bfloat16(tmp_path / "large")
    shard(tmp_path / "large", 2)
    size = stored_bytes(tmp_path / "large")
    assert size > 50e6

    def grown(how: str) -> int:
        command = [sys.executable, "-c", _MEASURE, how, str(tmp_path / "small"), str(tmp_path / "large")]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert grown("map_checkpoint") < 0.15 * size
    assert grown("load_checkpoint") > 1.8 * size, "the measure sees what is loaded: float32 is twice the file"


def damage_index(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / INDEX).read_text())
    changed = change(content)
    (folder / INDEX).write_text(changed if isinstance(changed, str) else json.dumps(content))


def move_one(content: dict[str, Any]) -> None:
    name = sorted(content["weight_map"])[0]
    others = sorted(set(content["weight_map"].values()) - {content["weight_map"][name]})
    content["weight_map"][name] = others[0]


def forget_one(content: dict[str, Any]) -> None:
    del content["weight_map"][sorted(content["weight_map"])[0]]


def list_one_more(content: dict[str, Any]) -> None:
    content["weight_map"]["left.over"] = sorted(content["weight_map"].values())[0]


def name_another_shard(content: dict[str, Any]) -> None:
    first = sorted(content["weight_map"].values())[0]
    renamed = {name: "absent.safetensors" for name, shard in content["weight_map"].items() if shard == first}
    content["weight_map"].update(renamed)


@pytest.mark.parametrize("read", [load_checkpoint, map_checkpoint])
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (move_one, "list different tensors"),
        (forget_one, "list different tensors"),
        (list_one_more, "left.over"),
        (name_another_shard, "absent.safetensors"),
        (lambda content: "{", INDEX),
        (lambda content: "[]", INDEX),
        (lambda content: "null", INDEX),
        (lambda content: content.pop("weight_map") and None, INDEX),
        (lambda content: content.update(weight_map=[]), INDEX),
        (lambda content: content["weight_map"].update({"a": 3}), INDEX),
        (lambda content: content["weight_map"].update({"a": None}), INDEX),
        (lambda content: content["weight_map"].update({"a": ["b"]}), INDEX),
        (lambda content: content.update(weight_map={}), "missing"),
    ],
)
def test_a_wrong_index_is_refused(
    sharded: Path, read: Any, change: Any, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage_index(sharded, change)
    refused(read, sharded, word, capsys)


@pytest.mark.parametrize("read", [load_checkpoint, map_checkpoint])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "folder", "swapped"])
def test_a_damaged_shard_is_refused(sharded: Path, read: Any, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted(sharded.glob("model-*.safetensors"))[:2]
    data = first.read_bytes()
    first.unlink()
    if damage == "cut":
        first.write_bytes(data[:-100])
    elif damage == "empty":
        first.write_bytes(b"")
    elif damage == "folder":
        first.mkdir()
    elif damage == "swapped":
        first.write_bytes(second.read_bytes())
        second.write_bytes(data)
    refused(read, sharded, first.name, capsys)


def refused(read: Any, folder: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as caught:
        read(folder)
    capsys.readouterr()
    report(caught.value)
    what, remedy = capsys.readouterr().err.splitlines()
    assert what.startswith("error: ")
    assert word in what
    assert remedy.startswith("  fix: ")


def test_the_index_wins_over_a_single_file_beside_it(sharded: Path, checkpoint: Path) -> None:
    """Either would do, but never a mixture of the two."""
    state = load_file(checkpoint / WEIGHTS)
    save_file({name: torch.zeros_like(tensor) for name, tensor in state.items()}, sharded / WEIGHTS)
    assert all(torch.equal(tensor, state[name]) for name, tensor in open_weights(sharded).items())


def test_a_missing_tensor_in_all_shards_is_named(sharded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Index and shards agree with each other, and not with the configuration."""
    first = sorted(sharded.glob("model-*.safetensors"))[0]
    state = load_file(first)
    name = sorted(state)[0]
    del state[name]
    save_file(state, first)
    damage_index(sharded, lambda content: content["weight_map"].pop(name) and None)
    refused(load_checkpoint, sharded, name, capsys)
    refused(map_checkpoint, sharded, name, capsys)
