"""The cache of engines: found again, bounded, whole or not at all, whoever writes at the same time."""

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from mosear.runtime.engines.cache import EngineCache, cap_from, default_folder, key_of
from mosear.runtime.errors import Failed

KEY, OTHER = key_of({"a": 1}), key_of({"a": 2})


def names(folder: Path, suffix: str = ".engine") -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix == suffix}


def test_what_was_put_is_found_and_what_was_not_is_not(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "new" / "folder")
    assert cache.get(KEY) is None
    cache.put(KEY, b"engine" * 1000)
    assert bytes(cache.get(KEY) or b"") == b"engine" * 1000
    assert cache.get(OTHER) is None
    assert EngineCache(cache.folder).get(KEY) == b"engine" * 1000


def test_the_key_follows_every_part_and_no_order() -> None:
    assert key_of({"a": 1, "b": {"c": 2}}) == key_of({"b": {"c": 2}, "a": 1})
    assert len({key_of(parts) for parts in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]})}) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "short", "longer"])
def test_a_damaged_entry_is_not_used_and_goes(tmp_path: Path, damage: str) -> None:
    cache = EngineCache(tmp_path)
    cache.put(KEY, bytes(range(256)) * 64)
    path = tmp_path / f"{KEY}.engine"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[100] ^= 1
    path.write_bytes({"cut": data[:5000], "flipped": data, "empty": b"", "short": b"x", "longer": data + b"x"}[damage])
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"


def test_the_least_recently_used_go_first_and_the_newest_stays_whatever_its_size(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, cap_bytes=3500)
    keys = [key_of({"n": n}) for n in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.put(key, b"x" * 1000)
        os.utime(tmp_path / f"{key}.engine", (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # used now: the second is the oldest
    cache.put(keys[3], b"x" * 1000)
    assert names(tmp_path) == {keys[0], keys[2], keys[3]}
    cache.put(OTHER, b"x" * 9000)
    assert names(tmp_path) == {OTHER}


def test_a_writer_that_fails_or_was_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(TypeError):
        cache.put(KEY, 7)
    assert not list(tmp_path.iterdir())
    (tmp_path / f"{KEY}.engine.abc.tmp").write_bytes(b"half")
    (tmp_path / f"{KEY}.engine.old.tmp").write_bytes(b"half")
    os.utime(tmp_path / f"{KEY}.engine.old.tmp", (1, 1))
    assert cache.get(KEY) is None
    cache.put(OTHER, b"x")
    assert names(tmp_path, ".tmp") == {f"{KEY}.engine.abc"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for act in (lambda cache: cache.put(KEY, b"x"), lambda cache: cache.building(KEY).__enter__()):
        with pytest.raises(Failed, match="can't be kept in") as error:
            act(EngineCache(tmp_path / "file"))
        assert "MOSEAR_ENGINE_CACHE" in error.value.remedy


def test_timing_is_kept_beside_and_a_damaged_one_starts_anew(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.timing(KEY) == b""
    cache.keep_timing(KEY, b"")
    assert cache.timing(KEY) == b""
    cache.keep_timing(KEY, b"times")
    assert cache.timing(KEY) == b"times"
    (tmp_path / f"{KEY}.timing").write_bytes(b"garbage" * 20)
    assert cache.timing(KEY) == b""


def build_once(folder: str, marks: str) -> None:
    cache = EngineCache(Path(folder))
    with cache.building(KEY):
        if cache.get(KEY) is None:
            with open(marks, "ab") as file:
                file.write(b"built\n")
            time.sleep(0.2)
            cache.put(KEY, b"e" * 100_000)


def test_processes_that_want_one_engine_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    marks = tmp_path / "marks"
    workers = [context.Process(target=build_once, args=(str(tmp_path / "c"), str(marks))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert marks.read_bytes() == b"built\n"


def test_readers_never_see_half_an_entry_while_others_write(tmp_path: Path) -> None:
    cache, stop, seen = EngineCache(tmp_path), threading.Event(), []

    def write(byte: bytes) -> None:
        while not stop.is_set():
            cache.put(KEY, byte * 50_000)

    writers = [threading.Thread(target=write, args=(byte,)) for byte in (b"a", b"b")]
    for writer in writers:
        writer.start()
    try:
        while len(seen) < 60:
            found = cache.get(KEY)
            if found is not None:
                seen.append(bytes(found))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert set(seen) <= {b"a" * 50_000, b"b" * 50_000}


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    assert default_folder({"MOSEAR_ENGINE_CACHE": "/e"}) == Path("/e")
    assert default_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/mosear/engines")
    assert default_folder({}) == Path.home() / ".cache" / "mosear" / "engines"
    assert cap_from({}) == 20 << 30
    assert cap_from({"MOSEAR_ENGINE_CACHE_GB": "0.5"}) == 1 << 29
    for text in ("0", "-1", "much", "nan", "inf"):
        with pytest.raises(Failed, match="MOSEAR_ENGINE_CACHE_GB"):
            cap_from({"MOSEAR_ENGINE_CACHE_GB": text})
