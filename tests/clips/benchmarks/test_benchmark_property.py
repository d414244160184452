"""Whatever stands in a label file: a benchmark, or an error that a person can act on."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.clips.benchmarks.record import Benchmark
from mosear.clips.benchmarks.registry import ReadOptions, read_benchmark
from mosear.runtime.errors import BadInput, UsageError

HEADERS = {
    "ca-mer": "name,subset,label,labels,media,fold",
    "csv": "name,label,labels,media,fold,speaker",
    "mer2023": "name,discrete,valence",
    "dfew": "video_name,label",
    "emer": "names,emotions,subtitles,reasons",
    "mafw": "",
    "meld": "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID",
}
FILES = {
    "ca-mer": ("labels.csv", "a.mp4"),
    "csv": ("labels.csv", "a.mp4"),
    "mer2023": ("test3-label.csv", "test3/a.mp4"),
    "dfew": ("EmoLabel_DataSplit/test(single-labeled)/set_1.csv", "Clip/original/1.mp4"),
    "emer": ("gt-eng.csv", "video/a.mp4"),
    "mafw": ("Train & Test Set/single/no_caption/set_1/test.txt", "data/clips/a.mp4"),
    "meld": ("test_sent_emo.csv", "test/dia1_utt1.mp4"),
}
FOLDED = {"dfew", "mafw"}

CELLS = st.one_of(
    st.sampled_from(
        ["", "a", "a.mp4", "1", "1.0", "0", "sad", "happy", "anger", "joy", "consistent", "../a", "nan", "."]
    ),
    st.sampled_from(["/", "..", "a\0", '"', '"a"', "a,b", "[", "['sad']", "-1", "\ufeff", "é", "\r", " "]),
    st.text(max_size=4),
)
LINES = st.lists(st.lists(CELLS, max_size=7).map(",".join), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=8,
)


def answer(dataset: str, root: Path, options: ReadOptions) -> Benchmark | None:
    """None where an error tells what is wrong; any other exception goes through."""
    try:
        return read_benchmark(dataset, root, options)
    except (BadInput, UsageError):
        return None


def check(dataset: str, content: bytes, suffix: str = "") -> None:
    file, clip = FILES[dataset]
    root = Path(tempfile.mkdtemp())
    try:
        for path, data in ((root / clip, b"x"), ((root / file).with_suffix(suffix or Path(file).suffix), content)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        fold = 1 if dataset in FOLDED else None
        benchmark = answer(dataset, root, ReadOptions(fold=fold))
        if benchmark is None:
            return
        assert benchmark.clips
        names = [each.name for each in benchmark.clips]
        assert len(set(names)) == len(names)
        for each in benchmark.clips:
            assert each.media == root / clip
            assert each.label in benchmark.labels or (each.label is None and (each.labels or each.reference))
        assert all(each.reason for each in benchmark.skipped)
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("dataset", FILES)
@settings(max_examples=60, deadline=None)
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]))
def test_tables_with_the_right_header(dataset, lines, end) -> None:
    check(dataset, end.join([HEADERS[dataset], *lines]).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("dataset", FILES)
@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-16")))
def test_any_bytes(dataset, content) -> None:
    check(dataset, content)


@pytest.mark.parametrize("dataset", ["ca-mer", "csv"])
@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(
        VALUES,
        st.lists(
            st.fixed_dictionaries(
                {"name": VALUES, "label": VALUES, "labels": VALUES, "subset": VALUES, "fold": VALUES}
            ),
            max_size=4,
        ),
    )
)
def test_any_json(dataset, content) -> None:
    check(dataset, json.dumps(content).encode(), ".json")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "a.mp4", "b", ""]), st.sampled_from(["sad", "joy", ""])), min_size=1, max_size=8
    )
)
def test_no_line_is_lost(rows) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        (root / "a.mp4").write_bytes(b"x")
        (root / "labels.csv").write_text("name,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
        lines = [row for row in rows if any(row)]
        good = {name for name, label in rows if name in ("a", "a.mp4") and label}
        benchmark = answer("csv", root, ReadOptions())
        if benchmark is None:
            assert not good
            return
        assert {each.name for each in benchmark.clips} == good
        assert len(benchmark.clips) + len(benchmark.skipped) == len(lines)
    finally:
        shutil.rmtree(root)


@settings(max_examples=80, deadline=None)
@given(
    names=st.lists(
        st.lists(st.sampled_from(["00", "01", "02", "03", "08", "09", "24", "25", "1", "x"]), min_size=6, max_size=8),
        max_size=6,
    )
)
def test_any_names_of_ravdess(names) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        files = {"-".join(parts) + ".mp4" for parts in names}
        for file in files:
            (root / file).write_bytes(b"x")
        benchmark = answer("ravdess", root, ReadOptions())
        if benchmark is None:
            return
        for each in benchmark.clips:
            modality, channel, emotion, *_, actor = map(int, each.name.split("-"))
            assert modality == 1
            assert each.subset == ("speech", "song")[channel - 1]
            assert each.label == benchmark.labels[emotion - 1]
            assert 1 <= int(each.speaker) == actor <= 24
        assert {each.name for each in (*benchmark.clips, *benchmark.skipped)} <= {file[:-4] for file in files}
    finally:
        shutil.rmtree(root)
