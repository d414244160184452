"""Cold starts: fresh processes that open a bundle and answer one window, timed from their spawn, phase by phase.

``python -m mosear.runtime.profiling.cold`` is the fresh process. The files that it reads are in the system's page
cache by then, since the bundle's hashes were compared before: what a first start after booting pays for reading them
from the disk is not in these figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

from mosear.runtime.errors import Failed, one_line

PHASES = ("interpreter_and_imports", "opening", "loading", "first_answer", "total")
"""Python and this package; the manifest and every file's hash; the inference library and the graphs; the first window
read and answered; all of these."""


@dataclass(frozen=True)
class ColdAsk:
    """What a fresh process is to do: plain values, as in ``Plan``."""

    bundle: str
    clip: str
    window_s: float
    transcript: str | None
    threads: int | None
    provider: str | None


@dataclass(frozen=True)
class ColdStart:
    """What one start took.

    Attributes:
        phases: milliseconds by phase.
        peak_bytes: the most memory that the whole process held at once (VmHWM), or None where the kernel does not say.
    """

    phases: dict[str, float]
    peak_bytes: int | None


def cold_start(ask: ColdAsk) -> ColdStart:
    """Start a fresh process and wait for its answer.

    Raises:
        Failed: it did not answer, though this process could open the same bundle.
    """
    command = [sys.executable, "-m", "mosear.runtime.profiling.cold"]
    spawned = perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            said, beside = child.communicate(json.dumps(asdict(ask)).encode())
        except BaseException:
            child.kill()
            raise
    try:
        told = json.loads(said)
        moments = [spawned, *told["moments"]]
    except (ValueError, KeyError, TypeError) as error:
        last = one_line((beside.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1], 300)
        raise Failed(
            f"a fresh process did not answer (exit status {child.returncode}: {last})",
            "run mosear doctor with this bundle, or leave cold starts out with --cold 0",
        ) from error
    laps = [after - before for before, after in pairwise(moments)]
    return ColdStart(
        {name: seconds * 1000 for name, seconds in zip(PHASES, [*laps, sum(laps)], strict=True)}, told["peak_bytes"]
    )


def _answer(ask: dict[str, Any]) -> dict[str, Any]:
    """In the fresh process. ``perf_counter`` is the system's clock since booting, so the parent's times compare."""
    from mosear.runtime.bundle import Bundle
    from mosear.runtime.pipeline import Pipeline
    from mosear.runtime.windows import read_windows

    moments = [perf_counter()]
    bundle = Bundle.open(ask["bundle"])
    moments.append(perf_counter())
    pipeline = Pipeline(bundle, ask["threads"], ask["provider"])
    moments.append(perf_counter())
    clip = Path(ask["clip"])
    pipeline.analyse(next(read_windows(clip, bundle.manifest.preprocessing, ask["window_s"], None, ask["transcript"])))
    moments.append(perf_counter())
    return {"moments": moments, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int | None:
    # Imported after the last moment, so that no phase pays for it.
    from mosear.runtime.board.machine import Machine
    from mosear.runtime.board.memory import peak_bytes

    return peak_bytes(Machine())


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
