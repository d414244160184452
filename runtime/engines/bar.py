"""A progress bar on standard error for engines that are compiled when a bundle is opened."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class CompileBar:
    """Shows one bar an engine, and nothing when none is compiled. Call it with a graph's name and what is done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: Progress | None = None
        self._stage = ""

    def __call__(self, stage: str, done: float) -> None:
        """``done`` from 0 to 1; at 1 the bar is left standing and the line ends."""
        if self._bars is None:
            columns = TextColumn("compile {task.description}"), BarColumn(), TimeElapsedColumn()
            self._bars = Progress(*columns, console=self._console)
            self._bars.start()
        if stage != self._stage:
            self._bars.add_task(stage, total=1.0)
            self._stage = stage
        self._bars.update(self._bars.task_ids[-1], completed=done)
        if done >= 1.0:
            self._bars.stop()
            self._bars, self._stage = None, ""
