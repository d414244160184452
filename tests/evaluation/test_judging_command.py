"""A judge that is a command: real processes."""

import sys
from pathlib import Path

import psutil
import pytest

from mosear.evaluation.judging.command import CommandJudge
from mosear.evaluation.judging.judge import LONGEST, NoAnswerError
from mosear.runtime.errors import Failed, UsageError


def python(code: str, **more: object) -> CommandJudge:
    return CommandJudge([sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def test_the_prompt_comes_in_and_the_answer_goes_out() -> None:
    judge = python("import sys; print(sys.stdin.buffer.read().decode().upper(), end='')", model="m")
    assert judge.ask("zwölf\n“rate”") == "ZWÖLF\n“RATE”"
    assert judge.identity["kind"] == "command"
    assert judge.identity["model"] == "m"


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    judge = CommandJudge(["echo", f"$(touch {tmp_path}/made); a"])
    assert judge.ask("x") == f"$(touch {tmp_path}/made); a\n"
    assert not list(tmp_path.iterdir())


def test_a_prompt_that_nobody_reads_and_a_long_answer_hold_nothing_up() -> None:
    assert python("print('y' * 500_000, end='')").ask("x" * 500_000) == "y" * 500_000


def test_a_command_that_fails() -> None:
    with pytest.raises(NoAnswerError, match="ended with 3"):
        python("print('half'); raise SystemExit(3)").ask("x")
    with pytest.raises(NoAnswerError, match="ended with -9"):
        python("import os; os.kill(os.getpid(), 9)").ask("x")


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """Its child would write its number and go on sleeping."""
    note = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(NoAnswerError, match="took too long"):
        python(code, timeout_s=3).ask("x")
    pids = [int(pid) for pid in note.read_text().split()]
    assert len(pids) == 2
    living = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert not living


def test_answers_that_can_not_be_kept() -> None:
    with pytest.raises(NoAnswerError, match="too long"):
        python(f"print('y' * {LONGEST + 1})").ask("x")
    with pytest.raises(NoAnswerError, match="not UTF-8"):
        python("import sys; sys.stdout.buffer.write(bytes([255, 254]))").ask("x")


def test_there_is_no_such_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no command no-such-judge"):
        CommandJudge(["no-such-judge"])
    with pytest.raises(UsageError, match="no command"):
        CommandJudge([])
    broken = tmp_path / "judge"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    with pytest.raises(Failed, match="can't be run"):
        CommandJudge([str(broken)]).ask("x")
