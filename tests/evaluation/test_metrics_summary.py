"""The whole of a run's figures, on records whose figures are known by hand or by scikit-learn."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score, recall_score

from mosear.evaluation.metrics.summary import summarise
from mosear.evaluation.record import ClipRecord

LABELS = ("happy", "sad", "angry")
FEW = 100


def clip(name: str, label: str | None, predicted: str | None, **more: Any) -> ClipRecord:
    return ClipRecord(name, label, predicted, **more)


def figure(found: dict[str, Any], name: str) -> float:
    return found["figures"][name]["value"]


def test_what_was_answered_is_counted_and_nothing_becomes_a_label() -> None:
    records = [
        clip("a", "happy", "happy"),
        clip("b", "happy", None, failure="parse: no label"),
        clip("c", "sad", None, failure="parse: no label"),
        clip("d", "sad", None, failure="parse: several labels"),
        clip("e", "sad", None, failure="unknown", states=["no_video"]),
        clip("f", "angry", None),
        clip("g", None, "sad"),
    ]
    found = summarise(records, LABELS, skipped=4, resamples=FEW)
    assert found["counts"] == {
        "clips": 7,
        "answered": 2,
        "unknown": 1,
        "parse_failures": {"parse: no label": 2, "parse: several labels": 1},
        "other_failures": {"no reason given": 1},
        "skipped": 4,
        "with_label": 6,
        "with_open_vocabulary": 0,
        "with_reference": 0,
        "with_reason": 0,
    }
    assert figure(found, "accuracy") == pytest.approx(1 / 6)
    assert found["confusion"]["answers"] == ["happy", "sad", "angry", "none"]
    assert found["confusion"]["counts"] == [[1, 0, 0, 1], [0, 0, 0, 3], [0, 0, 0, 1]]
    assert sum(row["answered"] for row in found["by_class"].values()) == 1


def test_truths_that_the_model_has_no_word_for() -> None:
    records = [clip("a", "happy", "happy"), clip("b", "disgust", "sad"), clip("c", "disgust", None, failure="unknown")]
    found = summarise(records, LABELS, resamples=FEW)
    assert found["truth_beyond_labels"] == {"disgust": 2}
    assert figure(found, "accuracy") == pytest.approx(1 / 3)
    assert figure(found, "uar") == pytest.approx((1 + 0) / 2), "a class that can't be met is a class"
    assert found["figures_within_labels"]["clips"] == 1
    assert found["figures_within_labels"]["figures"]["uar"]["value"] == 1.0
    assert summarise(records[:1], LABELS, resamples=FEW)["figures_within_labels"] is None
    only = summarise(records[1:], LABELS, resamples=FEW)
    assert only["figures_within_labels"] == {"clips": 0, "figures": {}}


def test_subsets_gap_folds_and_speakers_by_hand() -> None:
    table = [
        ("video_aligned", 1, "x", True),
        ("video_aligned", 1, "y", False),
        ("video_aligned", 2, "x", False),
        ("video_aligned", 2, "y", True),
        ("audio_aligned", 1, "x", True),
        ("audio_aligned", 2, "x", True),
        ("audio_aligned", 2, "y", True),
        ("audio_aligned", 2, None, False),
        ("consistent", 1, "x", True),
    ]
    records = [
        clip(str(place), "sad", "sad" if right else "happy", subset=subset, fold=fold, speaker=speaker)
        for place, (subset, fold, speaker, right) in enumerate(table)
    ]
    found = summarise(records, LABELS, resamples=FEW)
    subsets = found["by_subset"]
    assert {name: row["accuracy"]["value"] for name, row in subsets.items()} == {
        "video_aligned": 0.5,
        "audio_aligned": 0.75,
        "consistent": 1.0,
    }
    assert figure(found, "modality_gap") == pytest.approx(0.25)
    wilson = binomtest(3, 4).proportion_ci(method="wilson")
    ends = [subsets["audio_aligned"]["accuracy"][end] for end in ("low", "high")]
    assert ends == pytest.approx([wilson.low, wilson.high])
    assert {name: row["war"] for name, row in found["by_fold"]["groups"].items()} == {"1": 3 / 4, "2": 3 / 5}
    assert found["by_fold"]["mean"]["war"] == pytest.approx((3 / 4 + 3 / 5) / 2)
    assert found["by_fold"]["std"]["war"] == pytest.approx((3 / 4 - 3 / 5) / math.sqrt(2))
    assert {name: (row["clips"], row["accuracy"]) for name, row in found["by_speaker"]["groups"].items()} == {
        "x": (5, 4 / 5),
        "y": (3, 2 / 3),
    }


def test_one_modality_alone() -> None:
    """A clip without sound is no error of the sound's answer; one whose truth is unknown is left out."""

    def scored(name: str, visual: str, audio: str | None, subset: str) -> ClipRecord:
        def scores(label: str) -> dict[str, float]:
            return {each: 0.8 if each == label else 0.1 for each in LABELS}

        sides = {"visual": scores(visual), "audio": None if audio is None else scores(audio)}
        return clip(name, "sad", "sad", by_modality=sides, subset=subset)

    records = [
        scored("a", "sad", "happy", "video_aligned"),
        scored("b", "happy", "sad", "audio_aligned"),
        scored("c", "sad", None, "video_aligned"),
        clip("d", None, "sad", by_modality={"visual": {"happy": 1.0}, "audio": None}),
    ]
    found = summarise(records, LABELS, resamples=FEW)["by_modality"]
    assert (found["visual"]["clips"], found["audio"]["clips"]) == (3, 2)
    assert found["visual"]["figures"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["audio"]["figures"]["accuracy"]["value"] == 0.5
    assert found["visual"]["figures"]["modality_gap"]["value"] == -1.0
    assert found["audio"]["figures"]["modality_gap"]["value"] == 1.0
    assert found["visual"]["by_subset"]["video_aligned"]["accuracy"]["value"] == 1.0
    nothing = summarise([clip("a", "sad", "sad")], LABELS, resamples=FEW)["by_modality"]
    assert nothing == {"visual": None, "audio": None}


def test_scores_against_truth() -> None:
    """Three clips in one bin, one of them beyond the labels; a score that was rounded to nought has a likelihood."""
    sure = {"happy": 0.9, "sad": 0.1, "angry": 0.0}
    records = [
        clip("a", "happy", "happy", scores=sure),
        clip("b", "angry", "happy", scores=sure),
        clip("c", "disgust", "happy", scores=sure),
        clip("d", "sad", None, failure="unknown"),
    ]
    found = summarise(records, LABELS, resamples=FEW)
    assert figure(found, "calibration_error") == pytest.approx(0.9 - 1 / 3)
    assert figure(found, "brier_score") == pytest.approx((0.1**2 + 0.1**2 + 0.9**2 + 0.1**2 + 1) / 2)
    assert figure(found, "negative_log_likelihood") == pytest.approx((-math.log(0.9) - math.log(5e-7)) / 2)
    assert found["figures"]["calibration_error"]["method"] == "bca"
    (full,) = [each for each in found["reliability"]["bins"] if each["count"]]
    assert (full["count"], full["accuracy"]) == (3, pytest.approx(1 / 3))
    assert full["confidence"] == pytest.approx(0.9)
    # What three answers of 90 % show by chance: right 3, 2, 1 or 0 times.
    chance = sum(math.comb(3, k) * 0.9**k * 0.1 ** (3 - k) * abs(k / 3 - 0.9) for k in range(4))
    assert found["reliability"]["error_by_chance"] == pytest.approx(chance, abs=0.04)


def test_words_and_reasons() -> None:
    records = [
        clip(
            "a",
            None,
            None,
            labels=["joyful", "saudade"],
            predicted_labels=["glad"],
            reference="He smiles, happy.",
            reason="A happy man who smiles.",
        ),
        clip("b", None, None, labels=["sad"], reference="She frowns, sad."),
        clip("c", "sad", "sad"),
    ]
    found = summarise(records, LABELS, resamples=FEW)
    assert figure(found, "open_vocabulary_precision") == pytest.approx((1 + 0) / 2)
    assert figure(found, "open_vocabulary_recall") == pytest.approx((1 / 2 + 0) / 2)
    assert found["open_vocabulary"]["without_words"] == 1
    assert found["open_vocabulary"]["truth_not_in_table"] == {"saudade": 1}
    assert figure(found, "label_overlap") == figure(found, "clue_overlap") == pytest.approx((10 + 0) / 2)
    assert figure(found, "accuracy") == 1.0
    unasked = summarise([clip("a", "sad", "sad", reference="She frowns.")], LABELS, resamples=FEW)
    assert "clue_overlap" not in unasked["figures"], "where nobody asked for a reason, none is missing"


def test_an_answer_of_other_words_is_refused() -> None:
    with pytest.raises(ValueError, match="furious"):
        summarise([clip("a", "sad", "furious")], LABELS)


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and finite(each) for key, each in value.items())
    if isinstance(value, list):
        return all(finite(each) for each in value)
    return value is None or isinstance(value, (str, bool, int)) or (type(value) is float and math.isfinite(value))


@st.composite
def runs(draw: st.DrawFn) -> list[ClipRecord]:
    scores = st.lists(st.floats(0.001, 1), min_size=3, max_size=3).map(
        lambda row: {label: value / sum(row) for label, value in zip(LABELS, row, strict=True)}
    )
    words = st.lists(st.sampled_from(["glad", "sad", "wistful"]), max_size=2)
    some = st.none() | scores
    records = []
    for place in range(draw(st.integers(0, 7))):
        predicted = draw(st.sampled_from([*LABELS, None]))
        records.append(
            ClipRecord(
                name=str(place),
                label=draw(st.sampled_from([*LABELS, "disgust", None])),
                predicted=predicted,
                failure=None if predicted else draw(st.sampled_from(["parse: no label", "unknown"])),
                labels=draw(words),
                predicted_labels=draw(words),
                subset=draw(st.sampled_from(["video_aligned", "audio_aligned", "consistent", None])),
                fold=draw(st.sampled_from([1, 2, None])),
                speaker=draw(st.sampled_from(["x", None])),
                reference=draw(st.sampled_from([None, "", "He frowns, sad."])),
                reason=draw(st.sampled_from([None, "", "frowning"])),
                scores=draw(some) or {},
                by_modality={"visual": draw(some), "audio": draw(some)},
            )
        )
    return records


@settings(max_examples=60, deadline=None)
@given(runs())
def test_any_run_gives_plain_json_and_scikit_learns_figures(records: list[ClipRecord]) -> None:
    found = summarise(records, LABELS, resamples=20)
    assert finite(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    known = [record for record in records if record.label is not None]
    assert ("accuracy" in found["figures"]) == bool(known)
    for each in found["figures"].values():
        assert (each["value"] is None) == (each["low"] is None) == (each["high"] is None)
    if known:
        true, given_ = [str(record.label) for record in known], [record.predicted or "(none)" for record in known]
        weighted = f1_score(true, given_, average="weighted", zero_division=0)
        recall = recall_score(true, given_, labels=sorted(set(true)), average="macro", zero_division=0)
        assert figure(found, "weighted_f1") == pytest.approx(weighted)
        assert figure(found, "uar") == pytest.approx(recall)


def test_a_seed_makes_the_figures() -> None:
    records = [
        clip(str(place), "sad", "sad", scores={"happy": 0.1, "sad": 0.5 + place / 100, "angry": 0.4 - place / 100})
        for place in range(30)
    ]
    first, again, other = (summarise(records, LABELS, seed=seed, resamples=FEW) for seed in (3, 3, 4))
    assert first == again
    assert first["figures"]["brier_score"]["low"] != other["figures"]["brier_score"]["low"]
