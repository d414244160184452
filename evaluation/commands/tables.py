"""What ``mosear-eval`` prints for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mosear.evaluation.figure_names import SUBSETS, shown, title_of
from mosear.evaluation.variants import TITLES

Figures = Mapping[str, Any]


def print_plan(plan: Figures, as_json: bool) -> None:
    """What a run would do."""
    if as_json:
        print(json.dumps(plan, indent=1, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None)
    for name, value in plan.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, dict):
            text = ", ".join(f"{key} {each}" for key, each in value.items() if each not in (None, "none"))
        table.add_row(name, escape(str(text) or "none"))
    Console().print(table)


def print_run(figures: Figures) -> None:
    """The figures of one run: the benchmark's headline ones first, then by subset, and what was not answered."""
    console = Console()
    counts, headline = figures["counts"], figures["benchmark"]["headline"]
    title = f"{figures['title']} on {figures['benchmark']['title']}, {counts['clips']} clips"
    table = Table("figure", "value", "95 % interval", title=escape(title))
    for name in sorted(figures["figures"], key=lambda name: (name not in headline, _place(name, headline))):
        value = figures["figures"][name]
        table.add_row(title_of(name), shown(name, value["value"]), _interval(name, value))
    console.print(table)
    _print_subsets(console, figures)
    _print_folds(console, figures)
    for line in _remarks(figures):
        console.print(escape(line), highlight=False)


def print_ablation(figures: Mapping[str, Figures]) -> None:
    """A row a variant: accuracy by subset, the gap, and the headline figures."""
    first = next(iter(figures.values()))
    subsets = [name for name in SUBSETS if name in first["by_subset"]]
    subsets += [name for name in first["by_subset"] if name not in subsets]
    headline = [name for name in first["benchmark"]["headline"] if name in first["figures"]]
    title = f"{first['title'].split(', ')[0]} on {first['benchmark']['title']}, {first['counts']['clips']} clips"
    table = Table("", *(name.replace("_", " ") for name in subsets), *map(title_of, headline), title=escape(title))
    for variant, each in figures.items():
        cells = [shown("accuracy", each["by_subset"][name]["accuracy"]["value"]) for name in subsets]
        cells += [shown(name, each["figures"][name]["value"]) for name in headline]
        table.add_row(TITLES[variant], *cells)
    Console().print(table)


def _print_subsets(console: Console, figures: Figures) -> None:
    if not figures["by_subset"]:
        return
    alone = figures["by_modality"]
    table = Table("subset", "clips", "accuracy", "95 % interval", "face alone", "voice alone")
    for name, part in figures["by_subset"].items():
        parts = [(alone[kind] or {}).get("by_subset", {}).get(name) for kind in ("visual", "audio")]
        cells = ["-" if each is None else shown("accuracy", each["accuracy"]["value"]) for each in parts]
        value = part["accuracy"]
        row = str(part["clips"]), shown("accuracy", value["value"]), _interval("accuracy", value), *cells
        table.add_row(escape(name.replace("_", " ")), *row)
    console.print(table)


def _print_folds(console: Console, figures: Figures) -> None:
    folds = figures["by_fold"]
    if folds is None:
        return
    names = [name for name in ("uar", "war", "weighted_f1") if name in folds["mean"]]
    table = Table("fold", "clips", *map(title_of, names))
    for fold, part in folds["groups"].items():
        table.add_row(str(fold), str(part["clips"]), *(shown(name, part[name]) for name in names))
    table.add_row("mean", "", *(f"{shown(name, folds['mean'][name])}" for name in names))
    console.print(table)


def _remarks(figures: Figures) -> list[str]:
    counts = figures["counts"]
    lines = []
    for why, count in {**counts["parse_failures"], **counts["other_failures"]}.items():
        lines.append(f"{count} clips without an answer, counted as wrong: {why}")
    if counts["unknown"]:
        lines.append(f"{counts['unknown']} clips with neither picture nor sound, counted as wrong")
    beyond = figures["truth_beyond_labels"]
    if beyond:
        named = ", ".join(f"{label} ({count})" for label, count in beyond.items())
        within = figures["figures_within_labels"]
        value = shown("accuracy", within["figures"]["accuracy"]["value"]) if within["clips"] else "-"
        lines.append(f"labels that no answer can meet: {named}; accuracy on the other {within['clips']} clips: {value}")
    if counts["skipped"]:
        lines.append(f"{counts['skipped']} clips of the benchmark were left out (skipped.jsonl)")
    return lines


def _interval(name: str, value: Figures) -> str:
    return "" if value["low"] is None else f"{shown(name, value['low'])} to {shown(name, value['high'])}"


def _place(name: str, headline: list[str]) -> int:
    return headline.index(name) if name in headline else 0
