"""Files by their endings, and what happens when they can't be written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from profile_examples import full_profile

from mosear.runtime.errors import Failed, UsageError
from mosear.runtime.profiling.forms.json_form import read_json
from mosear.runtime.profiling.forms.write import Form, form_of, render, write


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("a.json", Form.json), ("a.csv", Form.csv), ("a.md", Form.markdown), ("a.html", Form.html)),
        *(("a.trace.json", Form.trace), ("A.JSON", Form.json), ("A.Trace.Json", Form.trace), ("a.html.csv", Form.csv)),
    ],
)
def test_the_ending_says_the_form(tmp_path: Path, name: str, form: Form) -> None:
    assert form_of(tmp_path / name) is form
    profile = full_profile(2)
    write(profile, tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8") == render(profile, form)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a", "a.txt", "json", "a.json.gz", "a.htm", "trace"])
def test_other_endings_are_refused_with_a_list(name: str) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        form_of(Path(name))
    for ending in (".json", ".csv", ".md", ".html", ".trace.json"):
        assert ending in caught.value.remedy


def test_what_can_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "p.json").mkdir()
    (tmp_path / "p.json" / "kept").write_text("kept")
    with pytest.raises(Failed, match=r"p\.json"):
        write(full_profile(1), tmp_path / "p.json")
    assert os.listdir(tmp_path) == ["p.json"]
    with pytest.raises(Failed, match="absent"):
        write(full_profile(1), tmp_path / "absent" / "p.json")
    with pytest.raises(Failed, match="name too long"):
        write(full_profile(1), tmp_path / f"{'n' * 300}.json")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.json").write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match="No space left"):
        write(full_profile(1), tmp_path / "p.json")
    assert (tmp_path / "p.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["p.json"]


def test_a_new_file_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    write(full_profile(1), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_names_that_are_no_text_are_written_and_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"clip-\xff.mp4")
    profile = full_profile(1, name=name)
    for ending in ("json", "csv", "md", "html", "trace.json"):
        write(profile, tmp_path / f"p.{ending}")
    assert read_json((tmp_path / "p.json").read_text(encoding="utf-8")).bundle["name"] == name
    json.loads((tmp_path / "p.trace.json").read_text(encoding="utf-8"))
