"""What is installed: Python, mosear's own packages, those of its extras, ONNX Runtime, and the libraries they lack."""

import importlib.metadata
import platform
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.child import ask
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.engines.library import PACKAGES as ENGINE_PACKAGES
from mosear.runtime.engines.library import numbers

CHECK = "packages"
EXTRAS = ("live", "serve", "sinks", "asr")
"""Extras of the runtime that are looked at; those of ONNX Runtime and the engines have checks of their own."""

_NEWEST_PYTHON = (3, 13)
_SECONDS = 30.0
_MODULES = {"paho-mqtt": "paho.mqtt.client"}
_BUILDS = "gpu|silicon|openvino|directml|rocm|migraphx|cann|qnn|vitisai|training"
_ONNXRUNTIME = re.compile(rf"^onnxruntime(-({_BUILDS}))?$")
_SYSTEM = {
    "PortAudio": "libportaudio2",
    "libportaudio": "libportaudio2",
    "libGL.so": "libgl1",
    "libgomp.so": "libgomp1",
    "libglib-2.0": "libglib2.0-0",
    "libstdc++": "libstdc++6",
}


@dataclass(frozen=True)
class Requirement:
    """One line of mosear's own metadata; ``floor`` is the oldest version, ``extra`` None for what is always needed."""

    name: str
    floor: str | None
    extra: str | None

    @property
    def module(self) -> str:
        """What is imported."""
        return _MODULES.get(self.name, self.name.replace("-", "_"))


@dataclass(frozen=True)
class Import:
    """What became of an import."""

    missing: bool = False
    trouble: str | None = None
    version: str = ""


def examine_packages(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Python, what mosear needs, what its extras need, and ONNX Runtime."""
    yield _python()
    wanted = [each for each in requirements() if each.extra in (None, *EXTRAS)]
    modules = list(dict.fromkeys([*(each.module for each in wanted), "onnxruntime"]))
    installed, imports = try_imports(modules, machine)
    yield _mosear(installed)
    for each in wanted:
        if each.extra is None:
            yield _needed(each, installed, imports[each.module])
    yield _onnxruntime(installed, imports["onnxruntime"], known)
    for extra in EXTRAS:
        yield _extra(extra, [each for each in wanted if each.extra == extra], installed, imports)


def requirements(lines: list[str] | None = None) -> list[Requirement]:
    """mosear's requirements, from its metadata; those for other versions of Python are left out."""
    found = []
    for line in importlib.metadata.requires("mosear") or [] if lines is None else lines:
        wanted, _, marker = line.partition(";")
        matched = re.match(r"\s*([A-Za-z0-9._-]+?)\s*(?:\[[^]]*\])?\s*(?:[(]?>=\s*([0-9.]+).*)?$", wanted)
        if matched is None or "python_version" in marker:
            continue
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        name = re.sub(r"[-_.]+", "-", matched[1]).lower()
        found.append(Requirement(name, matched[2], extra[1] if extra else None))
    return found


def try_imports(modules: list[str], machine: Machine) -> tuple[dict[str, str], dict[str, Import]]:
    """Installed distributions with their versions, and what became of each import.

    An import that crashes ends its child only; the others are tried in a new one.
    """
    installed: dict[str, str] = {}
    done: dict[str, Import] = {}
    left = list(modules)
    while left:
        told = ask("packages", {"imports": left}, _SECONDS, machine.environment)
        begun = None
        for line in told.lines:
            installed.update(line.get("distributions", {}))
            begun = line.get("importing", begun)
            if "module" in line:
                done[line["module"]] = Import(line["missing"], line.get("trouble"), line.get("version", ""))
        if told.trouble is not None:
            blamed = begun if begun is not None and begun not in done else left[0]
            done[blamed] = Import(trouble=told.trouble)
        left = [name for name in left if name not in done]
    return installed, done


def _python() -> Finding:
    version, details = platform.python_version(), {"version": platform.python_version(), "machine": platform.machine()}
    if tuple(numbers(version)[:2]) > _NEWEST_PYTHON:
        seen = f"{version}; mosear is tested up to {'.'.join(map(str, _NEWEST_PYTHON))}"
        return Finding(CHECK, "python", Verdict.note, seen, details=details)
    return Finding(CHECK, "python", Verdict.ok, f"{version} on {platform.machine()}", details=details)


def _mosear(installed: dict[str, str]) -> Finding:
    version = installed.get("mosear")
    if version is None:
        return Finding(CHECK, "mosear", Verdict.note, "runs from a folder and is not installed", "pip install mosear")
    return Finding(CHECK, "mosear", Verdict.ok, version, details={"version": version})


def _needed(wanted: Requirement, installed: dict[str, str], tried: Import) -> Finding:
    version = installed.get(wanted.name) or tried.version
    details = {"version": version or None}
    if tried.missing:
        return Finding(CHECK, wanted.name, Verdict.wrong, "is not installed", _pip(wanted), details)
    if tried.trouble is not None:
        seen = f"{version} can't be imported: {tried.trouble}"
        return Finding(CHECK, wanted.name, Verdict.wrong, seen, import_fix(tried.trouble, wanted), details)
    if _is_old(wanted, version):
        seen = f"{version} is older than {wanted.floor}, which mosear needs"
        return Finding(CHECK, wanted.name, Verdict.wrong, seen, _pip(wanted), details)
    return Finding(CHECK, wanted.name, Verdict.ok, version, details=details)


def _onnxruntime(installed: dict[str, str], tried: Import, known: Known) -> Finding:
    packages = {name: version for name, version in sorted(installed.items()) if _ONNXRUNTIME.match(name)}
    extra = "gpu" if known.gpu is not None or "onnxruntime-gpu" in packages else "cpu"
    details = {"packages": packages, "version": tried.version or None}
    named = ", ".join(f"{name} {version}" for name, version in packages.items())
    if len(packages) > 1:
        return Finding(
            CHECK,
            "onnxruntime",
            Verdict.wrong,
            f"{named}: they overwrite each other's files",
            f"pip uninstall -y {' '.join(packages)} && pip install 'mosear[{extra}]'",
            details,
        )
    if tried.missing:
        # A bundle of engines runs without it.
        needed = known.backend not in ENGINE_PACKAGES
        verdict = Verdict.wrong if needed else Verdict.absent
        return Finding(CHECK, "onnxruntime", verdict, "is not installed", f"pip install 'mosear[{extra}]'", details)
    wanted = Requirement("onnxruntime", _floor(extra), None)
    if tried.trouble is not None:
        fix = _system_fix(tried.trouble) or f"pip install --force-reinstall 'mosear[{extra}]'"
        seen = f"{named} can't be imported: {tried.trouble}"
        return Finding(CHECK, "onnxruntime", Verdict.wrong, seen, fix, details)
    if _is_old(wanted, tried.version):
        seen = f"{tried.version} is older than {wanted.floor}, which mosear needs"
        return Finding(CHECK, "onnxruntime", Verdict.wrong, seen, f"pip install --upgrade 'mosear[{extra}]'", details)
    return Finding(CHECK, "onnxruntime", Verdict.ok, named or f"{tried.version}, not from a package", details=details)


def _extra(extra: str, wanted: list[Requirement], installed: dict[str, str], imports: dict[str, Import]) -> Finding:
    subject, fix = f"extra {extra}", f"pip install 'mosear[{extra}]'"
    versions = {each.name: installed.get(each.name) or imports[each.module].version or None for each in wanted}
    for each in wanted:
        trouble = imports[each.module].trouble
        if trouble is not None and not imports[each.module].missing:
            seen = f"{each.name} can't be imported: {trouble}"
            return Finding(CHECK, subject, Verdict.wrong, seen, import_fix(trouble, each), {"versions": versions})
    missing = [each.name for each in wanted if imports[each.module].missing]
    if missing:
        seen = f"not installed: {', '.join(missing)}"
        return Finding(CHECK, subject, Verdict.absent, seen, fix, {"versions": versions})
    old = [each for each in wanted if _is_old(each, versions[each.name] or "")]
    if old:
        seen = ", ".join(f"{each.name} {versions[each.name]} is older than {each.floor}" for each in old)
        return Finding(CHECK, subject, Verdict.wrong, seen, f"pip install --upgrade 'mosear[{extra}]'")
    seen = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding(CHECK, subject, Verdict.ok, seen, details={"versions": versions})


def import_fix(trouble: str, wanted: Requirement) -> str:
    """The line to run for an import that failed: a library of the system, or the package once more."""
    return _system_fix(trouble) or f"pip install --force-reinstall {shlex.quote(_spec(wanted))}"


def _system_fix(trouble: str) -> str | None:
    for sign, package in _SYSTEM.items():
        if sign in trouble:
            return f"sudo apt-get install {package}"
    missing = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object", trouble)
    return f"apt-file search {missing[1]}" if missing else None


def _pip(wanted: Requirement) -> str:
    return f"pip install {shlex.quote(_spec(wanted))}"


def _spec(wanted: Requirement) -> str:
    return f"{wanted.name}>={wanted.floor}" if wanted.floor else wanted.name


def _floor(extra: str) -> str | None:
    return next((each.floor for each in requirements() if each.extra == extra), None)


def _is_old(wanted: Requirement, version: str) -> bool:
    return bool(wanted.floor and version and numbers(version) < numbers(wanted.floor))
