"""`mosear-eval` as a process: its streams, its exit codes, and what is left when it is stopped."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import runtime_fakes
import runtime_media
from runtime_commands import finished, two_lines

from mosear.clips.benchmarks.registry import DATASETS


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mosear.evaluation.cli", *map(str, arguments)]


def mosear_eval(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return finished(command(*arguments), **{"COLUMNS": "110", **variables})


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_fakes.make_bundle(tmp_path_factory.mktemp("commanded") / "toy")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CA-MER in small: six clips, two a subset."""
    folder = tmp_path_factory.mktemp("ca-mer")
    rows = [("name", "subset", "label")]
    for place in range(6):
        runtime_media.write(
            folder / f"{place}.mp4", 1.0, frames=lambda index, grey=40 * place: runtime_media.flat((64, 48), grey)
        )
        rows.append(
            (f"{place}.mp4", ("video_aligned", "audio_aligned", "consistent")[place % 3], ("sad", "happy")[place % 2])
        )
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_a_run_for_people(toy: Path, root: Path, tmp_path: Path) -> None:
    done = mosear_eval("run", toy, "--dataset", "ca-mer", "--root", root, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run")
    for word in ("modality gap", "video aligned", "face alone", "voice alone", "6 clips"):
        assert word in done.stdout
    assert "licence: " in done.stderr
    assert "This is a toy and reads nobody." in done.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_a_run_for_programs_and_again(toy: Path, root: Path, tmp_path: Path) -> None:
    arguments = ("run", toy, "--dataset", "ca-mer", "--root", root, "-o", tmp_path / "run", "--json", "--no-report")
    first, second = mosear_eval(*arguments), mosear_eval(*arguments)
    assert json.loads(first.stdout) == json.loads(second.stdout)
    figures = json.loads(first.stdout)
    lines = [json.loads(line) for line in (tmp_path / "run" / "clips.jsonl").read_text().splitlines()]
    right = {name: [each["predicted"] == each["label"] for each in lines if each["subset"] == name]
             for name in ("video_aligned", "audio_aligned")}  # fmt: skip
    gap = sum(right["audio_aligned"]) / 2 - sum(right["video_aligned"]) / 2
    assert figures["figures"]["modality_gap"]["value"] == pytest.approx(gap)
    assert not (tmp_path / "run" / "report.html").exists()


def test_dry_run_does_nothing(toy: Path, root: Path, tmp_path: Path) -> None:
    arguments = ("run", toy, "--dataset", "ca-mer", "--root", root, "-o", tmp_path / "run", "--dry-run", "--limit", 4)
    done = mosear_eval(*arguments, "--json")
    plan = json.loads(done.stdout)
    assert plan["clips"] == 4
    assert plan["answers"] == list(runtime_fakes.LABELS)
    assert not (tmp_path / "run").exists()
    assert "clips" in mosear_eval(*arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--dataset", "camer"), 2, "ca-mer"),
        (("--dataset", "ca-mer", "--fold", 1), 2, "--fold"),
        (("--dataset", "ca-mer", "--map", "sad"), 2, "no pair"),
        (("--dataset", "ca-mer", "--map", "sad=glum"), 2, "glum is no answer"),
        (("--dataset", "ca-mer", "--base-reallocation", "0.1,0.5"), 2, "--ablate"),
        (("--dataset", "ca-mer", "--base-reallocation", "2,0.5"), 2, "out of range"),
        (("--dataset", "ca-mer", "--ablate"), 2, "baked"),
        (("--dataset", "ca-mer", "--window", 99), 2, "out of range"),
        (("--dataset", "ca-mer", "--synonyms", "/not/there.json"), 3, "no table of synonyms"),
        (("--dataset", "mer2023",), 3, "labels"),
    ],
)  # fmt: skip
def test_bad_input_gets_two_lines(
    toy: Path, root: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    done = mosear_eval("run", toy, "--root", root, "-o", tmp_path / "run", *arguments)
    assert done.returncode == code, done.stderr
    told = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("licence: "))
    assert len(two_lines(told)) == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_no_bundle_and_no_run(root: Path, tmp_path: Path) -> None:
    done = mosear_eval("run", tmp_path / "nothing", "--dataset", "ca-mer", "--root", root)
    assert (done.returncode, "neither a bundle nor a checkpoint" in done.stderr) == (3, True)
    done = mosear_eval("compare", tmp_path, tmp_path)
    assert (done.returncode, "holds no run" in done.stderr) == (3, True)
    for arguments in (("judge", tmp_path), ("study", tmp_path, tmp_path, "-o", tmp_path / "s.html")):
        assert mosear_eval(*arguments).returncode == 3


def test_compare(toy: Path, root: Path, tmp_path: Path) -> None:
    for name, more in (("a", ()), ("b", ("--window", 0.5))):
        mosear_eval("run", toy, "--dataset", "ca-mer", "--root", root, "-o", tmp_path / name, "--no-report", *more)
    done = mosear_eval("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "c.html")
    assert done.returncode == 0, done.stderr
    assert "McNemar" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "c.html")
    found = json.loads(mosear_eval("compare", tmp_path / "a", tmp_path / "a", "--json").stdout)
    assert found["changed"] == []
    assert all(each["difference"]["value"] == 0 for each in found["figures"].values())


def test_judged_by_a_command(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    runtime_media.write(tmp_path / "video" / "sample_1.mp4", 1.0)
    (tmp_path / "gt-eng.csv").write_text(
        'names,emotions,subtitles,reasons\nsample_1,"sad",hello,"He looks down, so he seems sad."\n'
    )
    run = tmp_path / "run"
    done = mosear_eval("run", toy, "--dataset", "emer", "--root", tmp_path, "-o", run, "--reason", "--no-report")
    assert done.returncode == 0, done.stderr
    judge = tmp_path / "judge.py"
    judge.write_text('import sys; assert "He looks down" in sys.stdin.read(); print(\'{"clue": 3, "label": 7.5}\')')
    assert json.loads((run / "clips.jsonl").read_text())["reason"]
    done = mosear_eval("judge", run, "--command", f"{sys.executable} {judge}", "--json")
    assert done.returncode == 0, done.stderr
    assert {name: each["value"] for name, each in json.loads(done.stdout)["figures"].items()} == {
        "judged_clue_overlap": 3,
        "judged_label_overlap": 7.5,
    }
    for arguments in (
        (),
        ("--command", "cat", "--endpoint", "http://127.0.0.1:1"),
        ("--endpoint", "http://127.0.0.1:1"),
    ):
        assert mosear_eval("judge", run, *arguments).returncode == 2


@pytest.mark.parametrize(("stop", "workers"), [(signal.SIGINT, ()), (signal.SIGTERM, ("--workers", 2))])
def test_a_stopped_run_keeps_what_was_answered(
    toy: Path, root: Path, tmp_path: Path, stop: signal.Signals, workers: tuple[object, ...]
) -> None:
    many = tmp_path / "many.csv"
    many.write_text("name,subset,label,media\n" + "".join(f"{n},consistent,sad,{n % 6}.mp4\n" for n in range(5000)))
    options = (
        "--dataset",
        "ca-mer",
        "--root",
        root,
        "--labels",
        many,
        "--column",
        "media=media",
        "-o",
        tmp_path / "run",
    )
    # A shell's background job ignores SIGINT, and so would its children.
    process = subprocess.Popen(
        command("run", toy, *options, *workers),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    clips = tmp_path / "run" / "clips.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and (not clips.is_file() or clips.read_text().count("\n") < 3):
        time.sleep(0.05)
    process.send_signal(stop)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    kept = [json.loads(line)["name"] for line in clips.read_text().splitlines()]
    assert 3 <= len(kept) < 5000
    assert len(set(kept)) == len(kept)


def test_datasets_are_listed() -> None:
    assert list(json.loads(mosear_eval("datasets", "--json").stdout)) == list(DATASETS)
    assert "mer2023" in mosear_eval("datasets").stdout


def test_a_bundle_needs_no_training_library(toy: Path, root: Path, tmp_path: Path) -> None:
    """On a Jetson there is neither PyTorch nor matplotlib nor scipy."""
    missing = ["torch", "transformers", "onnx", "safetensors", "cv2", "scipy", "matplotlib", "krippendorff"]
    missing += ["httpx", "ray", "sklearn", "pandas", "yaml", "psutil"]
    code = (
        "import sys\n"
        f"for name in {missing!r}: sys.modules[name] = None\n"
        "from mosear.evaluation.cli import main\n"
        "sys.argv = ['mosear-eval', *sys.argv[1:]]\n"
        "main()\n"
    )
    arguments = ["run", toy, "--dataset", "ca-mer", "--root", root, "-o", tmp_path / "run", "--no-report", "--json"]
    run = lambda *more: subprocess.run(  # noqa: E731
        [sys.executable, "-c", code, *map(str, (*arguments, *more))], capture_output=True, text=True, check=False
    )
    done = run()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["answered"] == 6
    arguments.remove("--no-report")
    done = run()
    assert (done.returncode, "pip install 'mosear[eval]'" in done.stderr) == (1, True)
    arguments[1] = "reference"
    arguments[-2] = tmp_path / "other"
    done = run()
    assert (done.returncode, "pip install 'mosear[export,eval]'" in done.stderr) == (1, True)
