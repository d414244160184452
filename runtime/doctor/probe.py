"""The child of ``ask``: ``python -m mosear.runtime.doctor.probe NAME SECONDS``, the question as JSON on standard input.

Answers are JSON objects, a line each, on standard output; whatever a library prints there goes to standard error.
"""

import importlib
import json
import math
import os
import signal
import sys
from typing import Any, TextIO

from mosear.runtime.errors import MosearError, one_line

PROBES = {
    "packages": "try_packages",
    "onnxruntime": "try_inference",
    "provider": "try_inference",
    "gpu": "try_inference",
    "engine": "try_inference",
    "camera": "try_devices",
    "microphone": "try_devices",
    "answers": "try_bundle",
}
"""The modules, each of which has a generator with the probe's name that yields plain JSON objects."""

_GRACE_S = 5


def main(name: str, seconds: float) -> None:
    """Ask one probe."""
    # If whoever asked was killed, nobody is left to end this: a camera must not stay open behind a dead doctor.
    signal.alarm(math.ceil(seconds) + _GRACE_S)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        try:
            question = json.load(sys.stdin)
            module = importlib.import_module(f"mosear.runtime.doctor.{PROBES[name]}")
            for line in getattr(module, name)(question):
                _say(out, line)
        except MosearError as error:
            kind = type(error.__cause__ or error).__name__
            _say(
                out,
                {"error": one_line(error.what), "fix": one_line(error.remedy), "type": kind, "code": error.exit_code},
            )
        except Exception as error:  # whatever a library throws is what was asked for
            _say(out, {"error": one_line(f"{type(error).__name__}: {error}"), "type": type(error).__name__})
        # Libraries that crash while they are torn down have given their answer by now.
        out.flush()
        os._exit(0)


def _say(out: TextIO, line: dict[str, Any]) -> None:
    out.write(json.dumps(line) + "\n")
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
