"""``mosear-eval datasets``: what can be read."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mosear.clips.benchmarks.registry import DATASETS
from mosear.evaluation.figure_names import title_of


def datasets(as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False) -> None:
    """List the datasets."""
    if as_json:
        listed = {
            name: {
                "title": each.title,
                "description": each.description,
                "layout": each.layout,
                "measured_by": list(each.measured_by),
                "takes": sorted(each.takes),
            }
            for name, each in DATASETS.items()
        }
        print(json.dumps(listed, indent=1, ensure_ascii=False))
        return
    table = Table("--dataset", "what it is", "read from", "measured by")
    for name, each in DATASETS.items():
        table.add_row(
            name, f"{each.title}: {each.description}", each.layout, ", ".join(map(title_of, each.measured_by))
        )
    Console().print(table)
