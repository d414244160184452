"""The words that answers are given in, and a benchmark's truth in those words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mosear.clips.benchmarks.record import Benchmark
from mosear.runtime.errors import UsageError


@dataclass(frozen=True)
class Words:
    """What an answer may be.

    Attributes:
        answers: the words that the model chooses from, in the order of its scores.
        truth: by label of the benchmark, the answer that meets it. A label without one keeps its own word, which no
            answer meets: the model has no word for it.
    """

    answers: tuple[str, ...]
    truth: Mapping[str, str] = field(default_factory=dict)

    def of(self, label: str | None) -> str | None:
        """The truth in the words of answers."""
        return None if label is None else self.truth.get(label, label)


def choose_words(benchmark: Benchmark, model: Sequence[str], which: str, own: Mapping[str, str] | None = None) -> Words:
    """The words of a run.

    Args:
        benchmark: whose truth is to be met.
        model: the label words that the model was made with.
        which: ``model`` asks for those, and the benchmark's truth is mapped to them where there is a counterpart;
            ``benchmark`` asks for the benchmark's own words.
        own: label of the benchmark → answer, before the mapping that comes with the benchmark.

    Raises:
        UsageError: the benchmark has no closed set of labels to ask for, or ``own`` names a label or an answer that
            there is none of.
    """
    if which == "benchmark" and not benchmark.labels:
        raise UsageError(f"{benchmark.title} has no closed set of labels to ask for", "leave --words benchmark out")
    answers = tuple(model) if which == "model" else benchmark.labels
    by_case = {answer.casefold(): answer for answer in answers}
    truth = {}
    for label in _labels_of(benchmark):
        near = (label, benchmark.to_model.get(label, "")) if which == "model" else (label,)
        found = next((by_case[word.casefold()] for word in near if word.casefold() in by_case), None)
        if found is not None:
            truth[label] = found
    for label, answer in (own or {}).items():
        if label not in _labels_of(benchmark):
            known = ", ".join(_labels_of(benchmark))
            raise UsageError(f"{benchmark.title} has no label {label}", f"map one of: {known}")
        if answer not in answers:
            raise UsageError(f"{answer} is no answer here", f"map {label} to one of: {', '.join(answers)}")
        truth[label] = answer
    return Words(answers, truth)


def _labels_of(benchmark: Benchmark) -> tuple[str, ...]:
    """The closed set, or, where it has none, the single labels that its clips have."""
    return benchmark.labels or tuple(dict.fromkeys(clip.label for clip in benchmark.clips if clip.label is not None))
