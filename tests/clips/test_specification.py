"""What the subsets promise, over many specifications; determinism; the reason texts."""

import numpy as np
import pytest

from mosear.clips.synthetic import LABELS, SUBSETS, describe, draw_spec
from mosear.clips.synthetic.transcripts import FITTING_SENTENCES, NEUTRAL_SENTENCES

SPECS = [draw_spec(seed, SUBSETS[seed % 3], LABELS[seed // 3 % 6]) for seed in range(360)]


def test_the_same_seed_is_the_same_clip_and_another_is_not() -> None:
    assert draw_spec(7, "consistent") == draw_spec(7, "consistent")
    assert draw_spec(7, "consistent", "sad") != draw_spec(8, "consistent", "sad")


def test_a_generator_moves_on() -> None:
    rng = np.random.default_rng(1)
    assert draw_spec(rng, "consistent") != draw_spec(rng, "consistent")


def test_a_person_does_not_depend_on_the_condition() -> None:
    one, other = draw_spec(3, "video_aligned", "angry"), draw_spec(3, "consistent", "happy")
    assert (one.identity, one.scene, one.speaker) == (other.identity, other.scene, other.speaker)


@pytest.mark.parametrize("spec", SPECS[:: len(SPECS) // 36], ids=lambda spec: f"{spec.subset}-{spec.seed}")
def test_label_and_subset_are_those_asked_for(spec) -> None:
    assert spec.subset == SUBSETS[spec.seed % 3]
    assert spec.label == LABELS[spec.seed // 3 % 6]


def test_the_true_modality_is_right_and_the_other_wrong_and_weaker() -> None:
    for spec in SPECS:
        video, audio = (spec.visual_label, spec.visual_intensity), (spec.audio_label, spec.audio_intensity)
        if spec.subset == "consistent":
            assert video[0] == audio[0] == spec.label
            continue
        true, false = (video, audio) if spec.subset == "video_aligned" else (audio, video)
        assert true[0] == spec.label != false[0]
        if spec.label == "neutral":
            assert true[1] == 0.0 < false[1] < 0.5
        else:
            assert true[1] >= 0.6 > 0.5 > false[1]


def test_a_neutral_modality_has_no_intensity_and_another_has_some() -> None:
    for spec in SPECS:
        assert (spec.visual_intensity == 0.0) == (spec.visual_label == "neutral")
        assert (spec.audio_intensity == 0.0) == (spec.audio_label == "neutral")


def test_masks_and_other_emotions_both_occur_in_conflict_clips() -> None:
    for subset, field in (("video_aligned", "audio_label"), ("audio_aligned", "visual_label")):
        false = [getattr(spec, field) for spec in SPECS if spec.subset == subset and spec.label != "neutral"]
        assert 0.2 < false.count("neutral") / len(false) < 0.5
        assert set(false) == set(LABELS)


def test_a_transcript_never_tells_a_wrong_label() -> None:
    fitting = 0
    for spec in SPECS:
        if spec.transcript not in NEUTRAL_SENTENCES:
            assert spec.subset == "consistent"
            assert spec.transcript in FITTING_SENTENCES[spec.label]
            fitting += 1
    assert 5 <= fitting <= 45


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="video_aligned, audio_aligned, consistent"):
        draw_spec(0, "mixed")
    with pytest.raises(ValueError, match="neutral, angry"):
        draw_spec(0, "consistent", "disgust")


def test_the_reason_ends_with_the_label_and_names_the_right_cue() -> None:
    for spec in SPECS:
        reason = describe(spec)
        seen = "surprised" if spec.label == "surprise" else spec.label
        assert reason.endswith(f"so the person seems {seen}.")
        if spec.subset == "consistent":
            assert "Both cues agree" in reason
        else:
            strong = ("face" in spec.subset) or spec.subset == "video_aligned"
            cue = ("face" if strong else "voice") if spec.label != "neutral" else ("voice" if strong else "face")
            assert f"The {cue} is " in reason


def test_reasons_have_a_small_vocabulary() -> None:
    words = {word.strip(".,") for spec in SPECS for word in describe(spec).split()}
    assert len(words) < 90
