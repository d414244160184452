"""Whether the bundle's engines are for this device: TensorRT, JetPack and compute capability against the manifest."""

from collections.abc import Iterator

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.packages import package_version
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.engines.library import PACKAGES, numbers
from mosear.runtime.manifest import Manifest

CHECK = "bundle"

_NATIVE_FLOOR = (10, 15)
"""TensorRT from which the targets without ``-jp6`` are for."""

_FAMILIES = {"Orin Nano": "jetson-orin-nano", "Orin NX": "jetson-orin-nx", "AGX Orin": "jetson-agx-orin"}
_GEFORCE = {"7.5": "rtx-20", "8.6": "rtx-30", "8.9": "rtx-40", "12.0": "rtx-50"}
_MODEL_CAPABILITY = {"Orin": "8.7", "Thor": "11.0"}


def examine_fit(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Nothing without a bundle, and nothing for one that needs no engine."""
    if known.bundle is None or known.backend not in PACKAGES:
        return
    manifest = known.bundle.manifest
    yield _library(machine, manifest, known)
    yield _capability(manifest, known)


def target_here(known: Known, version: str | None = None) -> str | None:
    """The target that a bundle should be built for to run here, or None when none is known.

    version: of TensorRT, where it is here.
    """
    model = known.model or ""
    if "Thor" in model:
        return "jetson-thor"
    for name, target in _FAMILIES.items():
        if name in model:
            old = numbers(version) < _NATIVE_FLOOR if version else (known.jetpack or "").startswith("6.")
            return target + "-jp6" if old else target
    return _GEFORCE.get(known.gpu.capability) if known.gpu is not None else None


def install_line(backend: str, known: Known) -> str:
    """What installs TensorRT or TensorRT-RTX here."""
    if backend == "tensorrt_rtx":
        return "pip install 'mosear[rtx]'"
    on_jetson = known.model is not None
    return "sudo apt-get install nvidia-jetpack python3-libnvinfer" if on_jetson else "pip install tensorrt"


def _library(machine: Machine, manifest: Manifest, known: Known) -> Finding:
    title, floor = PACKAGES[manifest.backend], manifest.tensorrt_version
    here = known.engines.get(manifest.backend)
    details = {"needed": floor, "here": here, "jetpack": known.jetpack, "target": manifest.target}
    if here is None:
        package = package_version(machine, "libnvinfer10") if manifest.backend == "tensorrt" else None
        if package is not None:
            seen = f"needs {title} {floor or ''}; {package} is installed, but not seen by this Python"
            fix = "sudo apt-get install python3-libnvinfer && python3 -m venv --system-site-packages .venv"
            return Finding(CHECK, title, Verdict.wrong, seen, fix, {**details, "package": package})
        fix, seen = install_line(manifest.backend, known), f"needs {title} {floor or ''}, which is not here"
        return Finding(CHECK, title, Verdict.wrong, seen, fix, details)
    if floor is not None and numbers(here) < numbers(floor):
        jetpack = f" of JetPack {known.jetpack}" if known.jetpack else ""
        seen = f"is for {manifest.target}, which needs {title} {floor}; this is {here}{jetpack}"
        return Finding(CHECK, title, Verdict.wrong, seen, _rebuild(manifest, target_here(known, here)), details)
    seen = f"{here} is here, {floor} or later is needed" if floor else f"{here} is here"
    return Finding(CHECK, title, Verdict.ok, seen, details=details)


def _capability(manifest: Manifest, known: Known) -> Finding:
    wanted = [each.strip() for each in (manifest.compute_capability or "").split(",") if each.strip()]
    here = known.gpu.capability if known.gpu is not None else None
    if here is None:
        # Without a driver, as in a container that was not given the GPU, the board still says what it is.
        here = next((value for name, value in _MODEL_CAPABILITY.items() if name in (known.model or "")), None)
    details = {"needed": wanted, "here": here}
    if here is None:
        seen = f"needs a GPU of compute capability {manifest.compute_capability or 'any'}, and there is none"
        return Finding(CHECK, "GPU", Verdict.wrong, seen, "nvidia-smi", details)
    if wanted and here not in wanted:
        seen = f"is for compute capability {', '.join(wanted)}; this GPU has {here}"
        library = known.engines.get("tensorrt")
        return Finding(CHECK, "GPU", Verdict.wrong, seen, _rebuild(manifest, target_here(known, library)), details)
    return Finding(CHECK, "GPU", Verdict.ok, f"compute capability {here} is what it is for", details=details)


def _rebuild(manifest: Manifest, target: str | None) -> str:
    if target is None:
        return "mosear-export targets"
    precision = f" --precision {manifest.precision}" if manifest.precision in ("fp16", "int8", "int4") else ""
    return f"mosear-export build {manifest.checkpoint.name} -o bundle --target {target}{precision}"
