"""A study is drawn fairly, tells raters nothing, and loses no clip without a word."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import runtime_media
from study_runs import SHA, page_data, two_runs, write_run

from mosear.evaluation.study.key import key_path, read_key
from mosear.evaluation.study.make import make_study
from mosear.runtime.errors import BadInput, UsageError

HOSTILE = [
    "</script><script>document.title = 'taken'</script>",
    '<img src="x" onerror="document.title = \'taken\'"> & <!-- <script>',
    "line\u2028separator\u2029and \u202eright to left\u202c and \0 and \ud800",
    "x" * 20_000,
]


def test_the_key_tells_whose_reason_stands_where(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    study = make_study(a, b, tmp_path / "study.html", seed=3)
    assert study.key_file == tmp_path / "study.key.json"
    key = read_key(study.key_file)
    assert key == study.key
    data = page_data(study.page)
    assert data["page"] == key.page
    assert [item["id"] for item in data["items"]] == [clip.item for clip in key.clips]
    for item, clip in zip(data["items"], key.clips, strict=True):
        writers = {"A": "alpha", "B": "omega"}
        other = "B" if clip.left == "A" else "A"
        assert item["left"] == f"{writers[clip.left]} says of {clip.name}"
        assert item["right"] == f"{writers[other]} says of {clip.name}"
        assert item["transcript"] == "I did not expect that."
        assert clip.subset == ("audio_aligned", "consistent", "video_aligned")[int(clip.name[-1]) % 3]
    assert sorted(clip.name for clip in key.clips) == [f"clip{number}" for number in range(9)]
    assert (key.runs["A"].path, key.runs["A"].sha256) == (str(a), SHA["first"])
    assert (key.runs["B"].title, key.runs["B"].sha256) == ("second-model, int8", SHA["second"])
    assert (key.seed, key.tie, key.comparable, key.identical, key.left_out) == (3, True, 9, [], [])
    assert oct(study.key_file.stat().st_mode & 0o777) == "0o600"


def test_the_page_tells_nothing_of_the_runs(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    study = make_study(a, b, tmp_path / "study.html", seed=12345, media="none")
    source = study.page.read_text(encoding="utf-8")
    for told in ("run-one", "run-two", *SHA.values(), "first-model", "second-model", "12345", str(tmp_path)):
        assert told not in source
    # Nothing of a question but what a rater sees, and the same for both sides.
    assert {tuple(item) for item in page_data(study.page)["items"]} == {
        ("id", "left", "right", "transcript", "clip", "media")
    }
    assert "aligned" not in source
    assert "sad" not in source


def test_each_run_is_on_the_left_for_half_of_the_clips_of_a_subset(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path, 10, subset=lambda name: "one" if int(name[4:]) < 7 else "two")
    lefts: Counter[str] = Counter()
    for seed in range(60):
        key = make_study(a, b, tmp_path / f"{seed}.html", seed=seed, media="none").key
        one = Counter(clip.left for clip in key.clips if clip.subset == "one")
        two = Counter(clip.left for clip in key.clips if clip.subset == "two")
        assert {one["A"], one["B"]} == {3, 4}
        assert {two["A"], two["B"]} == {1, 2}
        lefts.update(clip.name for clip in key.clips if clip.left == "A")
    # 60 throws of a coin a clip: within 4.5 standard deviations of 30.
    assert len(lefts) == 10
    assert all(abs(count - 30) < 17.4 for count in lefts.values())


def test_the_same_seed_makes_the_same_study_and_another_one_another(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path, 30)
    one = make_study(a, b, tmp_path / "one.html", clips=10, seed=1)
    same = make_study(a, b, tmp_path / "same.html", clips=10, seed=1)
    other = make_study(a, b, tmp_path / "other.html", clips=10, seed=2)
    assert one.key == same.key
    assert one.page.read_bytes() == same.page.read_bytes()
    assert {clip.name for clip in one.key.clips} != {clip.name for clip in other.key.clips}
    assert one.key.page != other.key.page


def test_clips_are_drawn_by_subset(tmp_path: Path) -> None:
    sizes = {"big": 30, "middle": 12, "small": 3}
    names = {f"{subset}-{number}": subset for subset, size in sizes.items() for number in range(size)}
    a = write_run(tmp_path / "a", "first", {name: f"1 {name}" for name in names}, subset=names.__getitem__)
    b = write_run(tmp_path / "b", "second", {name: f"2 {name}" for name in names}, subset=names.__getitem__)

    def drawn(count: int | None) -> dict[str | None, int]:
        key = make_study(a, b, tmp_path / f"{count}.html", clips=count, media="none").key
        return dict(Counter(clip.subset for clip in key.clips))

    # One each, the other 12 by what is left (29, 11, 2 of 42): 8.29, 3.14, 0.57, the largest remainder rounded up.
    assert drawn(15) == {"big": 9, "middle": 4, "small": 2}
    assert drawn(3) == {"big": 1, "middle": 1, "small": 1}
    assert drawn(2) == {"big": 1, "middle": 1}
    assert drawn(None) == sizes
    with pytest.raises(BadInput, match="46 clips are asked for, and 45"):
        drawn(46)
    with pytest.raises(UsageError):
        drawn(0)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    a = write_run(
        tmp_path / "a", "first", {"same": "one and  the same\n", "only-a": "x", "mute": None, "blank": " ", "good": "p"}
    )
    b = write_run(
        tmp_path / "b", "second", {"good": "q", "blank": "y", "mute": "y", "only-b": "x", "same": "one and the same"}
    )
    study = make_study(a, b, tmp_path / "study.html")
    assert [clip.name for clip in study.key.clips] == ["good"]
    assert study.key.identical == ["same"]
    assert {each.name: each.reason for each in study.key.left_out} == {
        "only-a": f"{b} has no answer to it",
        "mute": f"{a} has no reason for it",
        "blank": f"{a} has no reason for it",
        "only-b": f"{a} has no answer to it",
    }
    told = "\n".join(study.summary())
    assert "1 clip with one and the same reason" in told
    assert f"2 clips: {a} has no reason for it" in told


def test_other_transcripts_are_not_compared(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", "first", {"one": "p"}, subset=lambda _: None)
    b = write_run(tmp_path / "b", "second", {"one": "q"}, subset=lambda _: None, transcript="Something else.")
    with pytest.raises(BadInput, match="no clip"):
        make_study(a, b, tmp_path / "study.html")


@pytest.mark.parametrize(
    ("reasons", "word"),
    [({"x0": "p"}, "in common"), ({"y0": None}, "--reason"), ({"y0": "q"}, "same reason")],
)
def test_nothing_to_compare(tmp_path: Path, reasons: dict[str, str | None], word: str) -> None:
    a = write_run(tmp_path / "a", "first", reasons)
    b = write_run(tmp_path / "b", "second", {"y0": "q"})
    with pytest.raises(BadInput) as caught:
        make_study(a, b, tmp_path / "study.html")
    assert word in f"{caught.value.what} {caught.value.remedy}"
    assert not list(tmp_path.glob("study*"))


def test_runs_on_other_benchmarks_are_refused(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", "first", {"y0": "p"}, benchmark="meld")
    b = write_run(tmp_path / "b", "second", {"y0": "q"})
    with pytest.raises(BadInput, match="meld"):
        make_study(a, b, tmp_path / "study.html")
    with pytest.raises(BadInput, match="holds no run"):
        make_study(tmp_path, b, tmp_path / "study.html")


def test_another_study_is_not_overwritten(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    first = make_study(a, b, tmp_path / "study.html", seed=1)
    before = first.key_file.read_bytes()
    with pytest.raises(BadInput, match="there already"):
        make_study(a, b, tmp_path / "study.html", seed=2)
    assert first.key_file.read_bytes() == before
    make_study(a, b, tmp_path / "study.html", seed=1)
    (tmp_path / "mine.html").write_text("my own page")
    with pytest.raises(BadInput, match="there already"):
        make_study(a, b, tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "my own page"
    assert not key_path(tmp_path / "mine.html").exists()


@pytest.mark.parametrize("changes", [{"checks": -1}, {"media": "link"}, {"limit_mb": 0}, {"limit_mb": float("nan")}])
def test_arguments_that_can_not_be_met(tmp_path: Path, changes: dict[str, object]) -> None:
    a, b = two_runs(tmp_path)
    with pytest.raises(UsageError):
        make_study(a, b, tmp_path / "study.html", **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        make_study(a, b, tmp_path / "study.json")
    with pytest.raises(BadInput):
        make_study(a, b, tmp_path / "study.html", root=tmp_path / "nowhere")


def test_clips_are_embedded_where_they_are_found(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(2):
        runtime_media.write(clips / f"clip{number}.mp4", seconds=0.5)
    # MPEG-4 part 2, which no browser plays.
    runtime_media.write(clips / "clip2.mp4", seconds=0.5, codec="mpeg4")
    a, b = two_runs(tmp_path, 4, root=clips)
    study = make_study(a, b, tmp_path / "study.html")
    held = {clip.name: clip.media for clip in study.key.clips}
    assert held == {"clip0": "embedded", "clip1": "embedded", "clip2": "converted", "clip3": "named"}
    items = {item["id"]: item for item in page_data(study.page)["items"]}
    source = study.page.read_text(encoding="utf-8")
    for clip in study.key.clips:
        there = f'id="media-{clip.item}"' in source
        assert there == (clip.media != "named")
        # A name may tell a rater what to see; it stands there only where the clip itself does not.
        assert items[clip.item]["clip"] == (None if there else clip.name)
        assert items[clip.item]["media"] == ("video/mp4" if there else None)
    told = "\n".join(study.summary())
    assert "converted to MP4, which all browsers play: 1 clip" in told
    assert "for raters to play beside it: 1 clip" in told
    elsewhere = tmp_path / "moved"
    os.rename(clips, elsewhere)
    assert {clip.media for clip in make_study(a, b, tmp_path / "2.html").key.clips} == {"named"}
    moved = make_study(a, b, tmp_path / "3.html", root=elsewhere).key.clips
    assert Counter(clip.media for clip in moved) == {"embedded": 2, "converted": 1, "named": 1}
    assert {clip.media for clip in make_study(a, b, tmp_path / "4.html", root=elsewhere, media="none").key.clips} == {
        "named"
    }
    with pytest.raises(BadInput, match=r"more than 0\.001 MB"):
        make_study(a, b, tmp_path / "5.html", root=elsewhere, limit_mb=0.001)
    assert not list(tmp_path.glob("*5*"))


def test_names_do_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    runtime_media.write(tmp_path / "secret0.mp4", seconds=0.2)
    a = write_run(tmp_path / "a", "first", {"../secret0": "p"}, root=tmp_path / "clips")
    b = write_run(tmp_path / "b", "second", {"../secret0": "q"}, root=tmp_path / "clips")
    assert [clip.media for clip in make_study(a, b, tmp_path / "study.html").key.clips] == ["named"]


def test_a_broken_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip0.mp4").write_bytes(b"no film")
    a, b = two_runs(tmp_path, 1, root=tmp_path)
    with pytest.raises(BadInput, match=r"clip0\.mp4"):
        make_study(a, b, tmp_path / "study.html")


def test_checks_of_attention_say_what_to_choose(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path, 2)
    expected = set()
    for seed in range(8):
        study = make_study(a, b, tmp_path / f"{seed}.html", checks=2, seed=seed)
        items = {item["id"]: item for item in page_data(study.page)["items"]}
        assert len(items) == 4
        assert len(study.key.checks) == 2
        for check in study.key.checks:
            other = "right" if check.expected == "left" else "left"
            assert "Choose this one" in items[check.item][check.expected]
            assert "Choose the other one" in items[check.item][other]
            expected.add(check.expected)
    assert expected == {"left", "right"}


def test_hostile_texts_stay_in_their_element(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(4)]
    # JSON can name half of a UTF-16 pair, which no file in UTF-8 can hold.
    written = [text.replace("\ud800", "HALF") for text in HOSTILE]
    a = write_run(tmp_path / "a", "first", dict(zip(names, written, strict=True)), subset=lambda _: "HALF")
    path = a / "clips.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("HALF", "\\ud800"), encoding="utf-8")
    b = write_run(tmp_path / "b", "second", dict.fromkeys(names, "fine"))
    study = make_study(a, b, tmp_path / "study.html", title=HOSTILE[0], organiser=f"{HOSTILE[1]}\udcff")
    source = study.page.read_text(encoding="utf-8")
    items = page_data(study.page)["items"]
    reasons = {item[side] for item in items for side in ("left", "right")}
    assert reasons == {"fine", *HOSTILE}
    assert "<img" not in source
    assert len(re.findall(r"<script[ >]", source)) == 2
    assert len(re.findall(r"</script>", source)) == 2
    assert json.loads(study.key_file.read_text())["title"] == HOSTILE[0]
