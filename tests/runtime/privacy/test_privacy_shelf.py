"""The folder of kept media: who may look, what goes when, and a system clock that is not to be trusted."""

import logging
import os
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from mosear.runtime.errors import BadInput
from mosear.runtime.privacy import shelf as shelf_module
from mosear.runtime.privacy.shelf import Shelf

HOUR = 3600.0


class Clocks:
    """The steady clock and the system's, both in the test's hands."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steady, self.wall = 1000.0, 1_800_000_000.0
        patch.setattr(shelf_module, "steady", lambda: self.steady)
        patch.setattr(shelf_module.time, "time", lambda: self.wall)

    def pass_by(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def left(folder: Path, wall: float) -> Path:
    """A file that an earlier program began at ``wall``."""
    stamp = datetime.fromtimestamp(wall, timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"mosear-{stamp}.mkv"
    path.write_bytes(b"media")
    return path


def made(shelf: Shelf, taken: float) -> Path:
    number, path = shelf.new(taken)
    os.close(number)
    return path


def test_a_file_goes_at_its_time_and_not_before(tmp_path: Path, clocks: Clocks) -> None:
    shelf = Shelf(tmp_path / "media", HOUR)
    path = made(shelf, clocks.steady)
    clocks.pass_by(HOUR - 0.5)
    assert shelf.purge() == pytest.approx(0.5)
    assert path.exists()
    clocks.pass_by(0.5)
    shelf.purge()
    assert not path.exists()


def test_age_counts_from_when_the_first_picture_came(tmp_path: Path, clocks: Clocks) -> None:
    shelf = Shelf(tmp_path / "media", HOUR)
    path = made(shelf, clocks.steady - 10)
    clocks.pass_by(HOUR - 10)
    shelf.purge()
    assert not path.exists()


@pytest.mark.parametrize("jump", [-10 * 86_400.0, -1.0, 5.0, 10 * 86_400.0])
def test_setting_the_clock_moves_nothing_that_is_known(tmp_path: Path, clocks: Clocks, jump: float) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    older = left(folder, clocks.wall - HOUR / 2)
    shelf = Shelf(folder, HOUR)
    shelf.purge()
    own = made(shelf, clocks.steady)
    clocks.wall += jump
    for _ in range(29):
        clocks.pass_by(60)
        shelf.purge()
        assert older.exists()
    clocks.pass_by(60)
    shelf.purge()
    assert not older.exists()
    assert own.exists()
    clocks.pass_by(HOUR / 2)
    shelf.purge()
    assert not own.exists()


def test_a_restart_goes_by_the_names(tmp_path: Path, clocks: Clocks) -> None:
    folder = tmp_path / "media"
    first = Shelf(folder, HOUR)
    path = made(first, clocks.steady - 10)
    first.close()
    clocks.pass_by(600)
    second = Shelf(folder, HOUR)
    second.purge()
    assert path.exists()
    clocks.pass_by(HOUR - 610)
    second.purge()
    assert not path.exists(), "its age is reckoned from when its first picture came"


def test_what_was_left_long_ago_or_comes_from_the_future_goes_at_the_start(tmp_path: Path, clocks: Clocks) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    old, future = left(folder, clocks.wall - HOUR - 1), left(folder, clocks.wall + 60)
    young = left(folder, clocks.wall - 60)
    Shelf(folder, HOUR).purge()
    assert not old.exists()
    assert not future.exists(), "nobody knows how old it is"
    assert young.exists()


def test_files_of_other_names_and_what_a_link_points_to_are_left_alone(tmp_path: Path, clocks: Clocks) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    names = ("mosear-.mkv", "mosear-20200101.mkv", "other-20200101T000000.000000Z.mkv", "notes.txt")
    others = [folder / name for name in names]
    for path in others:
        path.write_bytes(b"mine")
    outside = tmp_path / "outside.mkv"
    outside.write_bytes(b"mine")
    link = folder / "mosear-20200101T000000.000000Z.mkv"
    link.symlink_to(outside)
    Shelf(folder, HOUR).purge()
    assert all(path.exists() for path in [*others, outside])
    assert not link.is_symlink()


def test_a_file_that_can_t_be_deleted_is_said_once_and_holds_up_no_other(
    tmp_path: Path, clocks: Clocks, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    stuck, other = left(folder, clocks.wall - HOUR - 2), left(folder, clocks.wall - HOUR - 1)
    unlink = Path.unlink

    def fails(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(13, "Operation not permitted")
        unlink(path, missing_ok)

    shelf = Shelf(folder, HOUR)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fails)
        for _ in range(5):
            shelf.purge()
    assert not other.exists()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    shelf.purge()
    assert not stuck.exists()


def test_a_file_that_turns_up_later_is_purged_too(tmp_path: Path, clocks: Clocks) -> None:
    shelf = Shelf(tmp_path / "media", HOUR)
    shelf.purge()
    path = left(tmp_path / "media", clocks.wall - 2 * HOUR)
    clocks.pass_by(61)
    shelf.purge()
    assert not path.exists()


def test_one_program_at_a_time(tmp_path: Path) -> None:
    first = Shelf(tmp_path / "media", HOUR)
    with pytest.raises(BadInput, match="another mosear"):
        Shelf(tmp_path / "media", 1)
    first.close()
    first.close()
    Shelf(tmp_path / "media", HOUR).close()
    assert list((tmp_path / "media").iterdir()) == []


def test_a_folder_that_anyone_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(BadInput, match="anyone may write"):
        Shelf(folder, HOUR)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(BadInput, match="anyone may write"):
        Shelf(link, HOUR)


def test_a_link_is_followed_once(tmp_path: Path, clocks: Clocks) -> None:
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "link"
    first.mkdir(0o700)
    second.mkdir(0o700)
    link.symlink_to(first)
    shelf = Shelf(link, HOUR)
    before = made(shelf, clocks.steady)
    link.unlink()
    link.symlink_to(second)
    clocks.pass_by(1)
    made(shelf, clocks.steady)
    assert list(second.iterdir()) == []
    clocks.pass_by(HOUR)
    shelf.purge()
    assert not before.exists()


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling link", "/proc"])
def test_a_folder_that_can_t_be_one_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind in ("file", "below a file"):
        path.touch()
        path = path if kind == "file" else path / "media"
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path = Path("/proc/media")
    with pytest.raises(BadInput, match="can't be kept"):
        Shelf(path, HOUR)


def test_the_steady_clock_goes_forward() -> None:
    before = shelf_module.steady()
    time.sleep(0.01)
    assert 0.005 < shelf_module.steady() - before < 5
