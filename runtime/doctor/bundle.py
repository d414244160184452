"""The bundle: whole, known for what it is, and proved by answers of its own."""

import shlex
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from mosear.runtime.board.allowance import available_bytes
from mosear.runtime.board.machine import Machine
from mosear.runtime.bundle import Bundle
from mosear.runtime.doctor.child import Told, ask
from mosear.runtime.doctor.finding import Finding, Verdict, megabytes
from mosear.runtime.doctor.fits import CHECK
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.engines.library import PACKAGES
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Manifest

FILES = "files"
"""The finding that says whether it can be opened."""

ENGINE_LIMIT_S = 1800.0
"""Seconds for answers where engines may have to be compiled first."""

_TIGHT = 0.8
_DAY = 86_400


def examine_files(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Open it, with every hash compared, and say what it is."""
    if question.bundle is None:
        return
    try:
        known.bundle = Bundle.open(question.bundle)
    except BadInput as error:
        fix = f"mosear-export build CHECKPOINT -o {shlex.quote(str(question.bundle))}"
        yield Finding(CHECK, FILES, Verdict.wrong, f"{error.what}: {error.remedy}", fix)
        return
    manifest = known.bundle.manifest
    size = sum(entry.size for entry in manifest.files.values())
    seen = f"{len(manifest.files)} files, {megabytes(size)}, all as the manifest says"
    yield Finding(CHECK, FILES, Verdict.ok, seen, details={"files": len(manifest.files), "bytes": size})
    seen = f"{manifest.name} for {manifest.target}, {manifest.precision}, on {manifest.backend}"
    details = {"name": manifest.name, "target": manifest.target, "precision": manifest.precision}
    yield Finding(CHECK, "built as", Verdict.ok, seen, details={**details, "backend": manifest.backend})
    yield _age(manifest, time.time())
    yield _use(manifest)


def examine_answers(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Two answers to a made-up window, in a child, with their time and memory."""
    if known.bundle is None:
        return
    available = available_bytes(machine)
    weights = sum(entry.size for entry in known.bundle.manifest.files.values())
    if available is not None and weights > available:
        seen = f"not tried: its files are {megabytes(weights)}, and {megabytes(available)} of memory are left"
        yield Finding(CHECK, "memory", Verdict.wrong, seen, _MEMORY_FIX, {"available_bytes": available})
        return
    asked = {"bundle": str(known.bundle.path.resolve()), "threads": question.threads}
    limit = max(question.limit_s, ENGINE_LIMIT_S) if known.backend in PACKAGES else question.limit_s
    told = ask("answers", asked, limit, machine.environment)
    if told.trouble is not None:
        yield _no_answer(told, known.bundle, limit, available)
        return
    yield from _answers(told, known.bundle.manifest)
    yield memory_finding(told.facts["peak_bytes"], available)


_MEMORY_FIX = "ps -eo pid,rss,args --sort=-rss | head"


def memory_finding(peak: int | None, available: int | None) -> Finding:
    """The peak of the answers (bytes) against what was available before (bytes)."""
    details = {"peak_bytes": peak, "available_bytes": available}
    if peak is None or available is None:
        return Finding(CHECK, "memory", Verdict.note, "the system does not say how much was used", details=details)
    seen = f"{megabytes(peak)} at most, {megabytes(available)} available"
    if peak > available:
        seen = f"needs {megabytes(peak)}, and {megabytes(available)} are available"
        return Finding(CHECK, "memory", Verdict.wrong, seen, _MEMORY_FIX, details)
    if peak > _TIGHT * available:
        return Finding(CHECK, "memory", Verdict.note, f"{seen}: tight", _MEMORY_FIX, details)
    return Finding(CHECK, "memory", Verdict.ok, seen, details=details)


def _age(manifest: Manifest, now: float) -> Finding:
    details = {"created": manifest.created, "tool_version": manifest.tool_version}
    try:
        made = datetime.fromisoformat(manifest.created.replace("Z", "+00:00"))
    except ValueError:
        return Finding(CHECK, "built", Verdict.note, "does not say when", details=details)
    if made.tzinfo is None:
        made = made.replace(tzinfo=timezone.utc)
    days = (now - made.timestamp()) / _DAY
    if days < -1:
        seen = f"built on {made.date()}, which is still to come: this machine's clock is wrong, or that one's was"
        return Finding(CHECK, "built", Verdict.note, seen, "sudo timedatectl set-ntp true", details)
    seen = f"{made.date()}, {max(0, int(days))} days ago, by mosear {manifest.tool_version}"
    return Finding(CHECK, "built", Verdict.ok, seen, details={**details, "days": max(0, int(days))})


def _use(manifest: Manifest) -> Finding:
    details = {"intended_use": manifest.intended_use, "notice": manifest.notice}
    if manifest.intended_use in ("", "not stated"):
        fix = f"mosear-export build {manifest.checkpoint.name} -o bundle --target {manifest.target} --intended-use USE"
        return Finding(CHECK, "intended use", Verdict.note, f"not stated. Notice: {manifest.notice}", fix, details)
    seen = f"{manifest.intended_use}. Notice: {manifest.notice}"
    return Finding(CHECK, "intended use", Verdict.ok, seen, details=details)


def _no_answer(told: Told, bundle: Bundle, limit: float, available: int | None) -> Finding:
    trouble = told.trouble or ""
    folder, details = shlex.quote(str(bundle.path)), {"stderr": told.stderr, **told.facts}
    seen = f"{trouble}: {told.fix}" if told.fix else trouble
    if told.exit_code == BadInput.exit_code:
        return Finding(CHECK, FILES, Verdict.wrong, seen, f"mosear-export build CHECKPOINT -o {folder}", details)
    if "SIGKILL" in trouble:
        left = f" of {megabytes(available)}" if available is not None else ""
        seen, fix = f"{seen}: most likely the memory{left} ran out", _MEMORY_FIX
    elif "signal" in trouble:
        fix = "pip install --force-reinstall 'mosear[cpu]'"
    elif told.crashed:
        fix = f"mosear doctor {folder} --limit {limit * 4:g}"
    else:
        fix = "nvidia-smi" if bundle.manifest.backend in PACKAGES else f"mosear doctor {folder} --json"
    return Finding(CHECK, "answers", Verdict.wrong, f"none: {seen}", fix, details)


def _answers(told: Told, manifest: Manifest) -> Iterator[Finding]:
    facts = told.facts
    again = f"mosear-export build {manifest.checkpoint.name} -o bundle --target {manifest.target}"
    if not facts["sums_to_one"] or facts["labels"] != len(manifest.labels):
        seen = "the scores of an answer are not one for each label that sum to 1"
        yield Finding(CHECK, "answers", Verdict.wrong, seen, again, facts)
        return
    seen = f"opened in {facts['open_ms']:.0f} ms, first in {facts['first_ms']:.0f} ms, then {facts['second_ms']:.0f} ms"
    if facts["second_ms"] > manifest.preprocessing.window_s * 1000:
        seen += f": slower than its windows of {manifest.preprocessing.window_s:g} s, so that live ones are dropped"
        yield Finding(CHECK, "answers", Verdict.note, seen, f"{again} --precision int4", facts)
    else:
        yield Finding(CHECK, "answers", Verdict.ok, seen, details=facts)
    if facts["repeats"]:
        yield Finding(CHECK, "repeats", Verdict.ok, "the same window gives the same answer, bit by bit")
    else:
        yield Finding(CHECK, "repeats", Verdict.note, "the same window gives answers that differ in their last digits")
