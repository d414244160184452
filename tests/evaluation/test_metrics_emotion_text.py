"""What is read from texts, and above all what is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.evaluation.metrics.emotion_text import NEGATED, NO_LABEL, NOTHING, SEVERAL, emotion_words, parse_label
from mosear.evaluation.metrics.synonyms import Synonyms

LABELS = ("neutral", "angry", "happy", "sad", "worried", "surprise")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("happy", "happy"),
        (" Happy.\n", "happy"),
        ("**HAPPY**", "happy"),
        ("_sad_", "sad"),
        ("'angry'", "angry"),
        ('{"emotion": "sad"}', "sad"),
        ("The person in the video is worried.", "worried"),
        ("sad, sad, sad", "sad"),
        ("surprise!surprise", "surprise"),
        ("She is not angry but sad", "sad"),
        ("He isn't angry; he is sad.", "sad"),
        ("He isn’t angry; he is sad.", "sad"),
        ("worried rather than angry", "worried"),
        ("No doubt she is happy", "happy"),
        ("without a doubt, happy", "happy"),
        ("can't help feeling sad", "sad"),
        ("One cannot help but feel sad", "sad"),
        ("not only sad", "sad"),
        # A full-width form, as Chinese keyboards write it.
        ("ｓａｄ", "sad"),
    ],
)
def test_a_text_that_names_one_label(text: str, label: str) -> None:
    assert parse_label(text, LABELS) == (label, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", NOTHING),
        (" \n\t", NOTHING),
        ("…", NO_LABEL),
        ("I cannot tell.", NO_LABEL),
        ("unhappy", NO_LABEL),
        ("happy-go-lucky", NO_LABEL),
        ("happyyy", NO_LABEL),
        ("video_happy", NO_LABEL),
        ("sadness", NO_LABEL),
        ("surprised", NO_LABEL),
        ("disgust", NO_LABEL),
        ("很开心", NO_LABEL),
        ("happy or sad", SEVERAL),
        ("not only sad but also angry", SEVERAL),
        ("neutral, angry, happy, sad, worried, surprise", SEVERAL),
        ("not happy", NEGATED),
        ("She never looks happy", NEGATED),
        ("neither happy nor sad", NEGATED),
        ("doesn't seem to be very happy", NEGATED),
        ("There is nothing sad about it", NEGATED),
        ("without looking angry", NEGATED),
        ("far from happy", NEGATED),
    ],
)
def test_a_text_that_names_none(text: str, why: str) -> None:
    assert parse_label(text, LABELS) == (None, why)
    assert why.startswith("parse: ")


def test_a_longer_label_hides_one_within_it() -> None:
    labels = ("surprise", "pleasant surprise", "happy")
    assert parse_label("It is a pleasant surprise.", labels) == ("pleasant surprise", None)
    assert parse_label("It is a surprise.", labels) == ("surprise", None)
    assert parse_label("How pleasant. Surprise.", labels) == ("surprise", None), "no phrase goes across a full stop"


def test_labels_with_signs_in_them() -> None:
    assert parse_label("😀", ("😀", "😢")) == ("😀", None)
    assert parse_label("well, 😀", ("😀", "😢")) == (None, NO_LABEL), "a label without a word is only met alone"
    assert parse_label("a (b", ("a (b", "c")) == ("a (b", None)
    assert parse_label("it is sad/angry", ("sad/angry", "sad")) == ("sad/angry", None)


word = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=9)


@settings(max_examples=80, deadline=None)
@given(st.lists(word.filter(lambda each: each not in LABELS), max_size=12))
def test_no_text_without_a_label_becomes_one(words: list[str]) -> None:
    label, why = parse_label(" ".join(words), LABELS)
    assert label is None
    assert why in (NOTHING, NO_LABEL)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
def test_a_label_is_only_given_where_it_stands(text: str) -> None:
    label, why = parse_label(text, LABELS)
    assert (label is None) != (why is None)
    if label is not None:
        assert label in LABELS


def test_emotion_words_in_their_order() -> None:
    text = "At first she seems at ease, then angry; her anger grows, and she is taken aback. Angry again."
    assert emotion_words(text) == ["at ease", "angry", "anger", "taken aback"]


def test_negated_emotions_are_left_out() -> None:
    text = "He shows no trace of anger, isn't afraid and is worried rather than sad. His voice lacks joy. Not calm."
    assert emotion_words(text) == ["worried"]


def test_a_negation_ends_with_its_clause() -> None:
    assert emotion_words("not happy, sad") == ["sad"]
    assert emotion_words("not happy but sad") == ["sad"]
    assert emotion_words("not happy and looks sad") == ["sad"]
    assert emotion_words("not happy and calm") == []
    assert emotion_words("He does not smile. Sad") == ["sad"]
    assert emotion_words("She does not move her head or look at him in the least, angrily") == ["angrily"]


def test_no_emotion_is_neutral_and_not_a_negated_word() -> None:
    assert emotion_words("There is no obvious emotion.") == ["no obvious emotion"]


def test_only_words_of_the_table_are_found() -> None:
    table = Synonyms({"blue": "sad", "down in the dumps": "sad"})
    assert emotion_words("Angry, blue and down in the dumps", table) == ["blue", "down in the dumps"]
    assert emotion_words("", table) == []
    assert emotion_words("bluebird", table) == []
