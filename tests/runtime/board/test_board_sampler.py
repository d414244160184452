"""The thread that reads: on this machine, with a card that streams, dies and hangs, and with sensors that do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import board_trees as trees
import pytest

from mosear.runtime.board import sampler as sampling
from mosear.runtime.board.graphics_card import find_card, parse_line
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.sampler import Sampler
from mosear.runtime.board.sensors import Sensors

Trees = Callable[..., Machine]


def _wait(until: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.005)


def _ours() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("board-")]


def _children() -> set[str]:
    kept = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")  # where the kernel was built with it
    return set(kept.read_text().split()) if kept.exists() else set()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Neither a thread, nor a child, nor a file that is open."""
    files, children = len(os.listdir("/proc/self/fd")), _children()
    yield
    assert _ours() == []
    assert _children() == children
    assert len(os.listdir("/proc/self/fd")) == files


def test_on_this_machine() -> None:
    with Sampler(Machine(), 0.01) as sampler:
        assert _ours()
        time.sleep(0.1)
    sampler.stop()
    times = [each.time for each in sampler.readings]
    assert times == sorted(times)
    assert all(each.power_w or each.temperature_c or each.clock_mhz for each in sampler.readings)
    assert sampler.method()
    found, why = sampler.energy((0.0, 1.0), (1.0, 2.0), 0.1)
    assert (found is None) == bool(why)


def test_a_board_is_read_until_it_is_stopped(tree: Trees) -> None:
    machine = tree(trees.orin_small())
    with Sampler(machine, 0.002) as sampler:
        # A thread may be held up for a while on a busy machine: spans so long that what it missed is a small part.
        _wait(lambda: len(sampler.readings) > 20 and sampler.readings[-1].time > sampler.readings[0].time + 1.0)
        idle = (sampler.readings[0].time, sampler.readings[-1].time)
        machine.path(f"{trees.I2C}/ina3221/1-0040/hwmon/hwmon1/curr1_input").write_text("2400\n")
        _wait(lambda: sampler.readings[-1].power_w.get("VDD_IN", 0) > 10)
        busy_from = sampler.readings[-1].time
        _wait(lambda: sampler.readings[-1].time > busy_from + 1.0)
    after = len(sampler.readings)
    assert sampler.total is not None
    assert sampler.total.name == "VDD_IN"
    assert sampler.method().startswith("input of the module; INA3221, every ")
    found, why = sampler.energy(idle, (busy_from, sampler.readings[-1].time), 0.5)
    assert (found is not None, why) == (True, "")
    assert found is not None
    assert found.idle_w == pytest.approx(6.0192)
    assert found.busy_w == pytest.approx(12.0384)
    assert found.joules_a_run_above_idle == pytest.approx(6.0192 * 0.5)
    assert sum(bool(each.temperature_c) for each in sampler.readings) < len(sampler.readings) / 4
    assert len(sampler.readings) == after


def test_a_board_without_power_has_no_energy_and_says_why(tree: Trees) -> None:
    with Sampler(tree(trees.raspberry_pi()), 0.002) as sampler:
        _wait(lambda: sampler.readings)
    assert sampler.energy((0, 1), (1, 2), 0.1) == (None, "no sensor of power is shown here")
    assert sampler.readings[0].temperature_c == pytest.approx({"cpu-thermal": 51.3})
    assert sampler.readings[0].clock_mhz == {"cpu0": 1500.0}


def test_a_card_that_streams(tree: Trees) -> None:
    with Sampler(tree(*trees.desktop()), 0.02) as sampler:
        _wait(lambda: any("gpu0" in each.temperature_c for each in sampler.readings))
    reading = next(each for each in sampler.readings if "gpu0" in each.temperature_c)
    assert reading.power_w["gpu0"] == 50.5
    assert (reading.temperature_c["gpu0"], reading.clock_mhz["gpu0"]) == (61.0, 1807.0)
    assert sampler.total is not None
    assert sampler.total.name == "package-0 + package-0 dram + gpu0"
    assert "RAPL and nvidia-smi" in sampler.method()
    assert "the graphics card was slowed down (power limit, heat, by software)" in sampler.notes()


def _with_stream(tree: Trees, loop: str) -> Machine:
    script = trees.SMI.replace('while :; do echo "50.5, 61, 1807, 0x0000000000000024"; sleep 0.02; done', loop)
    assert loop in script
    return tree({}, {"nvidia-smi": script})


def test_a_card_whose_program_dies(tree: Trees) -> None:
    with Sampler(_with_stream(tree, 'echo "9, 1, 1, 0x0"; exit 3'), 0.005) as sampler:
        _wait(lambda: any("exit status 3" in line for line in sampler.notes()))
    assert sampler.total is not None
    assert sampler.total.name == "gpu0"


def test_a_card_whose_program_says_nonsense(tree: Trees) -> None:
    with Sampler(_with_stream(tree, 'while :; do echo "[N/A], x, , -"; echo; sleep 0.01; done'), 0.005) as sampler:
        time.sleep(0.1)
    assert sampler.readings == []
    assert sampler.notes() == ["power of gpu0: could not be read"]


@pytest.mark.parametrize("loop", ["exec sleep 60", "trap '' TERM INT; while :; do sleep 60; done"])
def test_a_card_whose_program_hangs_is_ended_with_all_it_started(tree: Trees, loop: str) -> None:
    began = time.monotonic()
    with Sampler(_with_stream(tree, loop), 0.005) as sampler:
        time.sleep(0.1)
    assert time.monotonic() - began < 30  # it would sleep for a minute
    assert "gpu0" not in {name for each in sampler.readings for name in each.power_w}


def test_a_line_that_is_old_is_no_reading(tree: Trees) -> None:
    machine = _with_stream(tree, 'echo "9, 1, 1, 0x0"; exec sleep 60')
    sampler = Sampler(machine, 0.005)
    stream = sampler.sensors._stream
    assert stream is not None
    stream._stale_s = 0.05
    with sampler:
        _wait(lambda: stream.latest() is not None)
        _wait(lambda: stream.latest() is None)


def test_a_card_that_is_hidden_or_another_one(tree: Trees) -> None:
    files, programs = trees.desktop()
    assert find_card(tree(files, programs, CUDA_VISIBLE_DEVICES="")) is None
    assert find_card(tree(files, programs, CUDA_VISIBLE_DEVICES="-1")) is None
    card = find_card(tree(files, programs, CUDA_VISIBLE_DEVICES="1,0"))
    assert card is not None
    assert (card.which, card.name, card.driver) == ("1", "NVIDIA GeForce RTX 3060", "525.60.13")
    assert card.fields[0] == "power.draw"  # the newer field is not known to this driver


@pytest.mark.parametrize("line", ["", "1,2,3", "1,2,3,4,5", "No devices were found"])
def test_lines_of_another_form(line: str) -> None:
    assert parse_line(line) is None


def test_a_line_with_holes() -> None:
    state = parse_line("[N/A], 55, [Not Supported], [N/A]")
    assert state is not None
    assert (state.power_w, state.temperature_c, state.clock_mhz, state.reasons) == (None, 55.0, None, 0)
    nonsense = parse_line("nan, inf, -1, 0x1")
    assert nonsense is not None
    assert (nonsense.power_w, nonsense.temperature_c, nonsense.clock_mhz) == (None, None, None)


def test_a_sensor_that_raises_ends_the_readings_and_nothing_else(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError("a bad day")

    monkeypatch.setattr(Sensors, "read", fail)
    with Sampler(tree(trees.orin_small()), 0.005) as sampler:
        _wait(sampler.notes)
    assert sampler.notes() == ["reading the sensors ended early (RuntimeError: a bad day)"]


def test_a_sensor_that_hangs_is_left_behind(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(*arguments: object, **more: object) -> None:
        begun.set()
        go_on.wait(30)
        raise OSError

    monkeypatch.setattr(Sensors, "read", hang)
    monkeypatch.setattr(sampling, "_END_SECONDS", 0.05)
    with Sampler(tree(trees.orin_small()), 0.005) as sampler:
        begun.wait(5)
    sampler.stop()
    assert sampler.notes() == ["a sensor does not answer any more: readings end before the runs do"]
    go_on.set()
    _wait(lambda: not _ours())
    sampler.stop()


def test_a_run_that_raises_is_not_held_up(tree: Trees) -> None:
    with pytest.raises(ZeroDivisionError), Sampler(tree(trees.orin_small()), 0.005):
        raise ZeroDivisionError


def test_a_long_run_is_thinned(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_MOST", 20)
    with Sampler(tree(trees.orin_small()), 0.001) as sampler:
        _wait(lambda: sampler.readings and sampler.readings[-1].time - sampler.readings[0].time > 0.3)
        assert len(sampler.readings) <= 20
    first, last = sampler.readings[0], sampler.readings[-1]
    assert (sampler.interval_s or 0) == pytest.approx((last.time - first.time) / (len(sampler.readings) - 1))
    assert (sampler.interval_s or 0) > 0.005


def test_no_thread_to_be_had(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Sampler(tree(*trees.desktop()), 0.005) as sampler:
        pass
    assert "the sensors were not read (can't start new thread)" in sampler.notes()


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
def test_an_interval_must_be_one(tree: Trees, interval: float) -> None:
    with pytest.raises(ValueError, match="an interval"):
        Sampler(tree({}), interval)
