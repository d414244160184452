"""Cold starts in real processes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from mosear.runtime.errors import Failed
from mosear.runtime.profiling.cold import PHASES, ColdAsk, cold_start


@pytest.fixture
def ask(toy_bundle: Path, clip: Path) -> ColdAsk:
    return ColdAsk(str(toy_bundle), str(clip), 3.0, "hello", None, "cpu")


def test_phases_add_up_from_the_spawn_to_the_answer(ask: ColdAsk) -> None:
    began = perf_counter()
    start = cold_start(ask)
    took = (perf_counter() - began) * 1000
    assert tuple(start.phases) == PHASES
    *parts, total = start.phases.values()
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(total)
    assert total < took
    # Python with NumPy and ONNX Runtime takes more than 30 MB, and the toy model next to nothing.
    assert start.peak_bytes is not None
    assert 30e6 < start.peak_bytes < 1e9


def test_each_start_is_a_process_of_its_own(ask: ColdAsk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **named: Any) -> Any:
        seen.append(popen(*arguments, **named))
        return seen[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    cold_start(ask)
    assert [child.returncode for child in seen] == [0]


def test_a_process_without_an_answer_is_told_in_two_lines(ask: ColdAsk, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no such bundle") as caught:
        cold_start(replace(ask, bundle=str(tmp_path / "absent")))
    assert "--cold 0" in caught.value.remedy
    with pytest.raises(Failed, match="no such file"):
        cold_start(replace(ask, clip=str(tmp_path / "absent.mp4")))


def test_after_ctrl_c_no_process_is_left(ask: ColdAsk, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def communicate(self, *_: Any, **__: Any) -> Any:
            children.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        cold_start(ask)
    assert children[0].poll() == -9
