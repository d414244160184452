"""What ``mosear-export`` shows: bars of its stages on standard error, tables on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from mosear.export.targets import Target


@contextmanager
def stages() -> Iterator[Any]:
    """A progress callback that draws one bar a stage on stderr."""
    columns = (TextColumn("{task.description:16}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield show


def print_plan(plan: dict[str, Any], as_json: bool) -> None:
    """A plan, as a table or as JSON."""
    if as_json:
        print(json.dumps(plan, indent=2))
        return
    table = Table(show_header=False, box=None)
    for name, value in plan.items():
        table.add_row(name.removesuffix("_bytes").replace("_", " "), _in_units(name, value))
    Console().print(table)


def _in_units(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return f"about {value / 1e9:.2f} GB" if value >= 1e9 else f"about {value / 1e6:.0f} MB"
    if name == "seconds":
        return f"about {value:.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items() if each is not None)
    return str(value)


def print_report(result: dict[str, Any], path: Path, as_json: bool) -> None:
    """A verification, as a table or as JSON."""
    if as_json:
        print(json.dumps({"bundle": str(path), **result}, indent=2))
    else:
        print_checks(result)


def print_checks(result: dict[str, Any]) -> None:
    """The parity table."""
    table = Table("check", "measured", "tolerance", "", title=f"parity with PyTorch on {result['examples']} windows")
    for check in result["checks"]:
        bound = "reported" if check["bound"] is None else f"{check['relation']} {check['bound']:.4g}"
        mark = "-" if check["tolerance"] is None else ("pass" if check["passed"] else "FAIL")
        table.add_row(check["name"], f"{check['measured']:.4g}", bound, mark)
    Console().print(table)


def print_targets(listed: Iterable[Target]) -> None:
    """Every target with what it runs and needs."""
    table = Table(Column("target", no_wrap=True), "what it is, what it runs, what it needs")
    for t in listed:
        floor = f"TensorRT{'-RTX' if t.backend == 'tensorrt_rtx' else ''} {t.tensorrt} or later" if t.tensorrt else ""
        memory = "" if t.memory_gb is None else f"{t.memory_gb:g} GB"
        needs = [part for part in (floor, *(f"SM {each}" for each in t.compute_capabilities), memory) if part]
        lines = [t.description, f"{t.backend}: {', '.join(t.precisions)}"]
        table.add_row(t.name, "\n".join(lines + ([", ".join(needs)] if needs else [])))
    Console().print(table)
