"""The components as optimum's exporter configurations, and the build as its command."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export_command import run_export
from test_signatures import forward
from typer.testing import CliRunner

pytest.importorskip("optimum.exporters.base")

from optimum.exporters.base import ExporterConfig

from mosear.export.cli import app
from mosear.export.graphs.signatures import signatures
from mosear.export.optimum.configurations import exporter_configs

OPTIMUM = (sys.executable, "-c", "from optimum.commands.optimum_cli import main; main()")
REGISTER = Path(__file__).parents[2] / "export" / "optimum_register" / "mosear.py"


def run_optimum(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*OPTIMUM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


def test_configurations_say_what_the_signatures_say(tiny_model: Callable[..., Any]) -> None:
    config = tiny_model().config
    configurations = exporter_configs(config)
    assert list(configurations) == ["vision", "audio", "prefill", "decode"]
    for component, signature in signatures(config).items():
        configuration = configurations[component]
        assert isinstance(configuration, ExporterConfig)
        assert list(configuration.inputs) == signature.input_names
        assert list(configuration.outputs) == signature.output_names
    assert configurations["vision"].inputs == {"frames": {0: "N"}}
    assert configurations["decode"].inputs["past_key_1"] == {0: "batch", 2: "past"}
    assert configurations["decode"].outputs["present_value_0"] == {0: "batch", 2: "total"}
    assert configurations["prefill"].outputs["logits"] == {0: "batch"}


@torch.no_grad()
def test_dummy_inputs_run_through_the_pytorch_modules(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model()
    sizes = {"batch_size": 3, "sequence_length": 7, "past_length": 4}
    for component, configuration in exporter_configs(model.config).items():
        given = configuration.generate_dummy_inputs(framework="pt", **sizes)
        assert list(given) == list(configuration.inputs)
        made = forward(model, component, given)
        assert len(made) == len(configuration.outputs)
        assert all(tensor.shape[0] == 3 and torch.isfinite(tensor).all() for tensor in made)
        if component in ("prefill", "decode"):
            rows = 1 if component == "decode" else 7
            assert given["inputs_embeds"].shape[1] == rows
            assert given["key_modality"].shape[1] == made[1].shape[2] == rows + 4
            assert given["position_ids"].max() < model.decoder.config.max_position_embeddings


def test_dummy_inputs_in_numpy_have_the_signatures_types(tiny_model: Callable[..., Any]) -> None:
    config = tiny_model().config
    for component, configuration in exporter_configs(config).items():
        given = configuration.generate_dummy_inputs(framework="np", float_dtype="fp16")
        assert {name: array.dtype.name for name, array in given.items()} == {
            tensor.name: tensor.dtype for tensor in signatures(config)[component].inputs
        }


def test_the_normalized_configuration_speaks_optimums_names(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model()
    normalized = exporter_configs(model.config)["decode"]._normalized_config
    assert normalized.hidden_size == 32
    assert normalized.num_layers == 2
    assert normalized.num_key_value_heads == 2
    assert normalized.image_size == 32
    assert normalized.audio_sequence_length == 16000
    assert not normalized.has_attribute("no_such_thing")


def registered() -> Any:
    spec = importlib.util.spec_from_file_location("registered_mosear", REGISTER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["-h"], [], ["a", "-o", "b", "--precision=int8"], ["a", "--", "-x"], ["--no-such-flag", "3"], ["-1"]],
)
def test_the_command_reads_no_argument_itself(arguments: list[str]) -> None:
    parser = ArgumentParser("optimum-cli")
    registered().MosearExportCommand(parser.add_subparsers())
    assert parser.parse_args(["mosear", *arguments]).arguments == arguments


def test_starting_optimum_does_not_import_torch() -> None:
    code = (
        "import importlib.util as u, sys\n"
        "import optimum.commands.base, optimum.commands.export.base\n"
        "before = set(sys.modules)\n"
        f"s = u.spec_from_file_location('r', {str(REGISTER)!r}); s.loader.exec_module(u.module_from_spec(s))\n"
        "print(sorted(n for n in set(sys.modules) - before if n.split('.')[0] in ('torch', 'mosear', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_that_of_the_build(tmp_path: Path) -> None:
    done = run_optimum("export", "mosear", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    build = run_export("build", "--help").stdout
    flags = {word.strip("│ ,") for word in build.split() if word.startswith("--")}
    assert {"--precision", "--dry-run", "--output"} <= flags
    assert flags <= set(done.stdout.replace(",", " ").split())
    assert "optimum-cli export mosear" in done.stdout


def test_it_makes_the_plan_that_the_build_makes(tmp_path: Path) -> None:
    flags = ["--precision", "int8", "--mose", "dynamic", "--dry-run", "--json"]
    other = run_optimum("export", "mosear", "reference", tmp_path / "bundle", *flags, cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    own = CliRunner().invoke(app, ["build", "reference", "-o", str(tmp_path / "bundle"), *flags])
    assert json.loads(other.stdout) == json.loads(own.stdout)
    assert json.loads(other.stdout)["precision"] == "int8"


@pytest.mark.parametrize("placed", [[], ["-o"]], ids=["output in second place", "output as a flag"])
def test_it_ends_with_the_builds_exit_codes(
    tmp_path: Path, placed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = ArgumentParser("optimum-cli")
    registered().MosearExportCommand(parser.add_subparsers())
    given = parser.parse_args(["mosear", "reference", *placed, str(tmp_path / "bundle"), "--target", "toaster"])
    with pytest.raises(SystemExit) as caught:
        given.func(given).run()
    assert caught.value.code == 2
    assert "toaster" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
