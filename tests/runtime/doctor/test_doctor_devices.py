"""Cameras and microphones: files, stand-ins, and the errors that real ones give."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor import devices, try_devices
from mosear.runtime.doctor.child import Told
from mosear.runtime.doctor.devices import examine_cameras, examine_microphones, holders, without_secrets
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.question import Known, Question

StandIn = Callable[[str, str], Machine]
Trees = Callable[..., Machine]
SOUND = """
import numpy as np
class default: device = [1, 0]
def query_devices():
    return [dict(name="HDMI", max_input_channels=0, default_samplerate=48000.0),
            dict(name="USB Mic", max_input_channels=2, default_samplerate=44100.0)]
def rec(frames, samplerate, channels, dtype, device, blocking):
    assert blocking and device == 1 and samplerate == frames == 44100
    return np.full((frames, channels), {level}, np.float32)
"""


def _camera(name: str) -> Finding:
    (found,) = examine_cameras(Machine(environment=os.environ), Question(camera=name), Known())
    return found


def _microphone(machine: Machine, name: str | None) -> Finding:
    (found,) = examine_microphones(machine, Question(microphone=name), Known())
    return found


def _film(path: Path, level: int) -> str:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(12):
            picture = av.VideoFrame.from_ndarray(np.full((64, 96, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return str(path)


def test_a_file_as_camera(tmp_path: Path) -> None:
    found = _camera(_film(tmp_path / "grey.mp4", 128))
    assert found.verdict is Verdict.ok
    assert (found.details["width"], found.details["height"], found.details["pictures"]) == (96, 64, 10)
    assert found.details["brightness"] == pytest.approx(128, abs=6)
    black = _camera(_film(tmp_path / "black.mp4", 0))
    assert black.verdict is Verdict.note
    assert "black" in black.seen


def test_cameras_that_were_named_and_do_not_work(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    for name in ("99", "/dev/video99", str(tmp_path / "none.mp4"), str(tmp_path / "text.mp4")):
        found = _camera(name)
        assert found.verdict is Verdict.wrong
        assert found.fix


def test_a_password_is_never_shown() -> None:
    found = _camera("rtsp://anna:geheim@127.0.0.1:9/live?token=abc")
    assert found.verdict is Verdict.wrong
    assert not {"geheim", "anna", "abc"} & set(str(found.to_dict()).replace("?", " ").replace("@", " ").split())
    assert "geheim" not in str(found.to_dict())
    assert without_secrets("http://h/x?token=1") == "http://h/x"


def test_no_camera_is_absent_only() -> None:
    (found,) = examine_cameras(Machine(Path("/nowhere/at/all"), {}), Question(), Known())
    assert found.verdict is Verdict.absent
    assert list(examine_cameras(Machine(), Question(camera="0", devices=False), Known())) == []


def test_the_second_device_of_a_usb_camera_is_passed_over(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tree(
        {
            "/dev/video0": "",
            "/dev/video1": "",
            "/sys/class/video4linux/video0/index": "0",
            "/sys/class/video4linux/video1/index": "1",
        }
    )
    asked = []

    def ask(probe: str, question: dict[str, Any], *rest: Any) -> Told:
        asked.append(question)
        return Told([{"opened": True}, {"pictures": 3, "width": 640, "height": 480, "brightness": 90.0}])

    monkeypatch.setattr(devices, "ask", ask)
    (found,) = examine_cameras(machine, Question(), Known())
    assert (found.subject, found.verdict) == ("camera /dev/video0", Verdict.ok)
    assert asked == [{"source": str(machine.path("/dev/video0")), "form": "v4l2"}]


def test_a_camera_in_use_names_who(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tree({"/dev/video0": "", "/proc/812/comm": "cheese\n"})
    machine.path("/proc/812/fd").mkdir()
    machine.path("/proc/812/fd/7").symlink_to("/dev/video0")
    machine.path("/proc/812/fd/8").symlink_to("/dev/video01")
    assert holders(machine, "/dev/video0") == ["cheese (pid 812)"]
    monkeypatch.setattr(devices, "ask", lambda *rest: Told([{"errno": errno.EBUSY, "code": "EBUSY", "said": "busy"}]))
    (found,) = examine_cameras(machine, Question(), Known())
    assert found.verdict is Verdict.wrong
    assert found.seen == "is in use by cheese (pid 812)"
    assert found.fix == "sudo fuser -v /dev/video0"


@pytest.mark.parametrize("early", [True, False])
def test_a_camera_that_this_user_may_not_open(tree: Trees, monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    machine = tree({"/dev/video0": ""})
    if early:
        monkeypatch.setattr(devices.os, "access", lambda *rest: False)
    else:
        monkeypatch.setattr(devices, "ask", lambda *rest: Told([{"errno": errno.EACCES, "code": "EACCES"}]))
    (found,) = examine_cameras(machine, Question(camera="0"), Known())
    assert (found.verdict, found.fix) == (Verdict.wrong, "sudo usermod -aG video $USER")


def test_the_error_of_an_opened_device_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*rest: Any, **more: Any) -> None:
        raise av.error.OSError(errno.EBUSY, "Device or resource busy", "/dev/video0")

    monkeypatch.setattr(try_devices.av, "open", refuse)
    (line,) = try_devices.camera({"source": "/dev/video0", "form": "v4l2"})
    assert line["code"] == "EBUSY"


def test_a_camera_that_hangs(tree: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ask", lambda *rest: Told([], "did not answer within 12 s", crashed=True))
    (found,) = examine_cameras(tree({"/dev/video0": ""}), Question(), Known())
    assert (found.verdict, found.seen) == (Verdict.wrong, "did not answer within 12 s")


@pytest.mark.parametrize("name", [None, "default", "1", "usb"])
def test_a_microphone(stand_in: StandIn, name: str | None) -> None:
    found = _microphone(stand_in("sounddevice", SOUND.format(level=0.1)), name)
    assert found.verdict is Verdict.ok
    assert found.seen == "USB Mic, 44100 Hz, level -20 dBFS"


def test_a_muted_microphone(stand_in: StandIn) -> None:
    found = _microphone(stand_in("sounddevice", SOUND.format(level=0.0)), None)
    assert found.verdict is Verdict.note
    assert "nothing but zeros" in found.seen


@pytest.mark.parametrize(("name", "verdict"), [(None, Verdict.absent), ("default", Verdict.wrong)])
def test_no_library_for_sound(stand_in: StandIn, name: str | None, verdict: Verdict) -> None:
    found = _microphone(stand_in("sounddevice", "raise OSError('PortAudio library not found')"), name)
    assert (found.verdict, found.fix) == (verdict, "sudo apt-get install libportaudio2")


def test_a_microphone_that_is_not_there(stand_in: StandIn) -> None:
    found = _microphone(stand_in("sounddevice", SOUND.format(level=0.1)), "studio")
    assert found.verdict is Verdict.wrong
    assert "USB Mic" in found.seen
    failing = SOUND.format(level=0.1) + "\ndef rec(*a, **k): raise RuntimeError('Invalid sample rate')\n"
    assert "Invalid sample rate" in _microphone(stand_in("sounddevice", failing), None).seen
