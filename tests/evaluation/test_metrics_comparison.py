"""Two runs side by side, by hand and by exchanging them."""

import json
import random

import pytest
from scipy.stats import binomtest

from mosear.evaluation.metrics.comparison import compare
from mosear.evaluation.metrics.summary import summarise
from mosear.evaluation.record import ClipRecord

LABELS = ("happy", "sad")


def run(answers: dict[str, str | None], truth: str = "sad") -> list[ClipRecord]:
    return [
        ClipRecord(name, truth, given, failure=None if given else "unknown", subset="consistent")
        for name, given in answers.items()
    ]


def test_clips_are_matched_by_name() -> None:
    """In another order, with some in one run only: b loses one clip of four and gains two."""
    a = run({"1": "sad", "2": "happy", "3": "happy", "4": "sad", "5": "sad"})
    b = run({"6": "sad", "4": "sad", "3": "sad", "2": "sad", "1": None})
    found = compare(a, b, LABELS, resamples=200)
    assert found["clips"] == {"both": 4, "only_a": 1, "only_b": 1, "other_truth": 0}
    row = found["figures"]["accuracy"]
    assert (row["a"], row["b"], row["clips"]) == (2 / 4, 3 / 4, 4)
    assert row["difference"]["value"] == pytest.approx(1 / 4)
    assert (found["mcnemar"]["b"], found["mcnemar"]["c"]) == (1, 2)
    assert found["mcnemar"]["exact"] == binomtest(1, 3).pvalue
    assert [(each["name"], each["a"], each["b"], each["kind"]) for each in found["changed"]] == [
        ("1", "sad", "unknown", "lost"),
        ("2", "happy", "sad", "gained"),
        ("3", "happy", "sad", "gained"),
    ]
    assert found["by_subset"]["consistent"]["mcnemar"] == found["mcnemar"]


def test_a_change_between_wrong_answers_is_neither_gain_nor_loss() -> None:
    found = compare(run({"1": "happy"}), run({"1": None}), LABELS, resamples=20)
    assert [each["kind"] for each in found["changed"]] == ["changed"]
    assert found["mcnemar"]["exact"] == 1.0


def drawn(seed: int, count: int = 80) -> list[ClipRecord]:
    """Answers of their own to the same truths, with scores, subsets, words and reasons."""
    truth, answers = random.Random(0), random.Random(seed)
    records = []
    for place in range(count):
        label, subset = truth.choice(LABELS), truth.choice(["video_aligned", "audio_aligned", "consistent"])
        sure = answers.uniform(0.5, 1)
        given = label if answers.random() < 0.7 else answers.choice(LABELS)
        other = LABELS[1 - LABELS.index(given)]
        records.append(
            ClipRecord(
                str(place),
                label,
                given,
                subset=subset,
                labels=[label],
                predicted_labels=[given],
                scores={given: sure, other: 1 - sure},
                reference=f"He looks {label}, frowning.",
                reason=f"He looks {given}." if answers.random() < 0.5 else f"A frown: {given}.",
            )
        )
    return records


def test_exchanged_runs_give_exchanged_figures() -> None:
    one, other = compare(drawn(1), drawn(2), LABELS, resamples=300), compare(drawn(2), drawn(1), LABELS, resamples=300)
    assert set(one["figures"]) >= {"accuracy", "modality_gap", "calibration_error", "open_vocabulary", "clue_overlap"}
    for name, row in one["figures"].items():
        mirror = other["figures"][name]
        assert (row["a"], row["b"]) == (mirror["b"], mirror["a"])
        ends = [row["difference"][key] for key in ("value", "low", "high")]
        back = [-mirror["difference"][key] for key in ("value", "high", "low")]
        assert ends == pytest.approx(back, abs=1e-9), name
    assert (one["mcnemar"]["b"], one["mcnemar"]["c"]) == (other["mcnemar"]["c"], other["mcnemar"]["b"])
    assert one["mcnemar"]["exact"] == other["mcnemar"]["exact"]
    kinds = [[each["kind"] for each in side["changed"]] for side in (one, other)]
    assert kinds[0].count("gained") == kinds[1].count("lost") == one["mcnemar"]["c"]


def test_both_sides_are_what_each_run_says_alone() -> None:
    a, b = drawn(1), drawn(2)
    found = compare(a, b, LABELS, resamples=20)
    for side, records in (("a", a), ("b", b)):
        alone = summarise(records, LABELS, resamples=20)["figures"]
        assert {name: row[side] for name, row in found["figures"].items()} == pytest.approx(
            {name: alone[name]["value"] for name in found["figures"]}
        )


def test_a_run_against_itself_differs_in_nothing() -> None:
    found = compare(drawn(1), drawn(1), LABELS, resamples=50)
    assert found["changed"] == []
    assert found["mcnemar"] == {"b": 0, "c": 0, "exact": 1.0, "mid_p": 1.0}
    for row in found["figures"].values():
        assert (row["difference"]["value"], row["difference"]["low"], row["difference"]["high"]) == (0, 0, 0)


def test_runs_in_other_words() -> None:
    """One was asked for the model's words, the other for the benchmark's: each is held against its own truth."""
    a = run({"1": "worried", "2": "sad"}, truth="worried")
    b = run({"1": "fear", "2": "fear"}, truth="fear")
    found = compare(a, b, ("worried", "sad"), ("fear", "sadness"), resamples=20)
    assert found["clips"]["other_truth"] == 2
    assert (found["figures"]["accuracy"]["a"], found["figures"]["accuracy"]["b"]) == (0.5, 1.0)
    assert (found["mcnemar"]["b"], found["mcnemar"]["c"]) == (0, 1)


def test_figures_that_only_one_run_has_are_left_out() -> None:
    bare = [ClipRecord(each.name, each.label, each.predicted) for each in drawn(1)]
    found = compare(drawn(1), bare, LABELS, resamples=20)
    assert "accuracy" in found["figures"]
    assert "calibration_error" not in found["figures"]


def test_nothing_in_common() -> None:
    found = compare(run({"1": "sad"}), run({"2": "sad"}), LABELS, resamples=20)
    assert found["clips"] == {"both": 0, "only_a": 1, "only_b": 1, "other_truth": 0}
    assert (found["figures"], found["mcnemar"], found["changed"]) == ({}, None, [])
    json.dumps(compare(drawn(1), drawn(2), LABELS, resamples=20), allow_nan=False)


def test_subsets_by_hand() -> None:
    """a loses on the picture's clips and gains on the sound's; a clip whose truth only one run knows is in neither."""
    table = {"video_aligned": [(True, False), (True, False), (True, True)], "audio_aligned": [(False, True)] * 2}
    runs: tuple[list[ClipRecord], list[ClipRecord]] = ([], [])
    for subset, pairs in table.items():
        for place, pair in enumerate(pairs):
            for side, right in zip(runs, pair, strict=True):
                side.append(ClipRecord(f"{subset} {place}", "sad", "sad" if right else "happy", subset=subset))
    runs[0].insert(0, ClipRecord("new", None, "sad", subset="audio_aligned"))
    runs[1].insert(0, ClipRecord("new", "sad", "sad", subset="audio_aligned"))
    found = compare(*runs, LABELS, resamples=50)
    video, audio = (found["by_subset"][name] for name in table)
    assert (video["clips"], video["a"], video["b"]) == (3, 1.0, pytest.approx(1 / 3))
    assert (audio["clips"], audio["a"], audio["b"]) == (2, 0.0, 1.0)
    assert [(row["mcnemar"]["b"], row["mcnemar"]["c"]) for row in (video, audio)] == [(2, 0), (0, 2)]
    assert (found["mcnemar"]["b"], found["mcnemar"]["c"]) == (2, 2)
    assert audio["difference"]["low"] == audio["difference"]["high"] == 1.0
    assert found["figures"]["modality_gap"]["a"] == -1.0
    assert found["figures"]["modality_gap"]["b"] == pytest.approx(2 / 3)
