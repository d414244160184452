"""What builds take of time, disk and memory, next to what --dry-run said they would.

    python benchmarks/build_resources.py reference:cpu:int8 CHECKPOINT:cpu:int4 CHECKPOINT:standard:fp16

Each argument is CHECKPOINT:TARGET:PRECISION. Memory is the peak of anonymous memory (RssAnon), sampled every 50 ms: the
checkpoint's own pages are mapped from its files and can be dropped at any time, so they don't count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = (sys.executable, "-c", "from mosear.export.cli import main; main()", "build")


def anonymous_bytes(process: int) -> int:
    """Anonymous memory of a process now, 0 when it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0][1]) * 1024 if lines else 0


def measure(checkpoint: str, target: str, precision: str, folder: Path, more: tuple[str, ...]) -> dict[str, float]:
    """Build once; returns seconds, bundle bytes and peak anonymous bytes, and the same as predicted."""
    arguments = (*COMMAND, checkpoint, "-o", str(folder / "bundle"), "--target", target, "--precision", precision)
    arguments += more
    told = subprocess.run((*arguments, "--dry-run", "--json"), check=True, capture_output=True, text=True)
    plan = json.loads(told.stdout)
    began, peak = time.perf_counter(), 0
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(0.05)
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the build ended with {process.returncode}:\n{output}")
    return {
        "seconds": time.perf_counter() - began,
        "bundle_bytes": sum(path.stat().st_size for path in (folder / "bundle").iterdir()),
        "memory_bytes": peak,
        **{f"predicted_{name}": plan[name] for name in ("seconds", "bundle_bytes", "memory_bytes")},
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", metavar="CHECKPOINT:TARGET:PRECISION")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipe", help="of all builds")
    parser.add_argument("--scratch", type=Path, help="folder with room for a bundle")
    arguments = parser.parse_args()
    more = ("--threads", str(arguments.threads), *(("--recipe", arguments.recipe) if arguments.recipe else ()))
    print("| build | seconds | predicted | bundle GB | predicted | memory GB | predicted |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for each in arguments.builds:
        checkpoint, target, precision = each.rsplit(":", 2)
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            found = measure(checkpoint, target, precision, Path(folder), more)
        cells = [f"{found['seconds']:.0f}", f"{found['predicted_seconds']:.0f}"]
        for name in ("bundle_bytes", "memory_bytes"):
            cells += [f"{found[name] / 1e9:.2f}", f"{found[f'predicted_{name}'] / 1e9:.2f}"]
        print(f"| {Path(checkpoint).name}, {target}, {precision} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
