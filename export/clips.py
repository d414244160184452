"""The windows that a build is verified on: the synthetic conflict set, or a folder of one's own clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mosear.clips.labelled import read_labels
from mosear.clips.synthetic.arrays import balanced_spec
from mosear.clips.synthetic.window import render_window
from mosear.model.configuration import MosearConfig, preprocessing_of
from mosear.runtime.errors import BadInput
from mosear.runtime.windows import Window, read_windows

VERIFICATION_SEED = 7_000
"""Seed of the synthetic clips a build is verified on; neither training nor calibration uses it."""


@dataclass(frozen=True)
class Example:
    """A window with what is known of it; label and subset are None where they are not."""

    window: Window
    label: str | None
    subset: str | None


def synthetic_examples(config: MosearConfig, count: int) -> list[Example]:
    """``count`` rendered windows, balanced over subsets and labels; the same ones every time.

    Raises:
        BadInput: the model reads windows of another length than the 3 s that the renderer makes, or another sound rate.
    """
    pre = config.preprocessing
    examples = []
    for index in range(count):
        spec = balanced_spec(VERIFICATION_SEED, index)
        frames, samples = render_window(spec, pre.frame_size, pre.frames, pre.sample_rate)
        if len(samples) != pre.window_samples:
            raise BadInput(
                f"a synthetic clip lasts {len(samples) / pre.sample_rate:g} s, the model reads {pre.window_s:g} s",
                "give clips of your own with --clips DIR",
            )
        window = Window(0.0, pre.window_s, frames, samples, spec.transcript, ())
        examples.append(Example(window, spec.label if spec.label in config.labels else None, spec.subset))
    return examples


def folder_examples(config: MosearConfig, folder: Path) -> list[Example]:
    """The first window of every clip that ``folder``'s labels.csv lists.

    Raises:
        BadInput: the folder has no usable labels.csv, or a clip can't be read.
    """
    pre = preprocessing_of(config)
    examples = []
    for clip in read_labels(folder / "labels.csv"):
        window = next(iter(read_windows(clip.path, pre, transcript=clip.transcript)))
        examples.append(Example(window, clip.label, clip.subset))
    return examples
