"""What ``mosear watch`` and a live ``mosear serve`` do alike: their options, a plan for people, and SIGHUP."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import typer

from mosear.runtime.appliance.reload import Reload, own_command, rehearsal
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.privacy.duration import parse_duration

DRY_RUN = "--dry-run"


def live_options_of(context: typer.Context) -> LiveOptions:
    """The live options that a command was given; its parameters have the names of the fields.

    Raises:
        UsageError: the time for which media are kept is none.
    """
    given = {field.name: context.params[field.name] for field in fields(LiveOptions)}
    keep_for = given["keep_for"]
    given["keep_for"] = None if keep_for is None else parse_duration(keep_for)
    given["sinks"] = list(given["sinks"] or ())
    return LiveOptions(**given)


def print_plan(plan: dict[str, Any]) -> None:
    """A plan on standard output, a line an entry."""
    sys.stdout.write(json.dumps(plan, indent=2, ensure_ascii=False) + "\n")


def reload_on_hangup(on_request: Callable[[], None]) -> Reload:
    """Begin anew on SIGHUP, once the same command with ``--dry-run`` found nothing wrong with its configuration.

    Args:
        on_request: called when it is to begin anew: end the work in good order.
    """
    command = own_command()
    reload = Reload(command, rehearsal([*command, DRY_RUN]), on_request)
    if hasattr(signal, "SIGHUP"):
        reload.install()
    return reload
