"""``mosear watch``: camera and microphone → emotions, for as long as it is left running."""

import sys
import threading
from typing import Annotated

import typer

from mosear.runtime.appliance.memory import FreeMemory
from mosear.runtime.appliance.notify import Watchdog
from mosear.runtime.bundle import Bundle
from mosear.runtime.commands import choices
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
    bundle: choices.Bundle,
    form: Annotated[
        Format, typer.Option("--format", envvar="MOSEAR_FORMAT", help="How answers are written.")
    ] = Format.human,
    threads: choices.Threads = None,
    provider: choices.Where = None,
    dry_run: choices.DryRun = False,
    debug: choices.Debug = False,
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
        reload.close()
