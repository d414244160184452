"""Label files as rows, whatever wrote them."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosear.clips.benchmarks.gather import LeftOutError
from mosear.clips.benchmarks.tables import Row, read_table, read_words, whole_number
from mosear.runtime.errors import BadInput


def table(folder, content: str | bytes, name: str = "labels.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


def texts(read, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row.text(column) for column in columns) for row in read.rows]


@pytest.mark.parametrize(
    "content",
    [
        "name,label\na,sad\nb,happy\n",
        "\ufeffname,label\na,sad\nb,happy\n",
        "name,label\r\na,sad\r\n\r\nb,happy\r\n",
        "name,label\ra,sad\rb,happy\r",
        "name;label\na;sad\nb;happy\n",
        "name\tlabel\na\tsad\nb\thappy",
        " name , label \n a , sad \n,\nb,happy\n , \n",
        "\n\nName,LABEL\na,sad\nb,happy\n",
        ",name,label\n0,a,sad\n1,b,happy\n",
        'name,label\n"a","sad"\n"b","happy"\n',
    ],
    ids=["plain", "bom", "crlf", "cr", "semicolons", "tabs", "spaces", "case", "index", "quotes"],
)
def test_the_same_rows_however_the_csv_is_written(content, tmp_path) -> None:
    read = table(tmp_path, content)
    read.need("name", "label")
    assert texts(read, "name", "label") == [("a", "sad"), ("b", "happy")]


def test_commas_in_a_table_of_semicolons_stay_in_their_cells(tmp_path) -> None:
    read = table(tmp_path, "name;transcript\na;Well, yes, of course\n")
    assert texts(read, "transcript") == [("Well, yes, of course",)]


def test_lines_are_counted_across_cells_of_several_lines(tmp_path) -> None:
    read = table(tmp_path, 'name,transcript\na,"one\ntwo"\n\nb,three\n')
    assert [row.line for row in read.rows] == ["line 2 of labels.csv", "line 5 of labels.csv"]
    assert read.rows[0].text("transcript") == "one\ntwo"


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]) | st.sampled_from(" \n\t")),
            min_size=3,
            max_size=3,
        ),
        max_size=8,
    ),
    st.sampled_from(",;\t"),
    st.booleans(),
)
def test_what_a_csv_writer_wrote_is_read_back(tmp_path_factory, rows, delimiter, mark) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["name", "label", "transcript"], *rows])
    folder = tmp_path_factory.mktemp("table")
    read = table(folder, ("\ufeff" if mark else "") + text.getvalue())
    said = [tuple(cell.strip() for cell in row) for row in rows if any(cell.strip() for cell in row)]
    assert texts(read, "name", "label", "transcript") == said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.json", json.dumps([{"name": "a", "label": "sad"}, {"name": "b", "label": "happy"}])),
        ("labels.JSON", "\ufeff" + json.dumps({"a": {"label": "sad"}, "b": {"label": "happy", "x": 1}})),
        ("labels.jsonl", '{"name": "a", "label": "sad"}\r\n\r\n{"label": "happy", "name": "b"}\r\n'),
        ("labels.ndjson", '{"name": "a", "Label": " sad "}\n{"name": "b", "Label": "happy", "more": null}'),
    ],
)
def test_json_gives_the_same_rows(name, content, tmp_path) -> None:
    assert texts(table(tmp_path, content, name), "name", "label") == [("a", "sad"), ("b", "happy")]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("labels.csv", b"\xff\xfen\x00a\x00", "not text in UTF-8"),
        ("labels.csv", "name,label\nd\xe9j\xe0,sad\n".encode("latin-1"), "not text in UTF-8"),
        ("labels.csv", 'name,label\na,sad\nb,"never closed\nc,happy\n', "not well-formed CSV at line 3"),
        ("labels.csv", 'name,label\n"a"b,sad\n', "not well-formed CSV at line 2"),
        ("labels.json", "[{]", "not JSON"),
        ("labels.json", '{"name": "a"}', "neither a list of objects"),
        ("labels.json", "[1, 2]", "entry 1 of labels.json is no object"),
        ("labels.json", '{"a": {"label": "sad"}, "a": {"label": "happy"}}', "'a' stands twice"),
        ("labels.json", '[{"name": "\\ud800"}]', "not JSON"),
        ("labels.json", "[" * 100_000, "not JSON"),
        ("labels.jsonl", '{"name": "a"}\n{"name"\n', "not JSON at line 2"),
        ("labels.jsonl", '"a"\n', "line 1 of labels.jsonl is no object"),
    ],
)
def test_what_is_no_table_is_told_with_its_place(name, content, what, tmp_path) -> None:
    with pytest.raises(BadInput, match=what) as caught:
        table(tmp_path, content, name)
    assert str(tmp_path) in caught.value.what
    assert name in caught.value.what
    assert caught.value.remedy


def test_a_missing_file_a_folder_and_one_without_permission(tmp_path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_table(tmp_path / "labels.csv")
    with pytest.raises(BadInput, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(BadInput, match="can't be read"):
        read_table(tmp_path / ("x" * 300))
    with pytest.raises(BadInput, match="can't be read"):
        read_table(tmp_path / "a\0b")


def test_missing_and_double_columns_are_told_with_the_header(tmp_path) -> None:
    read = table(tmp_path, "id,name,Name\n1,a,b\n")
    with pytest.raises(BadInput, match=r"no column label, subset \(its header: id, name, Name\)"):
        read.need("label", "id", "subset")
    with pytest.raises(BadInput, match="the column name twice"):
        read.need("name")
    read.need("id")
    with pytest.raises(BadInput, match="its header: nothing"):
        table(tmp_path, "").need("name")


def test_a_row_with_too_many_cells_has_none_that_can_be_trusted(tmp_path) -> None:
    read = table(tmp_path, "name,transcript,label\na,Well, yes,sad\nb,no,happy,,\nc\n")
    with pytest.raises(LeftOutError, match="it has 4 cells and the header 3"):
        read.rows[0].text("name")
    assert texts(type(read)(read.path, read.columns, read.rows[1:]), "name", "label") == [("b", "happy"), ("c", "")]


@pytest.mark.parametrize(
    ("cell", "separator", "words"),
    [
        ("happy, proud", None, ("happy", "proud")),
        ("happy; proud|calm", None, ("happy", "proud", "calm")),
        ("['happy', \"proud\"]", None, ("happy", "proud")),
        ("[happy,proud]", None, ("happy", "proud")),
        ("happy/proud", "/", ("happy", "proud")),
        ("a, b and c", " and ", ("a, b", "c")),
        (["happy", " proud ", ""], None, ("happy", "proud")),
        ("happy, happy,, ", None, ("happy",)),
        ("", None, ()),
        (None, None, ()),
        ([], None, ()),
    ],
)
def test_several_labels_in_a_cell(cell, separator, words) -> None:
    assert Row("line 2", {"labels": cell}).words("labels", separator) == words


@pytest.mark.parametrize("cell", [{"a": 1}, [1], [["happy"]], [None]])
def test_what_is_no_list_of_texts_is_left_out(cell) -> None:
    with pytest.raises(LeftOutError):
        Row("line 2", {"labels": cell}).words("labels")
    with pytest.raises(LeftOutError):
        Row("line 2", {"labels": cell}).text("labels")


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("007", 7), ("7.0", 7), ("0", 0)])
def test_whole_numbers(text, number) -> None:
    assert whole_number(text, "label") == number


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1_0", "٣", "1e3", "nan", "9" * 5000, " 1"])
def test_what_is_no_whole_number_is_left_out(text) -> None:
    with pytest.raises(LeftOutError, match="label"):
        whole_number(text, "label")


def test_words_of_lines(tmp_path) -> None:
    path = tmp_path / "set_1" / "test.txt"
    path.parent.mkdir()
    path.write_bytes("\ufeff00001.mp4 anger\r\n\r\n00002.mp4\tfear\r\nalone".encode())
    assert read_words(path) == [
        ("line 1 of set_1/test.txt", ["00001.mp4", "anger"]),
        ("line 3 of set_1/test.txt", ["00002.mp4", "fear"]),
        ("line 4 of set_1/test.txt", ["alone"]),
    ]
