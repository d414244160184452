"""``mosear watch``: camera and microphone → emotions, for as long as it is left running."""

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from mosear.runtime.appliance.memory import FreeMemory
from mosear.runtime.appliance.notify import Watchdog
from mosear.runtime.bundle import Bundle
from mosear.runtime.commands.choices import Provider
from mosear.runtime.commands.live_command import print_plan, reload_on_hangup
from mosear.runtime.commands.live_options import takes_live_options
from mosear.runtime.commands.watching import Watching
from mosear.runtime.live.opening import open_live
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.live.plan import plan_live
from mosear.runtime.live.waiting import Waiting
from mosear.runtime.output import Format, live_writer
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.privacy.intended_use import check_live_use
from mosear.runtime.terminal import exits, log_to_standard_error

_WAITING = 64


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
        answers, watchdog, memory = Waiting(_WAITING), Watchdog(), FreeMemory()

        def tick() -> None:
            watchdog.tick()
            memory.tick()

        print(opened.manifest.notice, file=sys.stderr, flush=True)
        run = open_live(plan, opened.manifest.preprocessing, pipeline.analyse, answers.put, tick)
        try:
            Watching(run, answers, live_writer(form, pipeline.labels), stop, reload).until_ended()
        finally:
            run.close()
        if reload.requested.is_set():
            reload.go()
