"""Sets of emotion words: the table, users' tables, and precision and recall by hand."""

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from mosear.clips.benchmarks import dfew, mafw, meld, ravdess
from mosear.evaluation.metrics.emotion_lexicon import GROUPS
from mosear.evaluation.metrics.open_vocabulary import (
    Synonyms,
    default_synonyms,
    emotion_words,
    load_synonyms,
    open_vocabulary_figures,
    set_scores,
)
from mosear.runtime.errors import BadInput
from mosear.runtime.modality import LABELS

TABLE = Synonyms({"glad": "happy", "happy": "happy", "joy": "happy", "sad": "sad", "angry": "angry"})


def test_sets_by_hand() -> None:
    assert set_scores(["glad", "angry"], ["Happy"], TABLE) == (1 / 2, 1.0)
    assert set_scores(["happy"], ["joy", "sad", "wistful"], TABLE) == (1.0, 1 / 3)
    assert set_scores(["glad", "joy", "happy"], ["happy"], TABLE) == (1.0, 1.0), "three words of one group are one"
    assert set_scores(["wistful"], ["Wistful "], TABLE) == (1.0, 1.0), "a word that the table lacks is its own group"
    assert set_scores([], ["sad"], TABLE) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no truth"):
        set_scores(["sad"], [], TABLE)


def test_means_over_clips_by_hand() -> None:
    """A clip without an answer counts nought in both; the headline is the mean of both means."""
    figures = open_vocabulary_figures(
        [["glad", "angry"], [], ["happy"]], [["happy"], ["sad"], ["joy", "sad"]], TABLE, np.arange(3)
    )
    precision, recall = (1 / 2 + 0 + 1) / 3, (1 + 0 + 1 / 2) / 3
    found = dict(zip(figures.names, figures.values(), strict=True))
    assert found["open_vocabulary_precision"] == pytest.approx(precision)
    assert found["open_vocabulary_recall"] == pytest.approx(recall)
    assert found["open_vocabulary"] == pytest.approx((precision + recall) / 2)


def test_each_word_of_the_table_is_in_one_group_and_is_found_in_a_text() -> None:
    table = default_synonyms()
    for group, words in GROUPS.items():
        for word in (each.strip() for each in words.split(",")):
            assert table.fold(word) == group
            assert emotion_words(f"Well: {word.upper()}.") == [word]
        assert table.fold(group) == group


def test_benchmarks_labels_are_in_the_table_and_those_that_differ_stay_apart() -> None:
    table = default_synonyms()
    for labels in (LABELS, dfew.LABELS, mafw.LABELS, meld.LABELS, ravdess.LABELS):
        assert all(table.knows(label) for label in labels), labels
        assert len({table.fold(label) for label in labels}) == len(labels), labels


def test_a_users_table_extends_this_one(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"melancholic": ["wistful", "Saudade"], "sad": ["angry"]}), encoding="utf-8")
    table = load_synonyms(path)
    assert table.fold("saudade") == table.fold("Wistful") == table.fold("melancholic") == "melancholic"
    assert table.fold("angry") == "sad", "the user's table is the one that counts"
    assert table.fold("joyful") == "happy"
    assert emotion_words("full of saudade", table) == ["saudade"]


def test_a_users_table_replaces_this_one(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"replace": True, "groups": {"up": ["happy"], "down": ["sad"]}}), encoding="utf-8")
    table = load_synonyms(path)
    assert set(table.groups) == {"up", "happy", "down", "sad"}
    assert not table.knows("joyful")


def test_a_table_as_csv_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "own.CSV"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("group", "note", "word"), ("up", "x", "Chuffed"), ("up", "", "over, and out")])
    table = load_synonyms(path)
    assert table.fold("chuffed") == table.fold("over and out") == "up"


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    one, other = tmp_path / "a.json", tmp_path / "b.csv"
    one.write_text('{"up": ["chuffed"]}', encoding="utf-8")
    other.write_text("word,group\nchuffed,up\n", encoding="utf-8")
    assert load_synonyms(one).sha256 == load_synonyms(other).sha256 != default_synonyms().sha256
    again = pickle.loads(pickle.dumps(load_synonyms(one)))
    assert again.sha256 == load_synonyms(one).sha256
    assert emotion_words("chuffed", again) == ["chuffed"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.json", "{", "is not a table of synonyms"),
        ("t.json", '["happy"]', "is not a list of words by group"),
        ("t.json", '{"happy": "glad"}', "is not a list of words by group"),
        ("t.json", '{"happy": [1]}', "is not a list of words by group"),
        ("t.json", '{"happy": ["glad"], "sad": ["glad"]}', "has glad in two groups, happy and sad"),
        ("t.json", '{"happy": ["glad"], "happy": ["joy"]}', "happy stands there twice"),
        ("t.json", '{"happy": ["?"]}', "has an empty word in group happy"),
        ("t.json", '{" ": ["glad"]}', "has a group without a name"),
        ("t.json", "{}", "holds no words"),
        ("t.json", '{"groups": {"a": ["b"]}, "replace": "yes"}', "is neither true nor false"),
        ("t.json", '{"groups": {"a": ["b"]}, "extend": true}', "has extend beside groups"),
        ("t.csv", "word;group\na;b\n", r"has no column word and group \(its header: word;group\)"),
        ("t.csv", "", r"its header: nothing"),
        ("t.csv", "word,group\nglad,\n", "line 2 of .* has no group"),
        ("t.csv", "word,group\nglad\n", "line 2 of .* has no group"),
        ("t.csv", 'word,group\n"glad,happy\n', "is not CSV"),
        ("t.csv", "word,group\n", "holds no words"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=says):
        load_synonyms(path)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"word,group\n\xff,\xfe\n")
    with pytest.raises(BadInput, match="is not text in UTF-8"):
        load_synonyms(path)
    with pytest.raises(BadInput, match="there is no table"):
        load_synonyms(tmp_path / "absent.json")
    with pytest.raises(BadInput, match="can't be read"):
        load_synonyms(tmp_path)
