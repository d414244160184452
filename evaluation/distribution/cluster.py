"""Joins a Ray cluster that is there, and leaves it as it was."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mosear.runtime.errors import Failed, UsageError, one_line

LOCAL = "local"
_FORMS = "give auto, HOST:PORT, ray://HOST:PORT, or local for a cluster of this run's own"
_ANSWER_S = 10.0


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """The module ``ray``, connected to the cluster at ``address`` until the context ends.

    For a process that does nothing else: Ray takes over SIGTERM, prints to standard output, and ends the process when
    the cluster is lost.

    Args:
        address: ``auto`` (the cluster that this machine is a part of), ``HOST:PORT`` of a head node, from a machine
            of its cluster, ``ray://HOST:PORT`` from any other, or ``local``: a cluster of this machine, for this run.

    Raises:
        UsageError: the address is none of these.
        Failed: Ray is not installed, or there is no cluster, or one of another version of Ray or Python.
    """
    _check_answer(address)
    options: dict[str, Any] = {}
    if address == LOCAL:
        options["include_dashboard"] = False
        _be_private()
    ray = _ray()
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:
        fix = (
            "HOST:PORT works from a machine of the cluster, ray://HOST:10001 from any other; "
            "a cluster with a token needs RAY_AUTH_MODE=token here too"
        )
        raise Failed(f"can't join the Ray cluster at {address}: {_gist(error)}", fix) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def room(ray: Any, cpus: float, gpus: float) -> int:
    """How many workers the machines of the cluster have room for, whatever else runs there."""
    return sum(
        int(min(has.get("CPU", 0) // cpus, has.get("GPU", 0) // gpus if gpus else float("inf")))
        for node in ray.nodes()
        if node["Alive"]
        for has in [node["Resources"]]
    )


def _ray() -> Any:
    """Ray, which sends no usage statistics."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise Failed("Ray is not installed", "pip install 'mosear[ray]'") from error


def _be_private() -> None:
    """A token of its own for a cluster of its own; else Ray leaves one behind that it asks for from then on.

    Ray reads these variables when it is imported.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _gist(error: Exception) -> str:
    """The last line: before it there may be the trace of another process."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[-1], 300)


def _check_answer(address: str) -> None:
    """Refuse an address where nobody answers, over which Ray would wait for minutes and then end the process."""
    if address in (LOCAL, "auto"):
        return
    scheme, mark, rest = address.rpartition("://")
    try:
        host, port = urlsplit(f"//{rest}").hostname, urlsplit(f"//{rest}").port
    except ValueError:
        host = port = None
    if host is None or port is None or (mark and scheme != "ray"):
        raise UsageError(f"{address} is no address of a Ray cluster", _FORMS)
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except OSError as error:
        what = f"nobody answers at {address} ({error.strerror or error})"
        raise Failed(what, "start the cluster (ray start --head), or check the address") from error
