"""Cameras and microphones, proved by opening them. Nothing that comes from them is kept."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.child import Told, ask
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.question import Known, Question

CHECK = "devices"
BLACK = 8.0
"""Mean brightness (0 to 255) below which a picture counts as black."""

_SECONDS = 12.0
_LIST_CAMERAS = "ls -l /dev/video*"
_LIST_MICROPHONES = "python -m sounddevice"
_ARGUS = "mosear watch BUNDLE --camera 'gst:nvarguscamerasrc ! nvvidconv ! videoconvert ! appsink'"


def examine_cameras(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """The camera that was named, or those that are here."""
    if not question.devices or question.camera == "none":
        return
    if question.camera is not None:
        yield _named_camera(machine, question.camera)
        return
    found = [path for path in machine.glob("/dev/video[0-9]*") if not _is_metadata(machine, path)]
    if not found:
        yield Finding(CHECK, "camera", Verdict.absent, "there is no /dev/video*")
    for path in found:
        yield _video_device(machine, path)


def examine_microphones(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """The microphone that was named, or the default one."""
    name = question.microphone
    # The sound of a file or of a camera with sound is no device of its own.
    if not question.devices or name in ("none", "camera") or (name or "").startswith("file:"):
        return
    told = ask("microphone", {"name": name or "default"}, _SECONDS, machine.environment)
    yield _microphone(machine, name, told)


def holders(machine: Machine, path: str) -> list[str]:
    """Programs that have the device open, as ``name (pid 12)``, so far as this user may see them."""
    found = []
    for link in machine.glob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(machine.path(link))
        except OSError:
            continue
        if target == path:
            pid = link.split("/")[2]
            found.append(f"{machine.read(f'/proc/{pid}/comm') or 'a program'} (pid {pid})")
    return list(dict.fromkeys(found))


def without_secrets(source: str) -> str:
    """A URL without its user, password and query."""
    return re.sub(r"\?.*", "", re.sub(r"://[^/@]*@", "://", source)) if "://" in source else source


def _named_camera(machine: Machine, name: str) -> Finding:
    path = f"/dev/video{name}" if name.isdecimal() else name.removeprefix("file:")
    if name.startswith("gst:"):
        return Finding(CHECK, "camera", Verdict.note, "a GStreamer pipeline is not tried here", _gst(name))
    if path.startswith("/dev/video"):
        if machine.path(path).exists():
            return _video_device(machine, path)
        return Finding(CHECK, f"camera {path}", Verdict.wrong, "is not there", _LIST_CAMERAS)
    shown = without_secrets(path)
    is_url = "://" in path
    if not is_url and not Path(path).is_file():
        return Finding(CHECK, f"camera {shown}", Verdict.wrong, "is no device, file or URL", _LIST_CAMERAS)
    told = ask("camera", {"source": path, "form": None}, _SECONDS, machine.environment)
    if told.trouble is not None:
        told = replace(told, trouble=told.trouble.replace(path, shown))
    return _camera(f"camera {shown}", told, f"ffprobe {shlex.quote(shown)}", is_device=False)


def _video_device(machine: Machine, path: str) -> Finding:
    subject = f"camera {path}"
    if not os.access(machine.path(path), os.R_OK | os.W_OK):
        return Finding(CHECK, subject, Verdict.wrong, "this user may not open it", "sudo usermod -aG video $USER")
    told = ask("camera", {"source": str(machine.path(path)), "form": "v4l2"}, _SECONDS, machine.environment)
    code = told.facts.get("code")
    if code in ("EACCES", "EPERM"):
        return Finding(CHECK, subject, Verdict.wrong, "this user may not open it", "sudo usermod -aG video $USER")
    if code == "EBUSY":
        who = ", ".join(holders(machine, path)) or "another user's program"
        seen = f"is in use by {who}"
        return Finding(CHECK, subject, Verdict.wrong, seen, f"sudo fuser -v {path}", {"holders": who})
    if code in ("ENODEV", "ENOTTY", "EINVAL") and "tegra" in _driver(machine, path):
        # A CSI sensor shows raw Bayer pictures under V4L2; only NVIDIA's pipeline turns them into pictures.
        return Finding(CHECK, subject, Verdict.note, "is a CSI camera: it comes through GStreamer", _ARGUS)
    return _camera(subject, told, f"v4l2-ctl --all --device {path}", is_device=True)


def _camera(subject: str, told: Told, fix: str, is_device: bool) -> Finding:
    facts = told.facts
    if told.trouble is not None:
        return Finding(CHECK, subject, Verdict.wrong, told.trouble, fix, facts)
    if "errno" in facts:
        return Finding(CHECK, subject, Verdict.wrong, f"can't be opened ({facts['said']})", fix, facts)
    if not facts.get("pictures"):
        return Finding(CHECK, subject, Verdict.wrong, "opens, but gives no picture", fix, facts)
    seen = f"gives pictures of {facts['width']} × {facts['height']}, brightness {facts['brightness']:.0f} of 255"
    if facts["brightness"] < BLACK:
        why = ": black, as when it is covered" if is_device else ": black"
        return Finding(CHECK, subject, Verdict.note, seen + why, details=facts)
    return Finding(CHECK, subject, Verdict.ok, seen, details=facts)


def _microphone(machine: Machine, name: str | None, told: Told) -> Finding:
    facts, subject = told.facts, f"microphone {name or 'default'}"
    asked = Verdict.absent if name is None else Verdict.wrong
    if told.error_type in ("ModuleNotFoundError", "OSError") and "inputs" not in facts:
        lacks_package = told.error_type == "ModuleNotFoundError"
        fix = "pip install 'mosear[live]'" if lacks_package else "sudo apt-get install libportaudio2"
        return Finding(CHECK, subject, asked, f"can't be tried: {told.trouble}", fix)
    if "device" not in facts and told.trouble is None:
        there = ", ".join(facts["inputs"]) or "none"
        return Finding(CHECK, subject, asked, f"is not there (those that are: {there})", _LIST_MICROPHONES, facts)
    if told.trouble is not None:
        closed = [path for path in machine.glob("/dev/snd/pcm*c") if not os.access(machine.path(path), os.R_OK)]
        fix = "sudo usermod -aG audio $USER" if closed else _LIST_MICROPHONES
        return Finding(CHECK, subject, Verdict.wrong, f"can't be recorded: {told.trouble}", fix, facts)
    seen = f"{facts['device']}, {facts['rate']} Hz"
    if facts["level_dbfs"] is None:
        return Finding(CHECK, subject, Verdict.note, f"{seen}: nothing but zeros, as when muted", "alsamixer", facts)
    return Finding(CHECK, subject, Verdict.ok, f"{seen}, level {facts['level_dbfs']:.0f} dBFS", details=facts)


def _is_metadata(machine: Machine, path: str) -> bool:
    """USB cameras show a second device that has no pictures."""
    return (machine.number(f"/sys/class/video4linux/{Path(path).name}/index") or 0) > 0


def _driver(machine: Machine, path: str) -> str:
    folder = machine.path(f"/sys/class/video4linux/{Path(path).name}/device/driver")
    name = machine.read(f"/sys/class/video4linux/{Path(path).name}/name") or ""
    return f"{folder.resolve().name} {name}".lower() if folder.exists() else name.lower()


def _gst(name: str) -> str:
    pipeline = re.sub(r"\bappsink\b", "fakesink", name.removeprefix("gst:"))
    return f"gst-launch-1.0 {_one_command(pipeline)}"


def _one_command(pipeline: str) -> str:
    """The elements of a pipeline, each quoted for a shell; ``!`` stays as it is."""
    return " ".join(part if part == "!" else shlex.quote(part) for part in pipeline.split())
