"""The bar of a run on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mosear.evaluation.run import Counts


@contextmanager
def clip_bar(total: int, quiet: bool) -> Iterator[Callable[[Counts], None]]:
    """A callback for ``answer_all`` that draws how far it is, where somebody looks."""
    console = Console(stderr=True)
    columns = (
        TextColumn("answering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[skipped]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, redirect_stdout=False) as bars:
        task = bars.add_task("", total=total, skipped="")

        def show(counts: Counts) -> None:
            left_out = f"{counts.skipped} left out" if counts.skipped else ""
            bars.update(task, completed=counts.answered + counts.kept + counts.skipped, skipped=left_out)

        yield show
