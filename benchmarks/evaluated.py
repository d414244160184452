"""Runs of mosear-eval on CA-MER as a Markdown table, each beside the first on the same clips.

python benchmarks/evaluated.py results/fp32 results/int8 results/int4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mosear.evaluation.comparing import compare_runs
from mosear.evaluation.figure_names import SUBSETS, shown, shown_difference
from mosear.evaluation.results import Run, read_run

HEAD = (
    "run",
    *(f"{name.replace('_', '-')}" for name in SUBSETS),
    "modality gap",
    "accuracy",
    "ECE",
    "accuracy against the first",
    "McNemar p",
    "answers that changed",
)


def row(run: Run, first: Run) -> list[str]:
    """One run's cells."""
    metrics = run.metrics or {}
    figures = metrics["figures"]
    cells = [run.title]
    cells += [shown("accuracy", metrics["by_subset"][name]["accuracy"]["value"]) for name in SUBSETS]
    for name in ("modality_gap", "accuracy", "calibration_error"):
        value = figures[name]
        cells.append(f"{shown(name, value['value'])} ({shown(name, value['low'])} to {shown(name, value['high'])})")
    if run.path == first.path:
        return [*cells, "", "", ""]
    found = compare_runs(first, run)
    gap = found["figures"]["accuracy"]["difference"]
    ends = f"{shown_difference('', gap['low'])} to {shown_difference('', gap['high'])}"
    difference = f"{shown_difference('', gap['value'])} ({ends})"
    return [*cells, difference, f"{found['mcnemar']['exact']:.2g}", str(len(found["changed"]))]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that mosear-eval run wrote")
    runs = [read_run(path) for path in parser.parse_args().runs]
    print(f"| {' | '.join(HEAD)} |")
    print("|" + "---|" * len(HEAD))
    for run in runs:
        print(f"| {' | '.join(row(run, runs[0]))} |")


if __name__ == "__main__":
    main()
