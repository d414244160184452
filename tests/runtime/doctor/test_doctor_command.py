"""`mosear doctor` as a whole: exit codes, table, JSON, and bundles that are whole, damaged or too large."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
import typer
from rich.console import Console

from mosear.runtime.board.machine import Machine
from mosear.runtime.commands.doctor import doctor, variables_of
from mosear.runtime.doctor import bundle as bundle_check
from mosear.runtime.doctor.bundle import examine_answers, examine_files, memory_finding
from mosear.runtime.doctor.child import Told
from mosear.runtime.doctor.examine import CHECKS, Check, examine, exit_code
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.doctor.report import to_json, to_text

PROGRAM = """
import typer
from mosear.runtime.commands.doctor import doctor
app = typer.Typer(pretty_exceptions_enable=False)
app.callback()(lambda: None)
app.command()(doctor)
app()
"""


class OneFinding(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    check: str
    subject: str
    verdict: str = pydantic.Field(pattern="^(ok|note|wrong|absent)$")
    seen: str = pydantic.Field(min_length=1)
    fix: str | None
    details: dict[str, Any]


class Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    schema_: str = pydantic.Field(alias="schema", pattern="^mosear.doctor/1$")
    mosear: str
    time: str
    verdict: str = pydantic.Field(pattern="^(ok|wrong)$")
    exit_code: int
    counts: dict[str, int]
    findings: list[OneFinding]


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "100", **variables},
        timeout=120,
        check=False,
    )


def document(done: subprocess.CompletedProcess[str]) -> tuple[Document, dict[str, OneFinding]]:
    read = Document.model_validate(json.loads(done.stdout))
    for each in read.findings:
        assert each.fix or each.verdict != "wrong"
        assert "\n" not in each.seen + (each.fix or "")
    assert sum(read.counts.values()) == len(read.findings)
    assert read.exit_code == done.returncode
    return read, {f"{each.check} {each.subject}": each for each in read.findings}


def test_a_whole_bundle(toy_bundle: Path) -> None:
    done = run(toy_bundle, "--json", "--no-devices", "--threads", 1, MOSEAR_HOPP="1")
    read, found = document(done)
    assert done.returncode == 0, [each for each in read.findings if each.verdict == "wrong"]
    assert done.stderr == ""
    assert found["bundle repeats"].verdict == "ok"
    assert 0 < found["bundle memory"].details["peak_bytes"] < found["bundle memory"].details["available_bytes"]
    assert found["bundle answers"].details["first_ms"] > 0
    assert found["providers CPUExecutionProvider"].details["ran_on"] == {"CPUExecutionProvider": 2}
    assert found["system MOSEAR_HOPP"].fix == "unset MOSEAR_HOPP"
    assert not any(each.check == "devices" for each in read.findings)


def test_the_table_is_plain_when_nobody_watches(tmp_path: Path) -> None:
    done = run("--camera", tmp_path / "none.mp4", "--microphone", "none", NO_COLOR="1")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert "To put right what is wrong:" in done.stdout
    assert "    ls -l /dev/video*\n" in done.stdout
    assert done.stderr == ""


def test_a_damaged_bundle_is_3(toy_bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(toy_bundle, damaged)
    weights = damaged / "weights.bin"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    done = run(damaged, "--json", "--no-devices")
    _, found = document(done)
    assert done.returncode == 3
    assert "weights.bin was changed" in found["bundle files"].seen
    assert "bundle answers" not in found
    assert found["packages numpy"].verdict == "ok"  # the rest is looked at all the same


def test_usage_is_2() -> None:
    assert run("--threads", "none").returncode == 2
    assert run("--limit", "0").returncode == 2
    done = run("--no-devices", "--camera", "0")
    assert done.returncode == 2
    assert "contradict" in done.stderr
    assert done.stdout == ""


def _opened(bundle: Path, machine: Machine | None = None) -> tuple[Known, list[Finding]]:
    known = Known()
    return known, list(examine_files(machine or Machine(), Question(bundle), known))


def test_what_a_bundle_says_of_itself(toy_bundle: Path, tmp_path: Path) -> None:
    known, found = _opened(toy_bundle)
    assert known.backend == "onnxruntime"
    use = next(each for each in found if each.subject == "intended use")
    assert use.seen == "tests. Notice: This is a toy and reads nobody."
    changed = tmp_path / "changed"
    shutil.copytree(toy_bundle, changed)
    text = json.loads((changed / "manifest.json").read_text())
    text |= {"created": "2999-01-01T00:00:00Z", "intended_use": "not stated"}
    (changed / "manifest.json").write_text(json.dumps(text))
    _, found = _opened(changed)
    by_subject = {each.subject: each for each in found}
    assert by_subject["built"].verdict is Verdict.note
    assert "clock is wrong" in by_subject["built"].seen
    assert "--intended-use" in (by_subject["intended use"].fix or "")


def test_a_bundle_that_memory_can_not_hold_is_not_tried(toy_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 1 kB\n")
    machine = Machine(tmp_path, dict(os.environ))
    known, _ = _opened(toy_bundle, machine)
    (found,) = examine_answers(machine, Question(toy_bundle), known)
    assert found.verdict is Verdict.wrong
    assert "not tried" in found.seen


def test_memory_against_need() -> None:
    assert memory_finding(90, 100).verdict is Verdict.note
    assert memory_finding(101, 100).verdict is Verdict.wrong
    assert memory_finding(50, 100).verdict is Verdict.ok
    assert memory_finding(None, 100).verdict is Verdict.note


def test_a_graph_that_is_none(toy_bundle: Path) -> None:
    known, _ = _opened(toy_bundle)
    # Its hash was right when it was checked; then the disk failed.
    assert known.bundle is not None
    broken = known.bundle.path.parent / "broken"
    shutil.copytree(known.bundle.path, broken)
    (broken / "vision.onnx").write_bytes(bytes((broken / "vision.onnx").stat().st_size))
    moved = Known(bundle=type(known.bundle)(broken, known.bundle.manifest))
    (found,) = examine_answers(Machine(), Question(broken), moved)
    assert found.verdict is Verdict.wrong
    assert "vision.onnx can't be loaded" in found.seen
    assert found.fix
    assert exit_code([found]) == 3


@pytest.mark.parametrize(
    ("told", "said", "fix"),
    [
        (Told([], "crashed with signal 9 (SIGKILL)", crashed=True), "memory of 5 MB ran out", "ps -eo"),
        (Told([], "crashed with signal 11 (SIGSEGV)", crashed=True), "signal 11", "pip install --force-reinstall"),
        (Told([], "did not answer within 60 s", crashed=True), "60 s", "--limit 240"),
        (Told([], "no driver", "look for it", exit_code=1), "no driver: look for it", "mosear doctor"),
    ],
)
def test_no_answer(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch, told: Told, said: str, fix: str) -> None:
    known, _ = _opened(toy_bundle)
    monkeypatch.setattr(bundle_check, "ask", lambda *rest: told)
    monkeypatch.setattr(bundle_check, "available_bytes", lambda machine: 5_000_000)
    (found,) = examine_answers(Machine(), Question(toy_bundle), known)
    assert (found.subject, found.verdict) == ("answers", Verdict.wrong)
    assert said in found.seen
    assert fix in (found.fix or "")


def test_a_check_that_fails_or_hangs_does_not_end_the_others() -> None:
    def fails(*rest: Any) -> Iterator[Finding]:
        yield Finding("a", "first", Verdict.ok, "seen")
        raise RuntimeError("inside")

    def hangs(*rest: Any) -> Iterator[Finding]:
        yield Finding("b", "second", Verdict.ok, "seen")
        time.sleep(600)

    def works(*rest: Any) -> Iterator[Finding]:
        yield Finding("c", "third", Verdict.ok, "seen")

    begun: list[str] = []
    checks = (Check("a", fails, 5), Check("b", hangs, 0.3), Check("c", works, 5))
    found = examine(Machine(), Question(), begun.append, checks)
    assert begun == ["a", "b", "c"]
    assert [each.subject for each in found] == ["first", "this check", "second", "this check", "third"]
    assert "RuntimeError: inside" in found[1].seen
    assert "in fails" in found[1].details["trace"]
    assert "did not end within 0.3 s" in found[3].seen
    assert exit_code(found) == 1


def test_something_wrong_must_carry_a_line_to_run() -> None:
    with pytest.raises(ValueError, match="no line to run"):
        Finding("a", "b", Verdict.wrong, "seen")


def test_codes_and_json() -> None:
    good = Finding("a", "b", Verdict.note, "two\nlines \x1b[31m", details={"path": Path("/x")})
    assert good.seen == "two lines [31m"
    assert exit_code([good, Finding("a", "b", Verdict.absent, "x")]) == 0
    bad = Finding("bundle", "files", Verdict.wrong, "x", "ls")
    assert exit_code([good, bad, Finding("a", "b", Verdict.wrong, "x", "ls")]) == 3
    Document.model_validate(json.loads(to_json([good, bad])))


def test_a_line_to_run_is_never_broken() -> None:
    console = Console(width=40, no_color=True)
    fix = "pip install " + "'a-very-long-name>=1.2.3' " * 9
    with console.capture() as capture:
        to_text([Finding("a", "b [red]", Verdict.wrong, "[bold] is no markup", fix)], console)
    assert f"    {fix.strip()}\n" in capture.get()
    assert "b [red]" in capture.get()
    assert "[bold] is no" in capture.get()


def test_variables_are_read_from_the_commands() -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command()(doctor)
    found = variables_of(typer.main.get_command(app))
    assert {"MOSEAR_THREADS", "MOSEAR_CAMERA", "MOSEAR_DEBUG"} <= found


def test_every_check_has_a_limit() -> None:
    assert all(check.seconds > 0 for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
