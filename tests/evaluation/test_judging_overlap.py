"""Overlap of reasons and references, worked out word by word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.evaluation.judging.clue_words import clue_words, stem
from mosear.evaluation.judging.overlap import clue_overlap, label_overlap, overlap_figures
from mosear.evaluation.metrics.synonyms import Synonyms, default_synonyms

TABLE = default_synonyms()


def test_clue_words_by_hand() -> None:
    text = "In the video, the man's eyebrows are furrowed at 00:03, and he doesn't feel happy: his voice is trembling."
    assert clue_words(text, TABLE) == {"eyebrow", "furrow", "voic", "trembl"}


@pytest.mark.parametrize(
    "words",
    [
        ("frown", "frowns", "frowned", "frowning"),
        ("tremble", "trembles", "trembled", "trembling"),
        ("raise", "raises", "raised", "raising"),
        ("nod", "nods", "nodded", "nodding"),
        ("press", "presses", "pressed", "pressing"),
        ("cry", "cries", "crying", "cried"),
        ("slow", "slowly"),
        ("clench", "clenches", "clenched", "clenching"),
        ("body", "bodies"),
        ("yell", "yelling", "yelled"),
    ],
)
def test_common_endings_are_taken_off(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1, [stem(word) for word in words]


@pytest.mark.parametrize(
    "words",
    [
        ("voice", "void", "vein"),
        ("eye", "eyebrow"),
        ("tone", "tongue"),
        ("sing", "sink", "sigh"),
        ("pause", "paw"),
        ("stress", "stretch"),
        ("bring", "brow"),
        ("need", "knee"),
        ("king", "kin"),
        ("loud", "low"),
    ],
)
def test_other_words_stay_apart(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == len(words), [stem(word) for word in words]


def test_clue_overlap_is_the_recall_of_the_references_clues() -> None:
    """Of five clue words of the reference the reason has two, and one of its own."""
    reference = "He is frowning, his voice trembles, his fists are clenched. He is angry."
    assert clue_words(reference, TABLE) == {"frown", "voic", "trembl", "fist", "clench"}
    assert clue_overlap("A man who frowns, and whose voice is loud: happy.", reference, TABLE) == pytest.approx(
        10 * 2 / 5
    )
    assert clue_overlap(reference, reference, TABLE) == 10
    assert clue_overlap("", reference, TABLE) == 0
    assert clue_overlap("frowning", "The person is sad.", TABLE) is None, "a reference without a clue says nothing"


def test_label_overlap_is_dice_of_folded_emotions() -> None:
    """Reference: angry and worried (twice, in two words). Reason: anger, and joy; sadness is denied."""
    reference = "She is angry, anxious and nervous."
    assert label_overlap("Full of anger and joy, not sad.", reference, TABLE) == pytest.approx(10 * 2 * 1 / (2 + 2))
    assert label_overlap("worried, angry", reference, TABLE) == 10
    assert label_overlap("She frowns.", reference, TABLE) == 0
    assert label_overlap("angry", "She frowns.", TABLE) is None


def test_a_users_table_counts() -> None:
    table = Synonyms({"blue": "sad", "sad": "sad"})
    assert label_overlap("He is blue.", "He is sad.", table) == 10
    assert label_overlap("He is blue.", "He is sad.", TABLE) == 0
    assert clue_words("angry blue eyes", table) == {"angri", "eye"}


def test_means_leave_out_what_a_reference_can_not_tell() -> None:
    reasons = ["frowning, sad", None, "sad"]
    references = ["He frowns.", "A frown: sad.", "He is sad and angry."]
    figures = overlap_figures(reasons, references, TABLE, np.arange(3))
    found = dict(zip(figures.names, figures.values(), strict=True))
    assert found["clue_overlap"] == pytest.approx((10 + 0) / 2), "the third has no clue"
    assert found["label_overlap"] == pytest.approx((0 + 10 * 2 * 1 / (1 + 2)) / 2), "the first has no label"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=40))
def test_overlaps_keep_to_their_scale(reason: str, reference: str, more: str) -> None:
    for overlap in (clue_overlap, label_overlap):
        value = overlap(reason, reference, TABLE)
        assert value is None or 0 <= value <= 10
        whole = overlap(reference, reference, TABLE)
        assert whole in (None, 10)
    clue = clue_overlap(reason, reference, TABLE)
    if clue is not None:
        longer = clue_overlap(f"{reason}. {more}", reference, TABLE)
        assert longer is not None
        assert longer >= clue
