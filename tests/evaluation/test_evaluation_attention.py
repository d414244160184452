"""Attention, reliance and slices over records with known sums."""

import numpy as np
import pytest

from mosear.evaluation.attention import mean_attention, reliance_by_subset
from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.evaluation.slices import slices


def told(name: str, audio: float, selected: float, gate: float) -> AttentionRecord:
    mass = [[[0.2, 0.8 - audio, audio], [1.0, 0.0, 0.0]]]
    gates = {"layers.0.q_proj": [[gate, 0.0, 1 - gate], [0.0, gate, 1 - gate]]}
    return AttentionRecord(name, [3], mass, [[selected, 0.0]], gates)


def test_means_over_all_and_by_subset() -> None:
    records = [told("a", 0.6, 1.0, 0.2), told("b", 0.2, 0.0, 0.4), told("c", 0.4, 0.5, 0.6)]
    found = mean_attention(iter(records), {"a": "video_aligned", "b": "audio_aligned", "c": "video_aligned"})
    assert found is not None
    assert found.layers == [3]
    assert {name: part.clips for name, part in found.by_subset.items()} == {
        "all": 3,
        "video_aligned": 2,
        "audio_aligned": 1,
    }
    np.testing.assert_allclose(found.by_subset["all"].mass[0, 0], [0.2, 0.4, 0.4])
    np.testing.assert_allclose(found.by_subset["video_aligned"].mass[0, 0], [0.2, 0.3, 0.5])
    np.testing.assert_allclose(found.by_subset["video_aligned"].selected, [[0.75, 0.0]])
    np.testing.assert_allclose(found.by_subset["all"].audio_share, [[0.5, 0.0]])  # a head without media has none
    np.testing.assert_allclose(found.gates["layers.0.q_proj"][0], [0.4, 0.0, 0.6])


def test_no_attention_is_none() -> None:
    assert mean_attention(iter([]), {}) is None


def answered(label: str | None, predicted: str | None, face: str, voice: str, **more: object) -> ClipRecord:
    alone = {"visual": {face: 0.9, "x": 0.1}, "audio": {voice: 0.8, "x": 0.2}}
    fields: dict = {"name": "n", "label": label, "predicted": predicted, "by_modality": alone, "conflict": 0.5}
    return ClipRecord(**{**fields, **more})


def test_slices_by_hand() -> None:
    records = [
        answered("sad", "sad", "sad", "sad", conflict=0.0),
        answered("sad", "sad", "sad", "happy", conflict=1.0),
        answered("sad", "happy", "sad", "happy", conflict=0.9),
        answered("sad", "sad", "happy", "sad", conflict=0.75),
        answered("sad", None, "sad", "sad", failure="parse: none", conflict=0.1),
        answered("sad", "sad", "sad", "sad", by_modality={"visual": None, "audio": {"sad": 1.0}}, conflict=None,
                 states=["no_video"]),
        answered(None, "sad", "sad", "sad"),  # without a truth it is neither right nor wrong
    ]  # fmt: skip
    found = {(each.group, each.name): each for each in slices(records)}
    by_name = {name: (each.clips, each.accuracy) for (_, name), each in found.items()}
    assert by_name["picture and sound"] == (5, 0.6)
    assert by_name["no picture"] == (1, 1.0)
    assert by_name["only the face is right"] == (2, 0.5)
    assert by_name["only the voice is right"] == (1, 1.0)
    assert by_name["both say the same"] == (2, 0.5)
    assert by_name["they differ"] == (3, pytest.approx(2 / 3))
    assert by_name["0.00 to 0.25"] == (2, 0.5)
    assert by_name["0.75 to 1.00"] == (3, pytest.approx(2 / 3))  # the lower edge counts, and so does 1
    assert "0.25 to 0.50" not in by_name
    assert "no sound" not in by_name
    low, high = found["what was there", "no picture"].low, found["what was there", "no picture"].high
    assert low < 1.0 == high


def test_reliance_means() -> None:
    rows = [
        ClipRecord("a", "x", "x", subset="s", reliance={"visual": 0.2, "audio": 0.6, "text": 0.2}),
        ClipRecord("b", "x", "x", reliance={"visual": 0.4, "audio": 0.2, "text": 0.4}),
        ClipRecord("c", "x", "x", subset="s", reliance=None),
    ]
    found = reliance_by_subset(rows)
    assert found["all"] == pytest.approx({"visual": 0.3, "audio": 0.4, "text": 0.3})
    assert found["s"] == pytest.approx({"visual": 0.2, "audio": 0.6, "text": 0.2})
