"""A Jetson: its model and JetPack, its power mode, clocks and fan."""

import re
from collections.abc import Iterator

from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.machine import Machine
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.engines.library import numbers

CHECK = "jetson"

JETPACKS = {"36.4.0": "6.1", "36.4": "6.2", "39.2": "7.2"}
"""JetPack by the release of L4T; the longer name counts. JetPack 6.2 and 7.2 are those that mosear builds for."""

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


def l4t_release(machine: Machine) -> str | None:
    """As ``36.4.3``, from ``# R36 (release), REVISION: 4.3, …``."""
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", machine.read("/etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else None


def package_version(machine: Machine, name: str) -> str | None:
    """Version of a Debian package that is installed, or None."""
    for paragraph in (machine.read("/var/lib/dpkg/status") or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Package") == name and fields.get("Status", "").endswith(" installed"):
            return fields.get("Version")
    return None


def jetpack_version(machine: Machine, release: str | None) -> str | None:
    """As ``6.2`` or ``6.2.1``: what the package says, else by the release of L4T."""
    package = package_version(machine, "nvidia-jetpack")
    if package is not None:
        return ".".join(map(str, numbers(re.split(r"[+~-]", package)[0]))) or None
    matching = [each for each in JETPACKS if f"{release}.".startswith(f"{each}.")]
    return JETPACKS[max(matching, key=len)] if matching else None


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
    said = machine.run("nvpmodel", "-q")
    mode = re.search(r"Power Mode: *(\S+)", said or "")
    if mode is None:
        return Finding(CHECK, "power mode", Verdict.note, "nvpmodel does not say", "sudo nvpmodel -q")
    details = {"mode": mode[1]}
    # Where the largest mode has its number differs from board to board: 0 on most, 2 on Orin Nano Super.
    modes = re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", machine.read("/etc/nvpmodel.conf") or "")
    largest = next((number for number, name in modes if name.startswith("MAXN")), None)
    if mode[1].startswith("MAXN"):
        return Finding(CHECK, "power mode", Verdict.ok, mode[1], details=details)
    fix = f"sudo nvpmodel -m {largest}" if largest is not None else "sudo nvpmodel -p --verbose"
    return Finding(CHECK, "power mode", Verdict.note, f"{mode[1]}: the module could do more", fix, details)


def _clocks(machine: Machine) -> Finding:
    limits = {}
    for path in machine.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        limits[path] = machine.number(f"{path}/scaling_min_freq"), machine.number(f"{path}/scaling_max_freq")
    if not limits:
        return Finding(CHECK, "clocks", Verdict.note, "the kernel does not show them", "sudo jetson_clocks --show")
    locked = all(low == high for low, high in limits.values())
    details = {"locked": locked}
    if locked:
        return Finding(CHECK, "clocks", Verdict.ok, "locked at their highest (jetson_clocks)", details=details)
    seen = "not locked: figures differ from run to run, and the first windows are slower"
    return Finding(CHECK, "clocks", Verdict.note, seen, "sudo jetson_clocks", details)


def _fan(machine: Machine) -> Iterator[Finding]:
    for folder in machine.glob("/sys/class/hwmon/hwmon*"):
        speed, power = machine.number(f"{folder}/rpm"), machine.number(f"{folder}/pwm1")
        if speed is None and power is None:
            continue
        told = [f"{speed} rpm" if speed is not None else "", f"power {power} of 255" if power is not None else ""]
        details = {"rpm": speed, "pwm": power}
        yield Finding(CHECK, "fan", Verdict.ok, ", ".join(filter(None, told)), details=details)
