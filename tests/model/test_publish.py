import errno
import os
from pathlib import Path

import pytest

from mosear.model.publish import check_replaceable, published
from mosear.runtime.errors import BadInput, Failed

MARKER = "manifest.json"


def write(folder: Path, text: str) -> None:
    (folder / MARKER).write_text(text)


def test_output_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with published(output, MARKER) as folder:
        write(folder, "new")
        assert not output.exists()
    assert (output / MARKER).read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_what_stood_there_survives_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    output = tmp_path / "out"
    with published(output, MARKER) as folder:
        write(folder, "old")

    def fail() -> None:
        with published(output, MARKER) as folder:
            write(folder, "new")
            raise error

    with pytest.raises(error):
        fail()
    assert (output / MARKER).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_said_in_one_line(tmp_path: Path, code: int) -> None:
    with pytest.raises(Failed, match="no room") as caught, published(tmp_path / "out", MARKER):
        raise OSError(code, os.strerror(code))
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_killed_writer_are_removed_and_a_living_one_s_are_not(tmp_path: Path) -> None:
    dead, living = tmp_path / ".out.building-4194399", tmp_path / f".out.building-{os.getppid()}"
    other = tmp_path / ".other.building-4194399"
    for folder in (dead, living, other):
        folder.mkdir()
    with published(tmp_path / "out", MARKER) as folder:
        write(folder, "x")
    assert not dead.exists()
    assert living.exists()
    assert other.exists()


def test_only_a_folder_of_its_own_kind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    (tmp_path / "empty").mkdir()
    for bad in ("file", "photos", "absent/out"):
        with pytest.raises(BadInput):
            check_replaceable(tmp_path / bad, MARKER)
    check_replaceable(tmp_path / "empty", MARKER)
    check_replaceable(tmp_path / "new", MARKER)
