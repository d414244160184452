"""The check layer by layer on a bundle's own files: what is damaged on disk shows in its layer."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mosear.calibration.record import Calibration
from mosear.export.clips import Example, synthetic_examples
from mosear.export.layer_check import check_layers
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, map_checkpoint, resolve
from mosear.model.modeling import Mosear

pytestmark = pytest.mark.slow

REFERENCE = resolve("reference")
PREFILL, WEIGHTS = "decoder_prefill.onnx", "decoder.weights"


@pytest.fixture(scope="module")
def model() -> Mosear:
    """Mapped, as the build checks what it can't load."""
    return map_checkpoint("reference")


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration.load(REFERENCE, checkpoint_hash(REFERENCE))


@pytest.fixture(scope="module")
def example(model: Mosear) -> Example:
    return synthetic_examples(model.config, 1)[0]


@pytest.fixture(scope="module")
def bundle(reference_bundle: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files that are read, to be damaged and mended."""
    folder = tmp_path_factory.mktemp("layers")
    for name in (PREFILL, WEIGHTS):
        shutil.copy(reference_bundle("fp32") / name, folder)
    return folder


@pytest.fixture
def rows(model: Mosear, calibration: Calibration, example: Example, bundle: Path) -> Iterator[Callable[..., list[Any]]]:
    model.reallocation = calibration.reallocation_for(model.config)

    def check(gates: Any = calibration.gates, progress: Callable[[float], None] = lambda done: None) -> list[Any]:
        return check_layers(model, gates, bundle / PREFILL, example, 512, progress)

    yield check
    assert all(module.fixed_gates is None for module in model.experts.values())


def place(folder: Path, name: str) -> tuple[int, list[int]]:
    """Where a tensor begins in the file of weights, and its dimensions."""
    graph = onnx.load(folder / PREFILL, load_external_data=False).graph
    [tensor] = [tensor for tensor in graph.initializer if tensor.name == name]
    entries = {entry.key: entry.value for entry in tensor.external_data}
    assert entries["location"] == WEIGHTS
    return int(entries["offset"]), list(tensor.dims)


def test_a_good_bundle_differs_in_rounding_only(rows: Callable[..., list[Any]], bundle: Path) -> None:
    seen: list[float] = []
    found = rows(progress=seen.append)
    assert [row.layer for row in found] == [0, 1, 2, 3]
    for row in found:
        assert row.relative < 1e-5
        assert row.cosine > 1 - 1e-9
        assert row.heads_agree in (None, 1.0)
    assert any(row.heads_agree is not None for row in found)
    assert seen == sorted(seen)
    assert len(seen) == 4


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("weight", ["mlp.down_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.up.weight"])
def test_a_weight_damaged_on_disk_shows_in_its_layer(
    rows: Callable[..., list[Any]], bundle: Path, layer: int, weight: str
) -> None:
    offset, dims = place(bundle, f"model.layers.{layer}.{weight}")
    file = np.memmap(bundle / WEIGHTS, np.float32, "r+", offset, tuple(dims))
    before = file.copy()
    try:
        file[:, 3] = -2 * file[:, 3] + 0.1
        file.flush()
        found = rows()
    finally:
        file[:] = before
        file.flush()
    worst = {row.layer: row.relative for row in found}
    # The last layer of a prefill is computed for its last row alone: a text row, which needs no visual term; and keys
    # differ for all rows.
    text_only = layer == 3 and ".up." in weight
    damaged = [each for each, relative in worst.items() if relative > 1e-4]
    assert damaged == [layer] or (text_only and damaged in ([], [layer]))


def test_one_bit_of_the_exponent(rows: Callable[..., list[Any]], bundle: Path) -> None:
    """What a bad disk does."""
    offset, _ = place(bundle, "model.layers.2.mlp.up_proj.weight")
    with (bundle / WEIGHTS).open("r+b") as file:
        file.seek(offset + 4 * 77 + 3)
        [byte] = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x40]))
    try:
        found = rows()
    finally:
        with (bundle / WEIGHTS).open("r+b") as file:
            file.seek(offset + 4 * 77 + 3)
            file.write(bytes([byte]))
    bad = [row.layer for row in found if not row.relative < 1e-4]
    assert bad == [2]


def test_another_models_gates_show_in_every_layer(rows: Callable[..., list[Any]]) -> None:
    """A merged bundle against experts with gates of their own: no layer is the same."""
    assert all(row.relative > 1e-4 for row in rows(gates=None))


def test_other_settings_of_reallocation_show_in_the_choice_of_heads(
    rows: Callable[..., list[Any]], model: Mosear
) -> None:
    assert model.reallocation is not None
    model.reallocation = replace(model.reallocation, threshold=1.0)
    changed = [row for row in rows() if row.heads_agree is not None and row.heads_agree < 1.0]
    assert changed, "no head is reallocated in PyTorch, some are in the bundle"
    assert all(row.relative > 1e-5 for row in changed)


def test_a_loaded_model_gives_the_same_rows(
    rows: Callable[..., list[Any]], calibration: Calibration, example: Example, bundle: Path
) -> None:
    loaded = load_checkpoint("reference")
    loaded.reallocation = calibration.reallocation_for(loaded.config)
    assert check_layers(loaded, calibration.gates, bundle / PREFILL, example, 512, lambda done: None) == rows()
