"""What raters chose is counted right, with intervals that know who judged what, and no file is lost without a word."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap
from study_runs import answers_of, two_runs, write_run

from mosear.evaluation.study.analyse import analyse
from mosear.evaluation.study.make import Study, make_study
from mosear.evaluation.study.rates import shares, sign_test, wilson
from mosear.evaluation.study.results_table import results_table
from mosear.runtime.errors import BadInput, UsageError

FEW = 200


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Nine clips, three a subset."""
    a, b = two_runs(tmp_path)
    return make_study(a, b, tmp_path / "study.html", seed=5)


def choose(study: Study, by_name: dict[str, str], default: str = "tie") -> list[str]:
    return [by_name.get(clip.name, default) for clip in study.key.clips]


def test_rates_by_hand(study: Study, tmp_path: Path) -> None:
    # Clips 0, 3, 6 are audio-aligned, 1, 4, 7 consistent, 2, 5, 8 video-aligned.
    one = choose(study, {"clip0": "A", "clip3": "A", "clip6": "A", "clip1": "A", "clip2": "B", "clip5": "A"})
    two = choose(study, {"clip0": "A", "clip3": "B", "clip6": "A", "clip1": "A", "clip2": "B"})
    files = [
        answers_of(tmp_path / "1.json", study.key, "r1", one),
        answers_of(tmp_path / "2.json", study.key, "r2", two),
    ]
    results = analyse(study.key_file, files, resamples=FEW)
    rates = results["rates"]
    # A: 5 of r1 and 3 of r2; B: 1 and 2; equal: 3 and 4.
    assert [rates[name]["count"] for name in ("A", "B", "tie")] == [8, 3, 7]
    assert rates["A"]["judgements"] == 18
    assert rates["A"]["share"] == pytest.approx(8 / 18)
    # By clip: 0, 6, 1, 5 for A (5: one A, one tie); 2 for B; 3 is one against one; 4, 7, 8 ties.
    assert results["sign_test"] == {"for_a": 4, "for_b": 1, "even": 4, "p_value": pytest.approx(2 * (1 + 5) / 32)}
    audio = results["by_subset"]["audio_aligned"]
    assert [audio["rates"][name]["count"] for name in ("A", "B", "tie")] == [5, 1, 0]
    assert audio["sign_test"] == {"for_a": 2, "for_b": 0, "even": 1, "p_value": pytest.approx(0.5)}
    assert [results["by_subset"]["consistent"]["rates"][name]["count"] for name in ("A", "B", "tie")] == [2, 0, 4]
    assert [each["rater"] for each in results["raters"]] == ["r1", "r2"]
    assert {name: results["raters"][0][name] for name in ("judged", "A", "B", "tie", "complete")} == {
        "judged": 9,
        "A": 5,
        "B": 1,
        "tie": 3,
        "complete": True,
    }
    assert results["raters"][0]["median_seconds"] == 4.0
    assert results["clips"] == {"asked": 9, "judged": 9, "comparable": 9, "identical": 0, "left_out": 0}
    lefts = {clip.name: clip.left for clip in study.key.clips}
    chosen = [(name, run) for each in (one, two) for name, run in zip(lefts, each, strict=True) if run != "tie"]
    left = sum(lefts[name] == run for name, run in chosen)
    assert results["position"]["left"]["count"] == left
    assert results["position"]["left"]["judgements"] == 11
    assert results["position"]["left"]["share"] == pytest.approx(left / 11)
    json.dumps(results, allow_nan=False)


def test_alpha_by_hand(study: Study, tmp_path: Path) -> None:
    # Nine clips, two raters: they differ on two. Krippendorff's own way (2011, "Computing Krippendorff's
    # alpha-reliability", part B): alpha = 1 - (n - 1) * sum of differing pairs / sum of products of totals.
    one = ["A", "A", "A", "A", "B", "B", "B", "tie", "A"]
    two = ["A", "A", "A", "A", "B", "B", "B", "B", "B"]
    files = [
        answers_of(tmp_path / "1.json", study.key, "r1", one),
        answers_of(tmp_path / "2.json", study.key, "r2", two),
    ]
    found = analyse(study.key_file, files, resamples=FEW)["agreement"]
    # Totals: A 9, B 8, tie 1. Coincidences off the diagonal: A-B 1, B-tie 1.
    assert found["alpha"] == pytest.approx(1 - 17 * (1 + 1) / (9 * 8 + 9 * 1 + 8 * 1))
    assert found["clips"] == 9
    assert found["interval"][0] < found["alpha"] < found["interval"][1] <= 1


def test_alpha_with_gaps_is_the_librarys(study: Study, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = random.choice(["A", "B", "tie", None], (4, 9), p=[0.4, 0.3, 0.1, 0.2])
    files = [
        answers_of(tmp_path / f"{number}.json", study.key, f"r{number}", list(row)) for number, row in enumerate(table)
    ]
    found = analyse(study.key_file, files, resamples=FEW)
    coded = np.array([[{"A": 0, "B": 1, "tie": 2, None: np.nan}[each] for each in row] for row in table])
    assert found["agreement"]["alpha"] == pytest.approx(krippendorff.alpha(coded, level_of_measurement="nominal"))
    counts = Counter(table.ravel().tolist())
    assert [found["rates"][name]["count"] for name in ("A", "B", "tie")] == [counts[name] for name in ("A", "B", "tie")]
    assert {each["complete"] for each in found["raters"]} == {False}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([["A"] * 9], "one rater"),
        ([["A"] * 4 + [None] * 5, [None] * 4 + ["B"] * 5], "no clip was judged by two"),
        ([["A"] * 9, ["A"] * 9], "same choice everywhere"),
    ],
)
def test_no_alpha_says_why(study: Study, tmp_path: Path, sent: list[list[str | None]], reason: str) -> None:
    files = [answers_of(tmp_path / f"{n}.json", study.key, f"r{n}", row) for n, row in enumerate(sent)]
    results = analyse(study.key_file, files, resamples=FEW)
    assert results["agreement"]["alpha"] is None
    assert reason in results["agreement"]["reason"]
    assert reason in results_table(results)
    json.dumps(results, allow_nan=False)


def test_one_rater_has_no_interval_over_raters(study: Study, tmp_path: Path) -> None:
    file = answers_of(tmp_path / "1.json", study.key, "r1", ["A"] * 5 + ["B"] * 4)
    rates = analyse(study.key_file, [file], resamples=FEW)["rates"]
    assert rates["A"]["over_clips_and_raters"] is None
    assert rates["A"]["over_clips"][0] < 5 / 9 < rates["A"]["over_clips"][1]
    assert "one rater tells nothing about others" in results_table(analyse(study.key_file, [file], resamples=FEW))


def test_a_study_of_nothing_but_ties(study: Study, tmp_path: Path) -> None:
    results = analyse(study.key_file, [answers_of(tmp_path / "1.json", study.key, "r1", ["tie"] * 9)], resamples=FEW)
    assert results["rates"]["tie"]["over_clips"] == [1.0, 1.0]
    left = results["position"]["left"]
    assert (left["judgements"], left["share"], left["over_clips"], left["wilson"]) == (0, None, None, None)
    assert "Position" not in results_table(results)
    json.dumps(results, allow_nan=False)


def test_the_interval_over_clips_is_scipys() -> None:
    # With one judgement a clip, resampling clips is the plain bootstrap of a mean.
    random = np.random.default_rng(0)
    chosen = random.integers(0, 3, 80)
    choices = np.eye(3)[chosen][:, None, :]
    found = shares(choices, 20_000, 1, np.zeros(80, np.int64))
    for kind in range(3):
        truth = scipy_bootstrap(
            ((chosen == kind).astype(float),), np.mean, n_resamples=20_000, method="percentile", rng=random
        )
        assert found[kind]["over_clips"] == pytest.approx(list(truth.confidence_interval), abs=0.013)


def test_raters_who_agree_do_not_make_the_interval_narrower() -> None:
    random = np.random.default_rng(1)
    alone = np.eye(3)[random.integers(0, 2, 40)][:, None, :]
    copied = np.repeat(alone, 10, axis=1)
    strata = np.zeros(40, np.int64)
    one, ten = shares(alone, 2000, 0, strata)[0], shares(copied, 2000, 0, strata)[0]
    assert ten["over_clips"] == one["over_clips"]
    width = np.diff(one["wilson"])[0]
    # As if independent, ten times the judgements would have 1 / sqrt(10) of the width.
    assert np.diff(ten["wilson"])[0] == pytest.approx(width / math.sqrt(10), rel=0.1)
    assert np.diff(ten["over_clips_and_raters"])[0] == pytest.approx(np.diff(one["over_clips"])[0], rel=0.1)


def test_raters_who_differ_widen_the_interval_over_raters() -> None:
    # Each rater always chooses one run: clips tell nothing of what another rater would choose.
    choices = np.zeros((50, 6, 3))
    choices[:, :4, 0] = choices[:, 4:, 1] = 1
    found = shares(choices, 4000, 0, np.zeros(50, np.int64))[0]
    assert found["over_clips"] == pytest.approx([4 / 6, 4 / 6])
    low, high = found["over_clips_and_raters"]
    # Six draws at 4/6: the middle 95 % of the binomial are 2 to 6 of them.
    assert (low, high) == pytest.approx((2 / 6, 1.0))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    held = 0
    for seed in range(150):
        # Clips differ, raters differ, and both pull on every judgement; the truth over all of both is 0.5.
        pull = random.normal(0, 1, (60, 1)) + random.normal(0, 0.5, (1, 12))
        first = random.random((60, 12)) < 1 / (1 + np.exp(-pull))
        choices = np.stack([first, ~first, np.zeros_like(first)], axis=2).astype(float)
        low, high = shares(choices, 400, seed, np.zeros(60, np.int64))[0]["over_clips_and_raters"]
        held += low <= 0.5 <= high
    # At 95 %: 142.5 of 150, standard deviation 2.7; the method errs on the wide side, 12 raters on the narrow one.
    assert held >= 132


@pytest.mark.parametrize(("count", "total"), [(0, 5), (5, 5), (3, 10), (81, 263), (1, 1)])
def test_wilson_is_scipys(count: int, total: int) -> None:
    truth = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total) == pytest.approx([truth.low, truth.high])
    assert wilson(0, 0) is None


def test_the_sign_test_counts_clips() -> None:
    # Nine of ten clips for A by three raters who agree: p of 9 of 10, not of 27 of 30.
    runs = np.zeros((12, 3, 3))
    runs[:9, :, 0] = runs[9, :, 1] = runs[10, :, 2] = 1
    assert sign_test(runs) == {"for_a": 9, "for_b": 1, "even": 1, "p_value": pytest.approx(22 / 1024)}
    assert sign_test(np.zeros((3, 2, 3)))["p_value"] is None


def test_identical_reasons_count_as_ties(tmp_path: Path) -> None:
    reasons = {f"c{number}": f"x{number}" for number in range(8)}
    a = write_run(tmp_path / "a", "first", reasons)
    b = write_run(
        tmp_path / "b", "second", {name: text if name < "c2" else f"{text}!" for name, text in reasons.items()}
    )
    study = make_study(a, b, tmp_path / "study.html", clips=4)
    file = answers_of(tmp_path / "1.json", study.key, "r1", ["A", "A", "B", "tie"])
    results = analyse(study.key_file, [file], resamples=FEW)
    # Of eight clips two are the same; six differ, of which four were asked.
    assert results["with_identical"] == {
        "A": pytest.approx(0.5 * 6 / 8),
        "B": pytest.approx(0.25 * 6 / 8),
        "tie": pytest.approx(0.25 * 6 / 8 + 2 / 8),
    }
    assert "Counting 2 clips with the same reason in both runs as equal: A 37.5 %" in results_table(results)


def bad_files(study: Study, folder: Path) -> dict[str, tuple[Path, str]]:
    key, all_a = study.key, ["A"] * 9
    good = json.loads(answers_of(folder / "good.json", key, "r1", all_a).read_text())
    first = good["choices"][0]

    def changed(file: str, /, **changes: Any) -> Path:
        return answers_of(folder / file, key, file, all_a, **changes)

    broken = folder / "broken.json"
    broken.write_text('{"schema": "mosear.study-ans')
    deep = folder / "deep.json"
    deep.write_text("[" * 100_000)
    return {
        "broken": (broken, "no file of answers"),
        "deep": (deep, "no file of answers"),
        "missing": (folder / "nowhere.json", "can't be read"),
        "folder": (folder, "can't be read"),
        "other page": (changed("2.json", page="0" * 16), "it answers the page 0000000000000000"),
        "other schema": (changed("3.json", schema="mosear.study-answers/9"), "schema"),
        "unknown item": (changed("4.json", choices=[{**first, "item": "c9999"}]), "no item c9999"),
        "twice": (changed("5.json", choices=[first, first]), f"answers {first['item']} twice"),
        "other choice": (changed("6.json", choices=[{**first, "choice": "A"}]), "choices.0.choice"),
        "no time": (changed("7.json", choices=[{**first, "seconds": float("nan")}]), "no file of answers"),
        "other order": (changed("8.json", order=good["order"][:-1]), "order"),
        "more": (changed("9.json", name="Ada"), "name"),
        "no rater": (changed("10.json", rater=""), "rater"),
    }


def test_bad_files_are_named_and_the_others_counted(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    cases = bad_files(study, folder)
    good = folder / "good.json"
    for name, (path, why) in cases.items():
        with pytest.raises(BadInput) as caught:
            analyse(study.key_file, [good, path], resamples=FEW)
        assert str(path) in caught.value.what, name
        assert why in caught.value.what, name
    results = analyse(study.key_file, [good, *(path for path, _ in cases.values())], strict=False, resamples=FEW)
    assert [each["rater"] for each in results["raters"]] == ["r1"]
    assert {each["file"] for each in results["refused"]} == {str(path) for path, _ in cases.values()}
    assert results_table(results).count("not counted: ") == len(cases)
    with pytest.raises(BadInput):
        analyse(study.key_file, [cases["broken"][0]], strict=False)
    with pytest.raises(UsageError):
        analyse(study.key_file, [])


def test_a_rater_counts_once(study: Study, tmp_path: Path) -> None:
    one = answers_of(tmp_path / "1.json", study.key, "Rater 1", ["A"] * 9)
    again = answers_of(tmp_path / "2.json", study.key, "rater  1", ["B"] * 9)
    other = answers_of(tmp_path / "3.json", study.key, "r2", ["B"] * 9)
    with pytest.raises(BadInput) as caught:
        analyse(study.key_file, [one, other, again], resamples=FEW)
    assert "Rater 1" in caught.value.what
    assert str(again) in caught.value.what
    results = analyse(study.key_file, [one, other, again], strict=False, resamples=FEW)
    assert [each["rater"] for each in results["raters"]] == ["r2"]
    assert len(results["refused"]) == 2
    # The same file named twice is one file.
    assert len(analyse(study.key_file, [one, one], resamples=FEW)["raters"]) == 1


def test_a_study_without_ties_refuses_them(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    study = make_study(a, b, tmp_path / "study.html", tie=False)
    file = answers_of(tmp_path / "1.json", study.key, "r1", ["A"] * 8 + ["tie"])
    with pytest.raises(BadInput, match="ties"):
        analyse(study.key_file, [file])


def test_raters_who_do_not_read_are_left_out_when_asked(tmp_path: Path) -> None:
    a, b = two_runs(tmp_path)
    study = make_study(a, b, tmp_path / "study.html", checks=2)

    def sent(rater: str, right: int) -> Path:
        path = answers_of(tmp_path / f"{rater}.json", study.key, rater, ["A" if right else "B"] * 9)
        content = json.loads(path.read_text())
        for place, check in enumerate(study.key.checks):
            other = "left" if check.expected == "right" else "right"
            choice = check.expected if place < right else other
            entry = {"item": check.item, "choice": choice, "seconds": 1.0, "changes": 0, "comment": ""}
            content["choices"].append(entry)
        path.write_text(json.dumps(content))
        return path

    files = [sent("careful", 2), sent("tired", 1), sent("asleep", 0)]
    everyone = analyse(study.key_file, files, resamples=FEW)
    assert [each["failed_checks"] for each in everyone["raters"]] == [0, 1, 2]
    # Checks are no judgements of clips.
    assert everyone["rates"]["A"]["judgements"] == 27
    awake = analyse(study.key_file, files, max_failed_checks=1, resamples=FEW)
    assert [each["rater"] for each in awake["raters"]] == ["careful", "tired"]
    assert awake["rates"]["A"]["share"] == 1.0
    assert "left out: rater asleep, who failed 2 of 2 checks" in results_table(awake)
    with pytest.raises(BadInput):
        analyse(study.key_file, files[2:], max_failed_checks=0)


def test_a_limit_on_checks_needs_checks(study: Study, tmp_path: Path) -> None:
    file = answers_of(tmp_path / "1.json", study.key, "r1", ["A"] * 9)
    with pytest.raises(UsageError, match="no questions that check attention"):
        analyse(study.key_file, [file], max_failed_checks=1)


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "mosear.study-answers/1"}', "[1]"])
def test_a_key_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(BadInput, match="no key of a study"):
        analyse(tmp_path / "key.json", [tmp_path / "1.json"])
    with pytest.raises(BadInput, match="can't be read"):
        analyse(tmp_path / "nowhere.json", [tmp_path / "1.json"])


def test_texts_of_raters_can_not_forge_lines(study: Study, tmp_path: Path) -> None:
    rater = "r1\n[bold]not counted: all[/bold]\x1b[2J"
    file = answers_of(tmp_path / "1.json", study.key, rater, ["A"] * 9)
    told = results_table(analyse(study.key_file, [file], resamples=FEW))
    assert "\x1b" not in told
    assert not any(line.startswith("not counted") for line in told.splitlines())
    assert max(map(len, told.splitlines())) <= 110
