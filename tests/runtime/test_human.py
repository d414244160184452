import io

import pytest
from rich.console import Console

from mosear.runtime.human import heading, line
from mosear.runtime.results import Emotion

SCORES = {"happy": 0.7, "sad": 0.3}


def text(**changes: object) -> str:
    values: dict[str, object] = {
        "clip": "folder/a clip.mp4",
        "start": 0.0,
        "end": 3.0,
        "label": "happy",
        "scores": SCORES,
        "by_modality": {"visual": SCORES, "audio": {"happy": 0.1, "sad": 0.9}},
        "conflict": 0.31,
        "reliance": None,
        "reallocated_heads": [[0, 1], [2, 3]],
        "states": [],
        "timings_ms": {},
    }
    buffer = io.StringIO()
    console = Console(file=buffer, highlight=False, width=40)
    for piece in (heading(12), line(Emotion(**{**values, **changes}), 12)):  # type: ignore[arg-type]
        console.print(piece, soft_wrap=True)
    return buffer.getvalue()


def test_one_line_a_window_under_its_heading() -> None:
    head, row = text().splitlines()
    for name, value in (("emotion", "happy 0.70"), ("face alone", "happy 0.70"), ("voice alone", "sad 0.90")):
        assert row[head.index(name) :].startswith(value)
    assert row.startswith("r/a clip.mp4")
    assert row.split()[-2:] == ["0.31", "2"]


@pytest.mark.parametrize("state", ["no_audio", "unknown"])
def test_what_is_missing_is_a_dash_and_a_state(state: str) -> None:
    row = text(by_modality={"visual": SCORES, "audio": None}, conflict=None, states=[state]).splitlines()[1]
    assert row.rstrip().endswith(state)
    assert row.split().count("-") == 3, "one in the times, one for the voice, one for the conflict"
