"""EMER: two versions, one of them without labels, on the clips of MER2023."""

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput, UsageError

V1 = (
    "names,emotions,subtitles,reasons\n"
    'sample_00000648,angry,"Don\'t, please.","In the video, he roared. He says ""no"" and is angry."\n'
    "sample_00004422,happy,,He smiles.\n"
)
V2 = "name,chinese,english\nsample_00000000,在视频中,In the video a doctor frowns.\n"


def test_version_1(read, lay, clip) -> None:
    files = {"gt-eng.csv": V1, "video/sample_00000648.avi": clip, "video/sample_00004422.mp4": clip}
    root = lay(files)
    benchmark = read("emer", files)
    assert benchmark.title == "EMER v1"
    assert benchmark.clips == (
        BenchmarkClip(
            "sample_00000648",
            root / "video/sample_00000648.avi",
            label="angry",
            transcript="Don't, please.",
            reference='In the video, he roared. He says "no" and is angry.',
        ),
        BenchmarkClip("sample_00004422", root / "video/sample_00004422.mp4", label="happy", reference="He smiles."),
    )
    assert benchmark.headline == ("clue_overlap", "label_overlap")


def test_version_2_has_no_labels(read, lay, clip) -> None:
    files = {
        "dataset-v2/final-EMER-reason.csv": "\ufeff" + V2 + "b,x,A nurse smiles.\n",
        "transcription-engchi-polish.csv": "name,chinese,english\nsample_00000000,我,How would I know!\nb,x,\n",
        "sample_00000000.mp4": clip,
        "b.mp4": clip,
    }
    root = lay(files)
    benchmark = read("emer", files)
    assert (benchmark.title, benchmark.labels, benchmark.to_model) == ("EMER v2", (), {})
    assert benchmark.clips == (
        BenchmarkClip(
            "sample_00000000",
            root / "sample_00000000.mp4",
            reference="In the video a doctor frowns.",
            transcript="How would I know!",
        ),
        BenchmarkClip("b", root / "b.mp4", reference="A nurse smiles."),
    )


def test_both_versions_need_a_choice(read, clip) -> None:
    files = {"gt-eng.csv": V1, "final-EMER-reason.csv": V2, "video/sample_00000648.mp4": clip}
    with pytest.raises(UsageError, match="both versions") as caught:
        read("emer", files)
    assert "--split v1" in caught.value.remedy
    assert read("emer", files, split="v1").title == "EMER v1"
    with pytest.raises(BadInput, match="none of the 1 clips"):
        read("emer", files, split="v2")


def test_clips_and_labels_elsewhere(read, clip, tmp_path) -> None:
    (tmp_path / "mine.csv").write_text(V2)
    (tmp_path / "mer2023" / "test1").mkdir(parents=True)
    (tmp_path / "mer2023" / "test1" / "sample_00000000.mp4").write_bytes(clip)
    for media in (tmp_path / "mer2023", tmp_path / "mer2023" / "test1"):
        benchmark = read("emer", {}, labels=tmp_path / "mine.csv", media=media)
        assert benchmark.title == "EMER v2"
        assert benchmark.clips[0].media == tmp_path / "mer2023/test1/sample_00000000.mp4"


def test_a_transcript_that_can_not_be_read_is_told(read, clip) -> None:
    said = "name,chinese,english\nsample_00000000,x,Well, yes.\n"
    files = {"final-EMER-reason.csv": V2, "label-transcription.csv": said, "sample_00000000.mp4": clip}
    with pytest.raises(BadInput, match=r"line 2 of label-transcription.csv .* it has 4 cells"):
        read("emer", files)


def test_what_can_not_be_evaluated_is_told(read, clip) -> None:
    table = V1 + "a,angry,x,\nb,proud,x,He smiles.\nc,happy,x,He smiles.\n"
    files = {"gt-eng.csv": table, **{f"video/{name}.mp4": clip for name in ("sample_00000648", "a", "b")}}
    benchmark = read("emer", files)
    assert [each.name for each in benchmark.clips] == ["sample_00000648"]
    assert [each.name for each in benchmark.skipped] == ["sample_00004422", "a", "b", "c"]
    assert "no account in English" in benchmark.skipped[1].reason
    assert "'proud' is none of" in benchmark.skipped[2].reason


@pytest.mark.parametrize(
    ("files", "options", "what"),
    [
        ({}, {}, "no label file .* looked for gt-eng.csv or .*final-EMER-reason.csv"),
        ({"gt-eng.csv": V1}, {"split": "v2"}, "looked for final-EMER-reason.csv"),
        ({"gt-eng.csv": "name,label\na,b\n"}, {}, "neither version .*its header: name, label"),
        ({"gt-eng.csv": "names,reasons\na,b\n"}, {}, "no column emotions"),
        ({"gt-eng.csv": ""}, {}, "its header: nothing"),
        ({"gt-eng.csv": V1}, {}, "none of the 2 clips .* sample_00000648: it is not in"),
        ({"gt-eng.csv": V1.replace("sample_00000648", "../x")}, {}, "leads out of"),
    ],
)
def test_what_is_missing_is_told(files, options, what, read) -> None:
    with pytest.raises(BadInput, match=what):
        read("emer", files, **options)


def test_no_such_version(read) -> None:
    with pytest.raises(UsageError, match="no split 'v3'"):
        read("emer", {"gt-eng.csv": V1}, split="v3")
