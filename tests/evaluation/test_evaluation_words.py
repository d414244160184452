"""The words of answers, and the truth in them."""

from pathlib import Path

import pytest

from mosear.clips.benchmarks.record import Benchmark, BenchmarkClip
from mosear.evaluation.plan import draw
from mosear.evaluation.words import choose_words
from mosear.runtime.errors import UsageError
from mosear.runtime.modality import LABELS

DFEW = ("Happy", "sad", "fear", "disgust")


def benchmark(labels: tuple[str, ...] = DFEW) -> Benchmark:
    clips = tuple(BenchmarkClip(f"{place}", Path("x"), label) for place, label in enumerate(labels or ("calm",)))
    return Benchmark("dfew", "DFEW", labels, clips, (), "none", ("uar",), {"fear": "worried", "disgust": "absent"})


def test_truth_in_the_models_words() -> None:
    words = choose_words(benchmark(), LABELS, "model")
    assert words.answers == LABELS
    assert words.of("Happy") == "happy"  # spelled otherwise
    assert words.of("fear") == "worried"  # the benchmark's counterpart
    assert words.of("disgust") == "disgust"  # none: it stays, and no answer meets it
    assert words.of("disgust") not in words.answers
    assert words.of(None) is None


def test_truth_in_the_benchmarks_words() -> None:
    words = choose_words(benchmark(), LABELS, "benchmark")
    assert words.answers == DFEW
    assert [words.of(label) for label in DFEW] == list(DFEW)


def test_ones_own_mapping_goes_first() -> None:
    words = choose_words(benchmark(), LABELS, "model", {"fear": "surprise", "disgust": "angry"})
    assert (words.of("fear"), words.of("disgust")) == ("surprise", "angry")


@pytest.mark.parametrize(
    ("own", "said"), [({"feer": "worried"}, "no label feer"), ({"fear": "terror"}, "terror is no answer")]
)
def test_a_mapping_of_nothing_is_refused(own: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_words(benchmark(), LABELS, "model", own)


def test_an_open_vocabulary_has_no_words_to_ask_for() -> None:
    with pytest.raises(UsageError, match="no closed set"):
        choose_words(benchmark(()), LABELS, "benchmark")
    assert choose_words(benchmark(()), LABELS, "model", {"calm": "neutral"}).of("calm") == "neutral"


def test_a_limit_draws_from_the_whole_list() -> None:
    clips = tuple(BenchmarkClip(f"{place:03d}", Path("x"), DFEW[place % 4]) for place in range(400))
    few, more = draw(clips, 40), draw(clips, 80)
    assert len(few) == 40
    assert set(few) < set(more)
    assert list(few) == sorted(few, key=lambda clip: clip.name)
    # Every fourth clip has the same label: a step of ten would have found two of the four.
    assert all(5 <= sum(clip.label == label for clip in few) <= 16 for label in DFEW)
    assert draw(clips, 40) == few
    assert draw(clips, 400) == draw(clips, None) == clips
