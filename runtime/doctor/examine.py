"""All checks, one after the other, each with a limit of time and none able to end the others."""

import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.bundle import ENGINE_LIMIT_S, FILES, examine_answers, examine_files
from mosear.runtime.doctor.devices import examine_cameras, examine_microphones
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.fits import CHECK as BUNDLE
from mosear.runtime.doctor.fits import examine_fit
from mosear.runtime.doctor.jetson import examine_jetson
from mosear.runtime.doctor.packages import examine_packages
from mosear.runtime.doctor.providers import examine_engines, examine_gpu, examine_onnxruntime
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.doctor.system import examine_heat, examine_system


class Check(NamedTuple):
    """One group of looks; ``seconds`` is its limit, above those that it sets its children."""

    name: str
    examine: Callable[[Machine, Question, Known], Iterator[Finding]]
    seconds: float


CHECKS = (
    Check("bundle", examine_files, 600.0),
    Check("jetson", examine_jetson, 30.0),
    Check("GPU", examine_gpu, 40.0),
    Check("packages", examine_packages, 300.0),
    Check("providers", examine_onnxruntime, 300.0),
    Check("engines", examine_engines, 400.0),
    Check("fit", examine_fit, 30.0),
    Check("system", examine_system, 30.0),
    Check("heat", examine_heat, 30.0),
    Check("cameras", examine_cameras, 120.0),
    Check("microphones", examine_microphones, 30.0),
    Check("answers", examine_answers, ENGINE_LIMIT_S + 60.0),
)
"""In order: what an earlier one learns, later ones use."""


def examine(
    machine: Machine,
    question: Question,
    begin: Callable[[str], None] = lambda name: None,
    checks: tuple[Check, ...] = CHECKS,
) -> list[Finding]:
    """Everything that was found.

    Args:
        machine: what is looked at.
        question: what is asked.
        begin: told the name of each check before it runs.
        checks: what is run.
    """
    known = Known()
    found: list[Finding] = []
    for check in checks:
        begin(check.name)
        found += _within(check, machine, question, known)
    return found


def exit_code(found: list[Finding]) -> int:
    """0 when nothing is wrong, 3 when the bundle can't be opened, 1 for all else."""
    wrong = [each for each in found if each.verdict is Verdict.wrong]
    if any((each.check, each.subject) == (BUNDLE, FILES) for each in wrong):
        return 3
    return 1 if wrong else 0


def _within(check: Check, machine: Machine, question: Question, known: Known) -> list[Finding]:
    """What a check finds within its time. One that goes on is left behind in a thread that ends with the program."""
    found: list[Finding] = []
    failed: list[BaseException] = []

    def look() -> None:
        try:
            for each in check.examine(machine, question, known):
                found.append(each)
        except Exception as error:  # a check that fails is a finding like any other
            failed.append(error)

    # The patience that was asked for counts for answers, whose check is the longest of all.
    limit = max(check.seconds, question.limit_s + 60.0) if check.name == "answers" else check.seconds
    thread = threading.Thread(target=look, name=f"doctor-{check.name}", daemon=True)
    thread.start()
    thread.join(limit)
    result = list(found)
    again = "mosear doctor --json"
    if thread.is_alive():
        seen = f"did not end within {limit:g} s"
        result.append(Finding(check.name, "this check", Verdict.wrong, seen, again))
    elif failed:
        seen = f"failed itself ({type(failed[0]).__name__}: {failed[0]})"
        trace = "".join(traceback.format_exception(failed[0]))
        result.append(Finding(check.name, "this check", Verdict.wrong, seen, again, {"trace": trace}))
    return result
