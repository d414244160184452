"""Each provider proved by a real inference: the name that a library gives says what was compiled in, not what works."""

from collections.abc import Iterator

from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.child import Told, ask
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.fits import install_line
from mosear.runtime.doctor.question import Gpu, Known, Question
from mosear.runtime.engines.library import PACKAGES

CHECK = "providers"

_SECONDS = 30.0
_ENGINE_SECONDS = 180.0
_TOLERANCE, _ENGINE_TOLERANCE = 2e-3, 2e-2
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_REMOTE = {"AzureExecutionProvider"}
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_FIXES = {
    _CPU: "pip install --force-reinstall 'mosear[cpu]'",
    _CUDA: "pip install --upgrade 'onnxruntime-gpu[cuda,cudnn]'",
}


def examine_gpu(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """The GPU, by the CUDA driver."""
    told = ask("gpu", {}, _SECONDS, machine.environment)
    if told.trouble is None:
        known.gpu = Gpu(told.facts["gpu"], told.facts["capability"])
        seen = f"{known.gpu.name}, compute capability {known.gpu.capability}"
        yield Finding(CHECK, "GPU", Verdict.ok, seen, details=told.facts)
    elif told.crashed:
        yield Finding(CHECK, "GPU", Verdict.wrong, f"the CUDA driver {told.trouble}", "nvidia-smi")
    elif _has_card(machine):
        seen = f"an NVIDIA card is here, but {told.trouble}"
        yield Finding(CHECK, "GPU", Verdict.note, seen, "nvidia-smi", {"in_container": _in_container(machine)})
    else:
        yield Finding(CHECK, "GPU", Verdict.absent, told.trouble)


def examine_onnxruntime(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Every provider that ONNX Runtime names."""
    told = ask("onnxruntime", {}, _SECONDS, machine.environment)
    if told.trouble is not None:
        # What is wrong with the package stands under packages.
        yield Finding(CHECK, "ONNX Runtime", Verdict.absent, f"can't be tried: {told.trouble}")
        return
    for name in told.facts["available"]:
        if name in _REMOTE:
            yield Finding(CHECK, name, Verdict.note, "sends inputs to a service; mosear never uses it; not tried")
            continue
        yield _provider(name, ask("provider", {"provider": name}, _SECONDS, machine.environment), known)
    wanted = known.bundle.manifest.provider if known.bundle is not None else None
    if wanted == "cuda" and _CUDA not in told.facts["available"]:
        seen = "the bundle is for it, and this ONNX Runtime was built without it"
        fix = "pip uninstall -y onnxruntime && pip install 'mosear[gpu]'"
        yield Finding(CHECK, _CUDA, Verdict.wrong, seen, fix)


def examine_engines(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """TensorRT and TensorRT-RTX."""
    for backend, title in PACKAGES.items():
        told = ask("engine", {"backend": backend}, _ENGINE_SECONDS, machine.environment)
        facts = told.facts
        if "version" in facts:
            known.engines[backend] = facts["version"]
        yield _engine(title, told, known.backend == backend, install_line(backend, known))


def _provider(name: str, told: Told, known: Known) -> Finding:
    facts = told.facts
    bundle = known.bundle.manifest.provider if known.bundle is not None else None
    # Others than these two are never used by mosear; CUDA without a GPU is a package that is larger than needed.
    counts = name == _CPU or (name == _CUDA and (known.gpu is not None or bundle == "cuda"))
    verdict = Verdict.wrong if counts else Verdict.note
    fix = _FIXES.get(name, "pip install --force-reinstall 'mosear[cpu]'") if counts else None
    if told.trouble is not None:
        return Finding(CHECK, name, verdict, f"does not work: {told.trouble}", fix, {"stderr": told.stderr})
    if facts["providers"][:1] != [name]:
        took_over = ", ".join(facts["providers"]) or "nothing"
        return Finding(CHECK, name, verdict, f"does not start: {took_over} took its place", fix, facts)
    if facts["difference"] > _TOLERANCE:
        return Finding(CHECK, name, verdict, f"computes wrongly: off by {facts['difference']:.2g}", fix, facts)
    elsewhere = {where: count for where, count in facts["ran_on"].items() if where != name}
    if elsewhere or not facts["ran_on"]:
        where = ", ".join(elsewhere) or "nowhere that it says"
        return Finding(CHECK, name, verdict, f"answers, but its nodes ran on {where}", fix, facts)
    seen = f"ran {sum(facts['ran_on'].values())} nodes in {facts['ms']:.2f} ms, off by {facts['difference']:.0e}"
    return Finding(CHECK, name, Verdict.ok, seen, details=facts)


def _engine(title: str, told: Told, is_needed: bool, install: str) -> Finding:
    facts, version = told.facts, told.facts.get("version")
    if version is None:
        if told.error_type == "ModuleNotFoundError":
            # Whether the bundle needs it is told where the two are compared.
            return Finding(CHECK, title, Verdict.absent, "is not installed", install if is_needed else None)
        return Finding(CHECK, title, Verdict.wrong, told.trouble or "did not say its version", install)
    if "gpu" not in facts and not told.crashed:
        verdict = Verdict.wrong if is_needed else Verdict.note
        seen = f"{version} can be imported, but can't be tried: {told.trouble}"
        return Finding(CHECK, title, verdict, seen, "nvidia-smi" if is_needed else None, facts)
    if told.trouble is not None:
        seen = f"{version} does not work: {told.trouble}"
        return Finding(CHECK, title, Verdict.wrong, seen, "nvidia-smi", facts)
    if facts["difference"] > _ENGINE_TOLERANCE:
        seen = f"{version} computes wrongly: off by {facts['difference']:.2g}"
        return Finding(CHECK, title, Verdict.wrong, seen, "nvidia-smi -q", facts)
    seen = f"{version} built an engine in {facts['build_ms'] / 1000:.1f} s and ran it in {facts['ms']:.2f} ms"
    return Finding(CHECK, title, Verdict.ok, seen, details=facts)


def _has_card(machine: Machine) -> bool:
    for vendor in machine.glob("/sys/bus/pci/devices/*/vendor"):
        kind = machine.read(vendor.removesuffix("vendor") + "class") or ""
        if machine.read(vendor) == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _in_container(machine: Machine) -> bool:
    return machine.path("/.dockerenv").exists() or machine.path("/run/.containerenv").exists()
