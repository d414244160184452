"""A Jetson: its model and JetPack, its power mode, clocks and fan."""

from collections.abc import Iterator

from mosear.runtime.board.clocks import are_locked, clocks
from mosear.runtime.board.heat import fans
from mosear.runtime.board.jetson import jetpack_version, l4t_release, power_mode
from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.question import Known, Question

CHECK = "jetson"

_SUPPORTED = ("6.2", "7.2")


def examine_jetson(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Nothing but one finding on machines that are none."""
    known.model = machine.read("/proc/device-tree/model")
    release = l4t_release(machine)
    if release is None and "Jetson" not in (known.model or ""):
        known.model = None
        yield Finding(CHECK, "Jetson", Verdict.absent, "this machine is none")
        return
    yield Finding(CHECK, "model", Verdict.ok, known.model or "does not say", details={"model": known.model})
    yield _jetpack(machine, release, known)
    yield _power(machine)
    yield _clocks(machine)
    yield from _fan(machine)


def _jetpack(machine: Machine, release: str | None, known: Known) -> Finding:
    known.jetpack = jetpack_version(machine, release)
    details = {"l4t": release, "jetpack": known.jetpack}
    if known.jetpack is None:
        seen = f"not known for L4T {release}; mosear builds for {' and '.join(_SUPPORTED)}"
        return Finding(CHECK, "JetPack", Verdict.note, seen, "apt-cache show nvidia-jetpack", details)
    seen = f"{known.jetpack} (L4T {release or 'not stated'})"
    if ".".join(known.jetpack.split(".")[:2]) not in _SUPPORTED:
        seen += f"; mosear builds for {' and '.join(_SUPPORTED)}"
        fix = "sudo apt-get update && sudo apt-get dist-upgrade && sudo apt-get install nvidia-jetpack"
        return Finding(CHECK, "JetPack", Verdict.note, seen, fix, details)
    return Finding(CHECK, "JetPack", Verdict.ok, seen, details=details)


def _power(machine: Machine) -> Finding:
    mode = power_mode(machine)
    if mode is None:
        return Finding(CHECK, "power mode", Verdict.note, "nvpmodel does not say", "sudo nvpmodel -q")
    details = {"mode": mode.name}
    if mode.is_largest:
        return Finding(CHECK, "power mode", Verdict.ok, mode.name, details=details)
    fix = f"sudo nvpmodel -m {mode.largest}" if mode.largest is not None else "sudo nvpmodel -p --verbose"
    return Finding(CHECK, "power mode", Verdict.note, f"{mode.name}: the module could do more", fix, details)


def _clocks(machine: Machine) -> Finding:
    locked = are_locked(clocks(machine))
    if locked is None:
        return Finding(CHECK, "clocks", Verdict.note, "the kernel does not show them", "sudo jetson_clocks --show")
    details = {"locked": locked}
    if locked:
        return Finding(CHECK, "clocks", Verdict.ok, "locked (jetson_clocks)", details=details)
    seen = "not locked: figures differ from run to run, and the first windows are slower"
    return Finding(CHECK, "clocks", Verdict.note, seen, "sudo jetson_clocks", details)


def _fan(machine: Machine) -> Iterator[Finding]:
    for fan in fans(machine):
        told = [
            f"{fan.rpm} rpm" if fan.rpm is not None else "",
            f"power {fan.pwm} of 255" if fan.pwm is not None else "",
        ]
        details = {"rpm": fan.rpm, "pwm": fan.pwm}
        yield Finding(CHECK, "fan", Verdict.ok, ", ".join(told), details=details)
