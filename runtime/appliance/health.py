"""``python -m mosear.runtime.appliance.health``: whether a container is well, as an exit code.

With ``MOSEAR_HEARTBEAT`` set, the loop must have touched that file within a minute; else the server on this machine
must say that it is ready.
"""

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from mosear.runtime.appliance.notify import HEARTBEAT_VARIABLE

OLDEST_S = 60.0
_PATIENCE_S = 4.0
_DEFAULT_PORT = 8461


def problem(environment: Mapping[str, str] = os.environ) -> str | None:
    """What is wrong, in a line; None when nothing is."""
    heartbeat = environment.get(HEARTBEAT_VARIABLE)
    if heartbeat:
        return _heartbeat_problem(Path(heartbeat))
    return _server_problem(environment.get("MOSEAR_PORT") or str(_DEFAULT_PORT))


def _heartbeat_problem(path: Path) -> str | None:
    try:
        age = time.time() - path.stat().st_mtime
    except OSError as error:
        return f"no heartbeat: {error.strerror}"
    # A file from the future is no sign of life either: the clock was set back after the loop hung.
    return f"the last heartbeat is {age:.0f} s old" if abs(age) > OLDEST_S else None


def _server_problem(port: str) -> str | None:
    # No proxy: it is this very machine that is asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/v2/health/ready", timeout=_PATIENCE_S) as answer:
            return None if answer.status == 200 else f"the server answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"the server answers {error.code}"
    except (OSError, ValueError) as error:
        return f"the server can't be reached: {error}"


if __name__ == "__main__":
    wrong = problem()
    if wrong is not None:
        print(wrong, file=sys.stderr)
    sys.exit(0 if wrong is None else 1)
