"""Labels files: what is read, and what is said about those that cannot be."""

import pytest

from mosear.clips.labelled import LabelledClip, read_labels
from mosear.runtime.errors import BadInput

HEADER = "name,subset,label,transcript\n"


def labels(folder, text: str | bytes, *names: str):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_in_any_order_with_others_among_them(tmp_path) -> None:
    text = 'label,seed,transcript,name,subset\nsad,3,"Well, yes.",a.mp4,consistent\nhappy,4,,b.mp4,video_aligned\n'
    assert read_labels(labels(tmp_path, text, "a.mp4", "b.mp4")) == [
        LabelledClip(tmp_path / "a.mp4", "sad", "consistent", "Well, yes."),
        LabelledClip(tmp_path / "b.mp4", "happy", "video_aligned", None),
    ]


def test_byte_order_mark_and_another_folder(tmp_path) -> None:
    path = labels(tmp_path, "\ufeff" + HEADER + "a.mp4,consistent,sad,x\n", "media/a.mp4")
    assert read_labels(path, tmp_path / "media")[0].path == tmp_path / "media" / "a.mp4"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name,label\na.mp4,sad\n", "no column subset, transcript"),
        ("", "no column name"),
        (HEADER, "lists no clips"),
        (HEADER + "a.mp4,consistent,,x\n", "line 2 of .* has no label"),
        (HEADER + ",consistent,sad,x\n", "line 2 of .* has no name"),
        (HEADER + "a.mp4\n", "line 2 of .* has no label"),
        (HEADER + "a.mp4,c,sad,x\na.mp4,c,sad,x\n", "line 3 .* second time"),
        (HEADER + "b.mp4,c,sad,x\n", r"1 of the 1 clips .* b\.mp4"),
        (HEADER + "../a.mp4,c,sad,x\n", "leads out of"),
        (HEADER + "a\0.mp4,c,sad,x\n", "line 2"),
        (b"\xff\xfe\x00n", "not CSV text in UTF-8"),
    ],
)
def test_bad_labels(text, what, tmp_path) -> None:
    with pytest.raises(BadInput, match=f"(?i){what}") as caught:
        read_labels(labels(tmp_path, text, "a.mp4"))
    assert caught.value.remedy
    assert caught.value.exit_code == 3


def test_no_labels_file(tmp_path) -> None:
    with pytest.raises(BadInput, match="no labels file"):
        read_labels(tmp_path / "labels.csv")
