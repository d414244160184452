"""Files of answers: whole lines only, whatever happens to the disk."""

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sinks_fakes import answer, until

from mosear.runtime.capture.stream import Condition
from mosear.runtime.errors import BadInput
from mosear.runtime.modality import LABELS
from mosear.runtime.results import csv_header
from mosear.runtime.sinks import SinkLost
from mosear.runtime.sinks.fanout import open_sinks
from mosear.runtime.sinks.lines import Lines
from mosear.runtime.sinks.specs import parse_sink

HERE = Path(__file__).parent


def lines(path: Path) -> Lines:
    return Lines(parse_sink(f"{path.suffix[1:]}:{path}", {}), LABELS)


def write(path: Path, *numbers: int, **changes) -> None:
    sink = lines(path)
    for number in numbers:
        sink.write(answer(number, **changes))
    sink.close()


def sequences(path: Path) -> list[int]:
    """Read with the standard library alone; fails when a line is not whole."""
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    if path.suffix == ".jsonl":
        return [json.loads(line)["live"]["sequence"] for line in content.decode().splitlines()]
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert all(len(row) == len(rows[0]) for row in rows)
    assert len(rows) == content.count(b"\n")
    return [int(dict(zip(rows[0], row, strict=True))["sequence"]) for row in rows[1:]]


@pytest.fixture(params=["jsonl", "csv"])
def path(request, tmp_path: Path) -> Path:
    return tmp_path / f"answers.{request.param}"


def test_lines_are_appended_and_the_header_is_there_once(path: Path) -> None:
    write(path, 1, 2)
    write(path, 3)
    assert sequences(path) == [1, 2, 3]


def test_a_line_is_in_the_file_at_once(path: Path) -> None:
    sink = lines(path)
    sink.write(answer(1))
    assert sequences(path) == [1]
    sink.close()
    sink.close()


def test_line_breaks_in_an_answer_make_no_second_line(path: Path) -> None:
    write(path, 1, 2, reason='one\ntwo\r\n"three"', clip="a\nb")
    assert sequences(path) == [1, 2]


def test_json_lines_hold_the_whole_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, 5)
    assert json.loads(path.read_text()) == answer(5).to_dict()


@pytest.mark.parametrize("cut", [1, 2, 40, 150])
def test_a_torn_last_line_is_cut_off(path: Path, cut: int) -> None:
    write(path, 1, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    write(path, 3)
    # JSON tells when only the line's end was lost; CSV can't.
    kept = cut == 1 and path.suffix == ".jsonl"
    assert sequences(path) == ([1, 2, 3] if kept else [1, 3])


def test_a_torn_line_longer_than_a_block_is_cut_off(path: Path) -> None:
    write(path, 1)
    write(path, 2, reason="long " * 40_000)
    path.write_bytes(path.read_bytes()[:-9])
    write(path, 3)
    assert sequences(path) == [1, 3]


@pytest.mark.parametrize("left", [1, 10, 20])
def test_a_torn_first_line_is_cut_off(path: Path, left: int) -> None:
    write(path, 1)
    path.write_bytes(path.read_bytes()[:left])
    write(path, 2)
    assert sequences(path) == [2]


def test_a_file_of_something_else_is_refused_and_not_touched(path: Path) -> None:
    for content in (
        b"my diary",
        b"my diary\nday two",
        b"\n",
        b'{"other": 1}\n{"to',
        csv_header(LABELS).encode() + b"\n",
    ):
        path.write_bytes(content)
        with pytest.raises(BadInput):
            lines(path)
        assert path.read_bytes() == content


def test_a_csv_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, 1)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="other columns"):
        Lines(parse_sink(f"csv:{path}", {}), ["calm", "upset"])
    with pytest.raises(BadInput, match="other columns"):
        open_sinks([f"csv:{path}"], ["calm", "upset"], {})
    assert path.read_bytes() == before


def test_a_file_that_was_moved_away_or_removed_is_made_anew(path: Path) -> None:
    sink = lines(path)
    sink.write(answer(1))
    moved = path.with_name("old" + path.suffix)
    path.rename(moved)
    sink.write(answer(2))
    sink.write(answer(3))
    path.unlink()
    sink.write(answer(4))
    sink.close()
    assert sequences(moved) == [1]
    assert sequences(path) == [4]


def test_a_file_that_was_emptied_in_place_goes_on(path: Path) -> None:
    sink = lines(path)
    sink.write(answer(1))
    os.truncate(path, 0)  # as logrotate's copytruncate does
    sink.write(answer(2))
    sink.close()
    assert sequences(path) == [2]


def test_a_folder_that_is_gone_and_back_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.jsonl"
    path.parent.mkdir()
    fanout = open_sinks([f"jsonl:{path}"], LABELS, {})
    fanout.publish(answer(1))
    until(lambda: fanout.status()[0].delivered == 1)
    path.parent.rename(tmp_path / "away")
    fanout.publish(answer(2))
    until(lambda: fanout.status()[0].condition is Condition.lost)
    path.parent.mkdir()
    until(lambda: fanout.status()[0].delivered == 2)
    fanout.close(5)
    assert sequences(path) == [2]


def test_two_writers_of_one_file_are_refused(path: Path) -> None:
    sink = lines(path)
    with pytest.raises(BadInput, match="being written"):
        lines(path)
    sink.close()
    lines(path).close()


def test_what_is_no_file_is_refused_at_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("pipe.jsonl", "", "none/a.jsonl"):
        with pytest.raises(BadInput):
            open_sinks([f"jsonl:{tmp_path / name}"], LABELS, {})
    with pytest.raises(BadInput):
        open_sinks(["jsonl:/dev/full"], LABELS, {})


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sinks_fakes import answer
from test_sinks_lines import lines, sequences
from mosear.runtime.sinks import SinkLost
path = Path(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for room in range(3000, 3000 + 2 * len(answer(1).to_json()), 97):
    path.unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    sink = lines(path)
    written = 0
    try:
        while True:
            sink.write(answer(written))
            written += 1
    except SinkLost as error:
        assert "large" in str(error), error
    assert written, "the room was too small for any"
    assert sequences(path) == list(range(written)), room
    try:
        sink.write(answer(99))
        raise AssertionError("there was no room")
    except SinkLost:
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    sink.write(answer(written))
    sink.close()
    assert sequences(path) == list(range(written + 1))
print("whole")
"""


def test_a_write_that_the_disk_takes_in_part_leaves_no_part(path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(HERE), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "whole\n", done.stderr


def test_a_full_disk_is_a_lost_sink_that_comes_back(path: Path, monkeypatch) -> None:
    real, full = os.write, threading.Event()

    def torn(file: int, data: bytes) -> int:
        if not full.is_set() or len(data) < 100:
            return real(file, data)
        if len(data) > 400:
            return real(file, data[:300])
        raise OSError(28, "No space left on device")

    fanout = open_sinks([f"{path.suffix[1:]}:{path}"], LABELS, {})
    fanout.publish(answer(1))
    until(lambda: fanout.status()[0].delivered == 1)
    monkeypatch.setattr("mosear.runtime.sinks.lines.os.write", torn)
    full.set()
    for number in (2, 3):
        fanout.publish(answer(number))
    until(lambda: fanout.status()[0].condition is Condition.lost)
    assert fanout.status()[0].error == "can't be written: No space left on device"
    assert sequences(path) == [1]
    full.clear()
    until(lambda: fanout.status()[0].delivered == 3)
    fanout.close(5)
    assert sequences(path) == [1, 2, 3]
    assert fanout.status()[0].dropped == 0


def test_a_disk_that_is_full_at_the_start_is_waited_for(path: Path, monkeypatch) -> None:
    real, full = os.open, threading.Event()
    full.set()

    def opens(name, *rest) -> int:
        if full.is_set() and os.fspath(name) == os.fspath(path):
            raise OSError(28, "No space left on device")
        return real(name, *rest)

    monkeypatch.setattr("mosear.runtime.sinks.lines.os.open", opens)
    with pytest.raises(SinkLost):
        lines(path)
    fanout = open_sinks([f"{path.suffix[1:]}:{path}"], LABELS, {})
    fanout.publish(answer(1))
    full.clear()
    until(lambda: fanout.status()[0].delivered == 1)
    fanout.close(5)
    assert sequences(path) == [1]
