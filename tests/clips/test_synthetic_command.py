"""`python -m mosear.clips.synthetic`, as its users run it."""

import csv
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mosear.clips.synthetic.__main__ import app, plan

runner = CliRunner()


def rows(folder) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_module_run_writes_balanced_clips_with_two_workers_as_with_one(tmp_path) -> None:
    command = [sys.executable, "-m", "mosear.clips.synthetic", str(tmp_path / "a"), "--count", "3", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "a" / "labels.csv")
    assert done.stderr == ""
    assert runner.invoke(app, [str(tmp_path / "b"), "--count", "3"]).exit_code == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["clip_00000.mp4", "clip_00001.mp4", "clip_00002.mp4", "labels.csv"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert {row["subset"] for row in rows(tmp_path / "a")} == {"video_aligned", "audio_aligned", "consistent"}
    assert {row["name"] for row in rows(tmp_path / "a")} == set(names) - {"labels.csv"}


def test_a_set_is_balanced_and_a_longer_one_begins_with_the_shorter() -> None:
    clips = plan(36, 5)
    cells = [(spec.subset, spec.label) for _, spec in clips]
    assert {cells.count(cell) for cell in cells} == {2}
    assert len(set(cells)) == 18
    assert plan(9, 5) == clips[:9]
    assert plan(9, 6)[0] != clips[0]


def test_one_subset(tmp_path) -> None:
    result = runner.invoke(app, [str(tmp_path), "--count", "2", "--subset", "audio_aligned"])
    assert result.exit_code == 0, result.stderr
    assert [row["subset"] for row in rows(tmp_path)] == ["audio_aligned"] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--count", "0"],
        ["--workers", "0"],
        ["--seed", "-1"],
        ["--subset", "mixed"],
        ["--count", "many"],
        ["--nonsense"],
    ],
)
def test_bad_usage_is_code_2_and_writes_nothing(arguments, tmp_path) -> None:
    result = runner.invoke(app, [str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_or_a_full_folder_is_bad_input_and_stays_as_it_was(tmp_path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for out in (mine, tmp_path):
        result = runner.invoke(app, [str(out), "--count", "1"])
        assert result.exit_code == 3
        assert len(result.stderr.splitlines()) == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made_is_a_failure_without_traceback(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    result = runner.invoke(app, [str(tmp_path / "file" / "out"), "--count", "1"])
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 2
