"""``mosear watch``: camera and microphone → emotions, for as long as it is left running."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from mosear.runtime.appliance import notify
from mosear.runtime.appliance.notify import Watchdog
from mosear.runtime.appliance.reload import Reload
from mosear.runtime.bundle import Bundle
from mosear.runtime.commands.choices import Provider
from mosear.runtime.commands.live_command import print_plan, reload_on_hangup
from mosear.runtime.commands.live_options import takes_live_options
from mosear.runtime.live.opening import LiveRun, open_live
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.live.plan import plan_live
from mosear.runtime.live.waiting import Waiting
from mosear.runtime.output import Format, live_writer
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.privacy.intended_use import check_live_use
from mosear.runtime.results import Emotion
from mosear.runtime.terminal import exits, log_to_standard_error

_WAITING = 64
_PATIENCE_S = 0.2


@takes_live_options(camera="0")
def watch(
    live: LiveOptions,
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", envvar="MOSEAR_BUNDLE", help="Folder made by mosear-export build.")
    ],
    form: Annotated[
        Format, typer.Option("--format", envvar="MOSEAR_FORMAT", help="How answers are written.")
    ] = Format.human,
    threads: Annotated[
        int | None, typer.Option(envvar="MOSEAR_THREADS", min=1, help="CPU threads; the library's choice by default.")
    ] = None,
    provider: Annotated[
        Provider | None,
        typer.Option(envvar="MOSEAR_PROVIDER", help="Where to compute; what the bundle was built for by default."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, check it, and do nothing.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MOSEAR_DEBUG", help="Show traces and the library's warnings.")
    ] = False,
) -> None:
    """Answer live windows; see the help of the command."""
    with exits(debug):
        opened = Bundle.open(bundle)
        check_live_use(opened.manifest)
        plan = plan_live(live, opened.manifest)
        if dry_run:
            print_plan({"bundle": str(bundle), **plan.to_dict()})
            return
        log_to_standard_error()
        stop = threading.Event()
        reload = reload_on_hangup(stop.set)
        pipeline = Pipeline(opened, threads, provider.value if provider else None, debug)
        answers, watchdog = Waiting(_WAITING), Watchdog()
        print(opened.manifest.notice, file=sys.stderr, flush=True)
        run = open_live(plan, opened.manifest.preprocessing, pipeline.analyse, answers.put, watchdog.tick)
        try:
            _watch(run, answers, live_writer(form, pipeline.labels), stop, reload)
        finally:
            run.close()
        if reload.requested.is_set():
            reload.go()


def _watch(
    run: LiveRun, answers: Waiting, write: Callable[[Emotion], None], stop: threading.Event, reload: Reload
) -> None:
    """Let the loop run in a thread of its own, and write its answers here: a slow reader must not hold it up."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run.loop.run(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="mosear-loop", daemon=True)
    with _signals(stop, run, reload):
        thread.start()
        notify.ready()
        try:
            while thread.is_alive() or not answers.empty():
                emotion = answers.get(_PATIENCE_S)
                if emotion is not None:
                    write(emotion)
        finally:
            stop.set()
            thread.join()
    if answers.dropped:
        print(f"{answers.dropped} answers were not written: their reader was too slow", file=sys.stderr)
    if failed:
        raise failed[0]


@contextmanager
def _signals(stop: threading.Event, run: LiveRun, reload: Reload) -> Iterator[None]:
    """SIGTERM ends the loop in good order; SIGUSR1 asks for the model's reason with the next window."""

    def end(number: int, frame: FrameType | None) -> None:
        notify.stopping()
        # Also when it is about to begin anew: somebody wants the end.
        reload.requested.clear()
        stop.set()

    def ask(number: int, frame: FrameType | None) -> None:
        run.loop.ask_reason()

    wanted = {"SIGTERM": end, "SIGUSR1": ask}
    before = {
        name: signal.signal(getattr(signal, name), handler) for name, handler in wanted.items() if hasattr(signal, name)
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
