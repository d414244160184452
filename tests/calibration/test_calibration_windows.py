from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import calibration_clips as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.calibration.media_check import fault
from mosear.calibration.windows import FEWEST, select_windows
from mosear.runtime.errors import BadInput, UsageError

EXAMPLES = Path(__file__).parents[2] / "examples" / "clips"


@pytest.fixture(scope="module")
def config(tiny_model: Callable[..., Any]) -> Any:
    return tiny_model().config


def media(count: int, seed: int = 0) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [(made.picture(rng), made.voice(rng)) for _ in range(count)]


def test_the_example_clips_become_joint_windows(config: Any) -> None:
    selection = select_windows(config, EXAMPLES, None, seed=0)
    assert len(selection) == 18
    assert selection.coverage()["labels"] == dict.fromkeys(
        ("angry", "happy", "neutral", "sad", "surprise", "worried"), 3
    )
    window = next(selection.read())
    assert window.frames.shape == (4, 32, 32, 3)
    assert window.frames.dtype == np.uint8
    assert window.samples.shape == (16000,)
    assert window.transcript
    assert window.label in config.labels


@settings(max_examples=15, deadline=None)
@given(count=st.integers(FEWEST, 30), seed=st.integers(0, 5))
def test_a_draw_is_balanced_whatever_its_number(arrays: Path, config: Any, count: int, seed: int) -> None:
    selection = select_windows(config, arrays, count, seed)
    assert len(selection) == count
    for kinds in (selection.labels, selection.subsets):
        counts = Counter(kinds).values()
        assert len(counts) == 3
        assert max(counts) - min(counts) <= 2
    strata = Counter(zip(selection.labels, selection.subsets, strict=True))
    assert len(strata) == 9
    assert max(strata.values()) - min(strata.values()) <= 1
    first = Counter(zip(selection.labels[:9], selection.subsets[:9], strict=True))
    assert set(first.values()) == {1}  # a prefix is balanced too


def test_a_draw_repeats_with_its_seed_and_changes_with_another(arrays: Path, config: Any) -> None:
    names = [[c.name for c in select_windows(config, arrays, 18, seed).chosen] for seed in (3, 3, 4)]
    assert names[0] == names[1]
    assert names[0] != names[2]


def test_a_rare_stratum_gives_what_it_has_and_the_others_fill_up(tmp_path: Path, config: Any) -> None:
    rows = [("happy", "consistent", "")] * 2 + [("angry", "consistent", "")] * 30
    folder = made.write_arrays(tmp_path / "a", media(32), rows)
    labels = Counter(select_windows(config, folder, 20, seed=0).labels)
    assert labels == {"happy": 2, "angry": 18}


def test_clips_without_a_labels_file_are_used_with_nothing_known(tmp_path: Path, config: Any) -> None:
    folder = made.write_folder(tmp_path / "clips", media(FEWEST))
    (folder / "labels.csv").unlink()
    selection = select_windows(config, folder, None, seed=0)
    assert len(selection) == FEWEST
    assert set(selection.labels) == {None}


def test_the_hash_follows_clips_and_labels(tmp_path: Path, config: Any) -> None:
    folder = made.write_folder(tmp_path / "clips", media(FEWEST))
    before = select_windows(config, folder, None, seed=0).sha256
    assert select_windows(config, folder, None, seed=5).sha256 == before  # the same clips, in another order
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("angry", "sad", 1))
    relabelled = select_windows(config, folder, None, seed=0).sha256
    made.write_clip(folder / "0.mp4", *media(1, seed=9)[0])
    assert len({before, relabelled, select_windows(config, folder, None, seed=0).sha256}) == 3


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("no sound", "without a sound"),
        ("no picture", "without a picture"),
        ("noise", "noise"),
        ("sound of noise", "sound of noise"),
        ("picture of noise", "picture of noise"),
    ],
)
def test_clips_that_are_not_joint_are_refused(tmp_path: Path, config: Any, kind: str, word: str) -> None:
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(FEWEST + 2):
        frames, samples = made.picture(rng), made.voice(rng)
        static, hiss = made.noise(rng)
        clips.append(
            {
                "no sound": (frames, None),
                "no picture": (None, samples),
                "noise": (static, hiss),
                "sound of noise": (frames, hiss),
                "picture of noise": (static, samples),
            }[kind]
        )
    folder = made.write_folder(tmp_path / "clips", clips)
    with pytest.raises(BadInput) as caught:
        select_windows(config, folder, None, seed=0)
    assert word in caught.value.what
    assert "no joint window" in caught.value.what
    assert str(len(clips)) in caught.value.what


def test_text_alone_is_refused(tmp_path: Path, config: Any) -> None:
    silence = (np.zeros((4, 32, 32, 3), np.uint8), np.zeros(16000, np.float32))
    folder = made.write_arrays(tmp_path / "arrays", [silence] * 40, made.balanced(40))
    with pytest.raises(BadInput, match="no joint window"):
        select_windows(config, folder, None, seed=0)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "said.txt").write_text("I am glad.")
    with pytest.raises(BadInput):
        select_windows(config, tmp_path / "text", None, seed=0)
    (tmp_path / "text" / "labels.csv").write_text("name,subset,label,transcript\nsaid.txt,,happy,I am glad.\n")
    with pytest.raises(BadInput):
        select_windows(config, tmp_path / "text", None, seed=0)


def test_what_is_not_joint_is_left_out_and_counted(tmp_path: Path, config: Any) -> None:
    rng = np.random.default_rng(1)
    bad = [
        (np.full((4, 32, 32, 3), 90, np.uint8), made.voice(rng)),
        made.noise(rng),
        (made.picture(rng), made.noise(rng)[1]),
    ]
    folder = made.write_arrays(tmp_path / "a", media(20) + bad, made.balanced(23))
    selection = select_windows(config, folder, None, seed=0)
    assert len(selection) == 20
    assert selection.coverage()["left_out"] == {
        "with a blank picture": 1,
        "with a picture of noise": 1,
        "with a sound of noise": 1,
    }


def test_too_few_repeated_or_one_sided_clips_are_refused(tmp_path: Path, config: Any) -> None:
    few = made.write_arrays(tmp_path / "few", media(FEWEST - 1), made.balanced(FEWEST - 1))
    with pytest.raises(BadInput, match=f"{FEWEST - 1} different windows.*of {FEWEST} needed"):
        select_windows(config, few, None, seed=0)
    copies = made.write_arrays(tmp_path / "copies", media(1) * 40, made.balanced(40))
    with pytest.raises(BadInput, match="39 repeated"):
        select_windows(config, copies, None, seed=0)
    one = made.write_arrays(tmp_path / "one", media(20), [("happy", "consistent", "")] * 20)
    with pytest.raises(BadInput, match="label happy"):
        select_windows(config, one, None, seed=0)
    with pytest.raises(UsageError):
        select_windows(config, one, FEWEST - 1, seed=0)


def test_arrays_of_other_sizes_and_missing_folders_are_refused(arrays: Path, tiny_model: Callable[..., Any]) -> None:
    other = tiny_model(preprocessing={"frame_size": 32, "frames": 8, "window_s": 1.0, "sample_rate": 16000}).config
    with pytest.raises(BadInput, match="frames"):
        select_windows(other, arrays, None, seed=0)
    with pytest.raises(BadInput, match="no folder"):
        select_windows(other, arrays / "nowhere", None, seed=0)


def test_real_media_pass_whatever_their_level_or_light() -> None:
    rng = np.random.default_rng(2)
    frames, samples = made.picture(rng), made.voice(rng)
    assert fault(frames, samples) is None
    dim = (frames.astype(np.float32) * 0.05 + 10).astype(np.uint8)
    assert fault(dim, 0.02 * samples) is None
    hiss = rng.normal(0, float(samples.std()) / 2, len(samples)).astype(np.float32)
    grain = np.clip(frames + rng.normal(0, 15, frames.shape), 0, 255).astype(np.uint8)
    assert fault(grain, samples + hiss) is None
    assert fault(None, samples) is not None
    assert fault(frames, 1e-5 * samples) == "without a sound"
