"""What ``mosear watch`` and a live ``mosear serve`` do alike: a plan for people, and SIGHUP."""

import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from mosear.runtime.appliance.reload import Reload, own_command, rehearsal

DRY_RUN = "--dry-run"


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
