"""Intervals against SciPy's bootstrap, and against how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from mosear.evaluation.metrics.bootstrap import BCA, PERCENTILE, Figures, differences, intervals
from mosear.evaluation.metrics.classification import classification_figures, encode
from mosear.evaluation.metrics.modality_gap import gap_figures
from mosear.evaluation.metrics.score_figures import error_figures

LABELS = ("a", "b", "c")


def mean_of(values: np.ndarray, rows: np.ndarray | None = None, strata: np.ndarray | None = None) -> Figures:
    features = np.stack([values, np.ones(len(values))], axis=-1)
    rows = np.arange(len(values)) if rows is None else rows

    def of(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return sums[..., :1] / sums[..., 1:]

    return Figures(("mean",), features, of, rows, strata)


@pytest.mark.parametrize(("ours", "theirs"), [(PERCENTILE, "percentile"), (BCA, "BCa")])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_intervals_are_those_of_scipy(ours: str, theirs: str, level: float) -> None:
    """Of a skewed sample, to the noise of the draws."""
    values = np.random.default_rng(3).exponential(size=40)
    wanted = bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=level, method=theirs, random_state=1
    ).confidence_interval
    found = intervals(mean_of(values), resamples=20_000, seed=2, level=level, method=ours)["mean"]
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.01)
    assert found.value == pytest.approx(values.mean())


def test_both_methods_differ_on_skewed_samples() -> None:
    """By more than the noise of the draws, so that the test above tells them apart."""
    values = np.random.default_rng(3).exponential(size=40)
    plain, corrected = (intervals(mean_of(values), 20_000, method=method)["mean"] for method in (PERCENTILE, BCA))
    assert corrected.high - plain.high > 0.02


def test_paired_differences_are_those_of_scipy() -> None:
    random = np.random.default_rng(5)
    one = random.normal(size=50)
    other = one + random.normal(0.2, 0.3, 50)

    def difference(left: np.ndarray, right: np.ndarray, axis: int = -1) -> np.ndarray:
        return right.mean(axis=axis) - left.mean(axis=axis)

    wanted = bootstrap((one, other), difference, paired=True, n_resamples=20_000, method="percentile", random_state=1)
    found = differences(mean_of(one), mean_of(other), resamples=20_000)["mean"]
    ends = (wanted.confidence_interval.low, wanted.confidence_interval.high)
    assert (found.low, found.high) == pytest.approx(ends, abs=0.005)
    assert found.high - found.low < 0.3, "unpaired, it would be as wide as the samples' own spread"


def test_differences_rest_on_the_clips_that_both_have() -> None:
    one = mean_of(np.array([1.0, 5.0, 2.0]), rows=np.array([0, 1, 4]))
    other = mean_of(np.array([3.0, 9.0, 3.0]), rows=np.array([0, 2, 4]))
    found = differences(one, other, resamples=500)["mean"]
    assert found.value == pytest.approx((3 - 1 + 3 - 2) / 2)
    assert (found.low, found.high) == (1.0, 2.0)
    with pytest.raises(ValueError, match="not the same figures"):
        differences(one, Figures(("other",), one.features, one.of, one.rows))


def test_a_seed_makes_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    first, again, other = (intervals(mean_of(values), 300, seed)["mean"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_many_clips_are_drawn_in_parts() -> None:
    """More weights than are held at a time; the standard error of a mean is known."""
    values = np.random.default_rng(0).normal(size=9000)
    found = intervals(mean_of(values), resamples=1000)["mean"]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.002)
    assert found.high == pytest.approx(values.mean() + half, abs=0.002)


def test_every_resample_keeps_the_sizes_of_strata() -> None:
    """With one clip in a stratum and equal ones in the other, nothing is left to chance."""
    values = np.array([10.0, 1.0, 1.0, 1.0])
    found = intervals(mean_of(values, strata=np.array([0, 1, 1, 1])))["mean"]
    assert (found.low, found.value, found.high) == (13 / 4, 13 / 4, 13 / 4)
    loose = intervals(mean_of(values))["mean"]
    assert (loose.low, loose.high) != (loose.value, loose.value)


def test_what_is_undefined_has_no_interval() -> None:
    found = intervals(mean_of(np.zeros(0)))["mean"]
    assert (found.value, found.low, found.high) == (None, None, None)


def test_bca_of_a_figure_that_never_varies() -> None:
    found = intervals(mean_of(np.ones(12)), method=BCA)["mean"]
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def drawn(count: int, random: np.random.Generator) -> Figures:
    true = random.choice(3, count, p=[0.5, 0.3, 0.2])
    right = random.random(count) < np.array([0.9, 0.7, 0.5])[true]
    given = np.where(right, true, random.integers(0, 4, count))
    names = [*LABELS, None]
    answers = encode([LABELS[place] for place in true], [names[place] for place in given], LABELS)
    return classification_figures(answers, np.arange(count))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """250 samples of 150 clips from a known model, whose truth comes from half a million."""
    whole = drawn(500_000, np.random.default_rng(99))
    truth = dict(zip(whole.names, whole.values().tolist(), strict=True))
    held = dict.fromkeys(truth, 0)
    for seed in range(250):
        for name, found in intervals(drawn(150, np.random.default_rng(seed)), 400, seed).items():
            held[name] += found.low <= truth[name] <= found.high
    # Of 250 intervals of 95 %, fewer than 225 hold the truth once in a thousand times.
    assert all(count >= 225 for count in held.values()), held
    assert min(held.values()) < 250, "intervals that never miss are too wide"


def test_intervals_of_no_difference_hold_nought() -> None:
    """Two models of the same quality, right on other clips."""
    held = 0
    for seed in range(250):
        random = np.random.default_rng(seed)
        hard = random.random(120)
        found = differences(*(mean_of((random.random(120) > hard).astype(float)) for _ in range(2)), 400, seed)["mean"]
        held += found.low <= 0 <= found.high
    assert 225 <= held < 250


def test_the_gap_is_resampled_within_its_subsets() -> None:
    """Subsets of five and five hundred clips: the error of the gap is that of the small one."""
    subsets = ["audio_aligned"] * 500 + ["video_aligned"] * 5 + ["consistent"] * 50
    right = np.array([True, False] * 250 + [True, True, True, False, False] + [True] * 50)
    figures = gap_figures(subsets, right, np.arange(len(subsets)))
    assert figures is not None
    found = intervals(figures, 4000)["modality_gap"]
    assert found.value == pytest.approx(0.5 - 0.6)
    # Three of five: quantiles of binomial(5, 0.6) / 5 are 0.2 and 1, give or take half a hundredth of the other.
    assert (found.low, found.high) == pytest.approx((0.5 - 1.0, 0.5 - 0.2), abs=0.06)


def test_correction_for_bias_is_what_the_calibration_error_needs() -> None:
    """100 scores that are too sure by a twentieth: noise within the bins is as large as that, so the error as measured
    lies too high, and resampling adds the same noise again. The correction takes the second part away."""

    def sample(random: np.random.Generator) -> Figures:
        sure = random.uniform(0.55, 0.95, 100)
        true = (random.random(100) > sure - 0.05).astype(int)
        return error_figures(np.stack([sure, 1 - sure], axis=-1), true, np.arange(100))

    middles: dict[str, list[float]] = {PERCENTILE: [], BCA: []}
    measured = []
    for seed in range(100):
        figures = sample(np.random.default_rng(seed))
        for method, found in middles.items():
            each = intervals(figures, 300, seed, method=method)["calibration_error"]
            found.append((each.low + each.high) / 2)
        measured.append(figures.values()[0])
    assert np.mean(measured) > 0.06
    assert np.mean(middles[PERCENTILE]) > np.mean(measured) + 0.02
    assert np.mean(middles[BCA]) == pytest.approx(np.mean(measured), abs=0.01)
