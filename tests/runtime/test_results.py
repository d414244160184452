"""The answer as JSON and as CSV."""

import csv
import io
import json

import pytest

from mosear.runtime.modality import LABELS
from mosear.runtime.results import Emotion, csv_header, csv_row


def _emotion(**changes) -> Emotion:
    scores = dict.fromkeys(LABELS, 1 / 6)
    fields = {
        "clip": 'a "quoted", clip.mp4',
        "start": 0.0,
        "end": 3.0,
        "label": "sad",
        "scores": scores,
        "by_modality": {"visual": scores, "audio": None},
        "conflict": None,
        "reliance": {"visual": 0.2, "audio": 0.5, "text": 0.3},
        "reallocated_heads": [[0, 1], [2, 3]],
        "states": ["no_audio", "short"],
        "reason": "two\nlines",
        "timings_ms": {"vision": 1.0, "total": 2.0},
    }
    return Emotion(**{**fields, **changes})


def _read(emotion: Emotion) -> dict[str, str]:
    (row,) = csv.DictReader(io.StringIO(csv_header(LABELS) + "\n" + csv_row(emotion, LABELS) + "\n"))
    return row


def test_json_keeps_everything_and_starts_with_the_schema() -> None:
    data = json.loads(_emotion().to_json())
    assert next(iter(data)) == "schema"
    assert data["schema"] == "mosear.emotion/1"
    assert set(data) == {
        *("schema", "clip", "start", "end", "label", "scores", "by_modality", "conflict", "reliance"),
        *("reallocated_heads", "states", "reason", "timings_ms"),
    }
    assert data["reason"] == "two\nlines"
    assert data["by_modality"]["audio"] is None


def test_json_is_one_line_and_leaves_out_a_missing_reason() -> None:
    line = _emotion(reason=None).to_json()
    assert "\n" not in line
    assert "reason" not in json.loads(line)


def test_json_refuses_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _emotion(conflict=float("nan")).to_json()


def test_csv_has_the_same_columns_for_every_answer() -> None:
    full, unknown = _read(_emotion()), _read(_emotion(label="unknown", scores={}, by_modality={}, reliance=None))
    assert list(full) == list(unknown)
    assert full["clip"] == 'a "quoted", clip.mp4'
    assert full["reason"] == "two\nlines"
    assert full["reallocated_heads"] == "0:1;2:3"
    assert full["states"] == "no_audio;short"
    assert float(full["score_sad"]) == pytest.approx(1 / 6, abs=1e-6)
    assert float(full["visual_happy"]) == pytest.approx(1 / 6, abs=1e-6)
    assert full["audio_happy"] == full["conflict"] == ""
    assert unknown["score_sad"] == unknown["reliance_text"] == ""
