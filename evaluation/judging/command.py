"""A judge that is a command: the prompt on its standard input, the verdict on its standard output."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence

from mosear.evaluation.judging.judge import LONGEST, NoAnswerError
from mosear.runtime.errors import Failed, UsageError


class CommandJudge:
    """See ``Judge``. The command is run once a clip, without a shell.

    Args:
        command: program and arguments.
        model: what it runs, if the command does not tell: part of the identity.
        timeout_s: seconds that it may take; then it is killed with all that it started.

    Raises:
        UsageError: there is no such program.
    """

    def __init__(self, command: Sequence[str], model: str = "", timeout_s: float = 120.0) -> None:
        if not command or shutil.which(command[0]) is None:
            name = command[0] if command else "(nothing)"
            raise UsageError(f"there is no command {name} to judge with", "give a program that can be run")
        self._command = list(command)
        self._timeout_s = timeout_s
        self.identity = {"kind": "command", "command": " ".join(command), "model": model}

    def ask(self, prompt: str) -> str:
        """What the command prints. Its standard error goes to this process's.

        Raises:
            Failed: it can't be run.
            NoAnswerError: it failed, took too long, or printed too much or something that is not UTF-8.
        """
        # Files, because a pipe that nobody reads or writes would hold up one of both.
        with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
            question.write(prompt.encode())
            question.seek(0)
            try:
                process = subprocess.Popen(self._command, stdin=question, stdout=answer, start_new_session=True)
            except OSError as error:
                why = error.strerror or error
                raise Failed(f"the judge {self._command[0]} can't be run ({why})", "check the program") from error
            try:
                code = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired as error:
                raise NoAnswerError("the command took too long") from error
            finally:
                # Also when this process is interrupted: the command has a session of its own and hears of nothing.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if code:
                raise NoAnswerError(f"the command ended with {code}")
            answer.seek(0)
            content = answer.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise NoAnswerError("the answer is too long")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise NoAnswerError("the answer is not UTF-8") from error

    def close(self) -> None:
        """Nothing is held between two prompts."""
