"""Half an hour of `mosear watch` or `mosear serve` in a few minutes: does anything grow that should not?

    python benchmarks/soak.py BUNDLE [--minutes 30] [--speed 8] [--film FILE] [--no-sinks] [--serve] [-- OPTION…]

`watch` plays the example clips, joined and at a camera's size, in a loop at `--speed` times real time, with a hop of
1 s. The minutes are those of the film, and so are the windows, encoder calls and answers; what runs by the wall clock
(backoff, keep-alive) sees less of it. Answers go to standard output, a JSONL and a CSV file, and a WebSocket server
that is gone half of the time. `--serve` posts the clips, one after another, from two clients while a third follows the
events; its minutes are those of the clips, too. What follows `--` is handed to the command: `-- --no-vad --mic none`.

Memory is Rss of /proc/PID/smaps_rollup (Pss depends on who else has the same libraries open), and of that the part
that belongs to no file; at each point it is the median over a minute of the film. With `--trace` the command runs under
tracemalloc, much slower, and prints which lines hold more at the end than after the warm-up.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Annotated, Any

import psutil
import typer
from live_watch import CLIPS, camera_like

WARM_UP_S = 120.0
POINT_S = 60.0
OUTAGE_S = 3.0

_TRACED = """
import runpy, signal, sys, tracemalloc
tracemalloc.start(12)
before = []
def look(number, frame):
    now = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])
    if before:
        for each in now.compare_to(before[0], "traceback")[:12]:
            print(each, *each.traceback.format(), sep="\\n", file=sys.stderr, flush=True)
    before.append(now)
signal.signal(signal.SIGUSR2, look)
sys.argv = ["mosear", *sys.argv[1:]]
runpy.run_module("mosear.runtime.cli", run_name="__main__")
"""


@dataclass(frozen=True)
class Reading:
    """What a process and its children held when ``media`` seconds had been answered."""

    media: float
    rss: float
    anonymous: float
    descriptors: int
    threads: int
    children: int


def read(pid: int, media: float = 0.0) -> Reading:
    """A reading of now: MB of the process and its children together, the rest of the process alone."""
    process = psutil.Process(pid)
    children = process.children(recursive=True)
    rss = anonymous = 0
    for each in (process, *children):
        with contextlib.suppress(OSError, psutil.Error):
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()[1:]
            rows = dict(line.split()[:2] for line in lines)
            rss, anonymous = rss + int(rows["Rss:"]), anonymous + int(rows["Anonymous:"])
    return Reading(media, rss / 1e3, anonymous / 1e3, process.num_fds(), process.num_threads(), len(children))


def command(*arguments: object, traced: bool = False) -> list[str]:
    """`mosear` in the interpreter of this script."""
    head = [sys.executable, "-c", _TRACED] if traced else [sys.executable, "-m", "mosear.runtime.cli"]
    return [*head, *map(str, arguments)]


def percentiles(values: list[float]) -> str:
    """p50, p90, p99 and the largest, in the values' unit."""
    rising = sorted(values)
    named = [f"p{share} {rising[min(len(rising) - 1, len(rising) * share // 100)]:.0f}" for share in (50, 90, 95, 99)]
    return ", ".join([*named, f"max {rising[-1]:.0f}"]) if rising else "none"


def table(readings: list[Reading], warm: float, end: float) -> None:
    """Print five points after the warm-up, and how much was added over all and since the middle."""
    first, last = warm + POINT_S / 2, end - POINT_S / 2
    fields = ("media", "rss", "anonymous", "descriptors", "threads", "children")
    points = []
    print(f"{'':8}{'minute':>8}{'Rss MB':>10}{'of no file':>12}{'descriptors':>13}{'threads':>9}{'children':>10}")
    for place, name in enumerate(("start", "", "middle", "", "end")):
        middle = first + place / 4 * (last - first)
        near = [each for each in readings if abs(each.media - middle) <= POINT_S / 2]
        near = near or [min(readings, key=lambda each: abs(each.media - middle))]
        at = {key: statistics.median(getattr(each, key) for each in near) for key in fields}
        points.append(at)
        print(
            f"{name:8}{at['media'] / 60:8.1f}{at['rss']:10.1f}{at['anonymous']:12.1f}"
            f"{at['descriptors']:13.0f}{at['threads']:9.0f}{at['children']:10.0f}"
        )
    for since, place in (("start", 0), ("middle", 2)):
        grown = points[4]["rss"] / points[place]["rss"] - 1
        of_no_file = points[4]["anonymous"] / points[place]["anonymous"] - 1
        print(f"growth from {since} to end: Rss {grown:+.2%}, of no file {of_no_file:+.2%}", end="; ")
    print(f"largest Rss {max(each.rss for each in readings):.1f} MB")


class ComesAndGoes:
    """A WebSocket server that is there for ``OUTAGE_S`` seconds and gone for as many; keeps which answers it got."""

    def __init__(self) -> None:
        self.sequences: set[int] = set()
        self.outages = self.port = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._begun = threading.Event()
        self._thread.start()
        self._begun.wait(10)

    def _run(self) -> None:
        from websockets.sync.server import serve

        while not self._over.is_set():
            with serve(self._take, "127.0.0.1", self.port) as server:
                self.port = server.socket.getsockname()[1]
                thread = threading.Thread(target=server.serve_forever, daemon=True)
                thread.start()
                self._begun.set()
                self._gone = threading.Event()
                self._over.wait(OUTAGE_S)
                self._gone.set()
                server.shutdown()
            thread.join()
            self.outages += 1
            self._over.wait(OUTAGE_S)

    def _take(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        gone = self._gone
        while not gone.is_set():
            try:
                self.sequences.add(json.loads(connection.recv(timeout=0.2))["live"]["sequence"])
            except TimeoutError:
                continue
            except ConnectionClosed:
                return

    def close(self) -> None:
        """Stop for good."""
        self._over.set()
        self._thread.join(10)


@dataclass
class Answers:
    """What `watch` wrote on standard output, read by a thread."""

    latency: list[float] = field(default_factory=list)
    dropped: int = 0
    media: float = 0.0

    def follow(self, stream: Any) -> None:
        """Read lines to the end."""
        for line in stream:
            answer = json.loads(line)
            self.latency.append(answer["live"]["latency_ms"])
            self.dropped += answer["live"]["dropped"]
            self.media = answer["end"]


def soak(pid: int, media: Callable[[], float], minutes: float, alive: Callable[[], bool]) -> tuple[list[Reading], str]:
    """Readings until ``minutes`` of media were answered, and how busy the machine was. SIGUSR2 at both ends."""
    process = psutil.Process(pid)
    readings: list[Reading] = []
    load, began, used = os.getloadavg()[0], perf_counter(), process.cpu_times()
    is_warm = False
    while alive() and media() < minutes * 60:
        readings.append(read(pid, media()))
        if not is_warm and media() >= WARM_UP_S:
            is_warm = True
            if "-c" in process.cmdline():
                process.send_signal(signal.SIGUSR2)
        sleep(0.25)
    if not alive():
        raise SystemExit("the command ended early")
    took, after = perf_counter() - began, process.cpu_times()
    if "-c" in process.cmdline():
        process.send_signal(signal.SIGUSR2)
        sleep(5)
    share = (after.user + after.system - used.user - used.system) / took
    busy = (
        f"{took:.0f} s, CPU {share:.0%} of one core; load of the machine {load:.1f} at first, {os.getloadavg()[0]:.1f}"
    )
    return readings, f"{busy} at last, {os.cpu_count()} cores"


def ended(process: subprocess.Popen[Any], errors: Path) -> None:
    """SIGTERM, and how it took that."""
    began = perf_counter()
    process.terminate()
    code = process.wait(60)
    said = errors.read_text()
    trace = "a trace" if "Traceback" in said else "no trace"
    print(f"SIGTERM: code {code} after {perf_counter() - began:.1f} s; {trace}")
    for line in said.splitlines():
        if "  File" in line or ": size=" in line or "rror" in line:
            print(line)


def watch(
    bundle: Path, minutes: float, speed: float, shown: Path | None, sinks: bool, extra: list[str], traced: bool
) -> None:
    """Soak `mosear watch`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film, lines, rows, errors = (folder / each for each in ("film.mp4", "a.jsonl", "a.csv", "errors"))
        if shown is None:
            camera_like(film, (640, 480), 30)
        else:
            film = shown
        server = ComesAndGoes() if sinks else None
        places = [f"jsonl:{lines}", f"csv:{rows}", f"ws://127.0.0.1:{server.port}/"] if server else []
        options = ["--loop", "--hop", "1", "--speed", speed, "--format", "jsonl"]
        options += [part for place in places for part in ("--sink", place)] + extra
        answers = Answers()
        with errors.open("w") as log:
            process = subprocess.Popen(
                command("watch", bundle, "--camera", film, *options, traced=traced), stdout=subprocess.PIPE, stderr=log
            )
            reader = threading.Thread(target=answers.follow, args=(process.stdout,))
            reader.start()
            try:
                readings, busy = soak(process.pid, lambda: answers.media, minutes, lambda: process.poll() is None)
                print(f"watch, {answers.media / 60:.1f} minutes of film at {speed:g} times its speed, hop 1 s: {busy}")
                table(readings, WARM_UP_S, answers.media)
                ended(process, errors)
            finally:
                process.kill()
                reader.join()
        print(f"answers {len(answers.latency)}, dropped windows {answers.dropped}")
        print(f"latency in ms: {percentiles(answers.latency)}")
        if server is not None:
            server.close()
            with rows.open(newline="") as table_file:
                kept = len(lines.read_text().splitlines()), len(list(csv.DictReader(table_file)))
            got = f"WebSocket {len(server.sequences)} ({server.outages} outages)"
            print(f"answers in the sinks: JSONL {kept[0]}, CSV {kept[1]}, {got}")


@contextlib.contextmanager
def served(bundle: Path, errors: Path, *options: object, traced: bool = False) -> Iterator[tuple[Any, str]]:
    """`mosear serve` on a free port of loopback: process and address."""
    with errors.open("w") as log:
        process = subprocess.Popen(command("serve", bundle, "--port", 0, *options, traced=traced), stderr=log)
        try:
            deadline = perf_counter() + 60
            while "listening on" not in errors.read_text():
                if process.poll() is not None or perf_counter() > deadline:
                    raise SystemExit(errors.read_text())
                sleep(0.05)
            yield process, errors.read_text().partition("listening on ")[2].split()[0]
        finally:
            process.kill()


def serve(bundle: Path, minutes: float, extra: list[str], traced: bool) -> None:
    """Soak `mosear serve`."""
    latency: list[float] = []
    refused: list[int] = []
    events: list[str] = []
    over = threading.Event()
    clips = [clip.read_bytes() for clip in CLIPS]

    def post(url: str) -> None:
        while not over.is_set():
            request = urllib.request.Request(f"{url}/v1/emotion", data=random.choice(clips), method="POST")
            began = perf_counter()
            try:
                urllib.request.urlopen(request, timeout=60).read()
                latency.append((perf_counter() - began) * 1000)
            except urllib.error.HTTPError as error:
                refused.append(error.code)
                over.wait(float(error.headers.get("Retry-After", 1)))

    def follow(url: str) -> None:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        with contextlib.suppress(WebSocketException, OSError), connect(f"ws{url[4:]}/v1/events") as connection:
            events.extend(json.loads(message)["type"] for message in connection)

    with tempfile.TemporaryDirectory() as name:
        errors = Path(name) / "errors"
        with served(bundle, errors, *extra, traced=traced) as (process, url):
            threads = [threading.Thread(target=post, args=(url,), daemon=True) for _ in range(2)]
            threads.append(threading.Thread(target=follow, args=(url,), daemon=True))
            for each in threads:
                each.start()
            readings, busy = soak(process.pid, lambda: 3.0 * len(latency), minutes, lambda: process.poll() is None)
            over.set()
            print(f"serve, {minutes:g} minutes of clips from 2 clients: {busy}")
            table(readings, WARM_UP_S, 3.0 * len(latency))
            for each in threads[:2]:
                each.join(60)
            ended(process, errors)
    print(f"answers {len(latency)}, refused {len(refused)}, events {len(events)}")
    print(f"latency in ms: {percentiles(latency)}")


def main(
    bundle: Annotated[Path, typer.Argument()],
    extra: Annotated[list[str] | None, typer.Argument(help="further options of the command, after --")] = None,
    minutes: Annotated[float, typer.Option(help="of media; the first two are the warm-up")] = 30.0,
    speed: Annotated[float, typer.Option(help="of the film")] = 8.0,
    film: Annotated[Path | None, typer.Option(help="in the place of the joined clips")] = None,
    sinks: Annotated[bool, typer.Option(help="two files, and a server that comes and goes")] = True,
    of_server: Annotated[bool, typer.Option("--serve", help="mosear serve in the place of watch")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="run under tracemalloc")] = False,
) -> None:
    """Measure and print."""
    if of_server:
        serve(bundle, minutes, extra or [], trace)
    else:
        watch(bundle, minutes, speed, film, sinks, extra or [], trace)


if __name__ == "__main__":
    typer.run(main)
