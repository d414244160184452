"""The datasets by name, and options that they don't take."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from mosear.clips.benchmarks import dfew, mafw, meld, ravdess
from mosear.clips.benchmarks.registry import DATASETS, ReadOptions, read_benchmark
from mosear.clips.benchmarks.words import to_model
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.modality import LABELS

OPTIONS = {
    "split": "test",
    "fold": 1,
    "labels": Path("x.csv"),
    "columns": {"name": "x"},
    "media": Path("x"),
    "separator": ";",
}


def test_every_dataset_of_the_list_tells_what_it_is() -> None:
    assert list(DATASETS) == ["ca-mer", "mer2023", "dfew", "emer", "mafw", "ravdess", "meld", "csv"]
    for reader in DATASETS.values():
        assert reader.description
        assert reader.layout.startswith("ROOT/")
        assert reader.measured_by
        assert reader.takes <= {field.name for field in fields(ReadOptions)}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_means_nothing_is_refused(dataset, option, tmp_path) -> None:
    options = ReadOptions(**{option: OPTIONS[option]})
    if option in DATASETS[dataset].takes:
        with pytest.raises((BadInput, UsageError)) as caught:
            read_benchmark(dataset, tmp_path, options)
        assert "takes no" not in caught.value.what
    else:
        with pytest.raises(UsageError, match=f"{dataset} takes no --"):
            read_benchmark(dataset, tmp_path, options)


@pytest.mark.parametrize(("word", "near"), [("camer", "ca-mer"), ("MER-2023", "mer2023"), ("RAVDES", "ravdess")])
def test_an_unknown_dataset_is_told_with_the_nearest(word, near, tmp_path) -> None:
    with pytest.raises(UsageError, match="no dataset") as caught:
        read_benchmark(word, tmp_path, ReadOptions())
    assert f"Did you mean {near}?" in caught.value.remedy
    assert "mafw, ravdess, meld" in caught.value.remedy


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_root_that_is_not_there_or_no_folder(dataset, tmp_path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        read_benchmark(dataset, tmp_path / "absent", ReadOptions())
    with pytest.raises(BadInput, match="can't be read: File name too long"):
        read_benchmark(dataset, tmp_path / ("x" * 300), ReadOptions())
    (tmp_path / "file.csv").touch()
    with pytest.raises(BadInput):
        read_benchmark(dataset, tmp_path / "file.csv", ReadOptions())


def test_words_of_the_model_are_those_of_mer2023() -> None:
    for labels in (dfew.LABELS, mafw.LABELS, meld.LABELS, ravdess.LABELS):
        assert set(to_model(labels).values()) == set(LABELS)
        assert set(to_model(labels)) <= set(labels)


def test_reading_needs_no_library_that_a_device_lacks() -> None:
    code = "import sys, mosear.clips.benchmarks.registry; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "onnx", "cv2", "pandas", "scipy"} & set(loaded)
