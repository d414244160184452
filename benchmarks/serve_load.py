"""`mosear serve` with 200 clients at once: what it answers them, how long they wait, and what is left when it ends.

    python benchmarks/serve_load.py BUNDLE [--clients 200] [--seconds 30]

Of ten clients, six post the example clips one after another, two post what is no clip, one asks for an answer every
half second and reads it slowly, and one follows the events for a moment and leaves. Each honours Retry-After, with
jitter. What is expected of each kind is in `EXPECTED`; anything else is listed under what went wrong. Clients share the
machine with the server, so latencies hold their work, too. Afterwards: how soon a lone client is answered, then SIGTERM
while clips are under way, and what is left of processes and files.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import httpx
import psutil
import typer
from live_watch import CLIPS
from soak import percentiles, read, served

CLIP = CLIPS[0].read_bytes()
BROKEN: list[tuple[str, bytes, dict[str, str], int]] = [
    ("noise", random.Random(1).randbytes(40_000), {}, 415),
    ("cut short", CLIP[: len(CLIP) // 2], {}, 415),
    ("empty", b"", {}, 415),
    ("text", b"#EXTM3U\nfile:///etc/passwd\n" * 40, {}, 415),
    ("bad window", CLIP, {"window": "99"}, 400),
]
"""What it is called, the body, the query, and the status that docs/serve.md has for it."""

AWAY = {429}
EXPECTED = {"clip": {200}, "slow reader": {200}, "events": {200, 101}, **{f"broken: {b[0]}": {b[3]} for b in BROKEN}}


@dataclass
class Seen:
    """What the clients saw."""

    url: str
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    latency: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    is_stopping: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, kind: str, status: int | str) -> None:
        """One answer, or how there was none."""
        self.counts[kind, str(status)] += 1
        allowed = EXPECTED[kind] | AWAY
        if status not in allowed and not self.is_stopping:
            self.wrong[f"{kind}: {status}"] += 1

    async def pause(self, response: httpx.Response) -> None:
        """Wait as the server asked, and up to as long again."""
        if response.status_code in (429, 503):
            seconds = float(response.headers["Retry-After"])
            self.waits.append(seconds)
            await asyncio.wait([asyncio.ensure_future(self.over.wait())], timeout=seconds * random.uniform(1, 2))


async def clip(seen: Seen, http: httpx.AsyncClient) -> None:
    """A whole clip."""
    began = perf_counter()
    response = await http.post("/v1/emotion", content=random.choice(CLIPS).read_bytes())
    seen.note("clip", response.status_code)
    if response.status_code == 200:
        assert response.json()["emotions"]
        seen.latency.append((perf_counter() - began) * 1000)
    await seen.pause(response)


async def broken(seen: Seen, http: httpx.AsyncClient) -> None:
    """No clip."""
    name, body, query, _ = random.choice(BROKEN)
    response = await http.post("/v1/emotion", content=body, params=query)
    seen.note(f"broken: {name}", response.status_code)
    await seen.pause(response)
    if response.status_code != 429:
        assert set(response.json()["error"]) == {"what", "fix"}
        await asyncio.sleep(0.05)


async def slow_reader(seen: Seen, http: httpx.AsyncClient) -> None:
    """Six answers, a fifth of a second apart."""
    headers = {"Accept": "application/x-ndjson"}
    request = http.build_request("POST", "/v1/emotion?window=1&hop=0.5", content=CLIP, headers=headers)
    response = await http.send(request, stream=True)
    try:
        seen.note("slow reader", response.status_code)
        async for _ in response.aiter_lines():
            await asyncio.sleep(0.2)
    finally:
        await response.aclose()
    await seen.pause(response)


async def events(seen: Seen, http: httpx.AsyncClient) -> None:
    """A moment of the events, as server-sent ones or as a WebSocket."""
    if random.random() < 0.5:
        async with http.stream("GET", "/v1/events") as response:
            seen.note("events", response.status_code)
            lines = response.aiter_lines()
            if response.status_code == 200:
                await anext(lines)
                await asyncio.sleep(random.uniform(0.0, 1.0))
        await seen.pause(response)
        return
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    try:
        async with connect(f"ws{seen.url[4:]}/v1/events", open_timeout=60) as connection:
            seen.note("events", 101)
            await connection.recv()
            await asyncio.sleep(random.uniform(0.0, 1.0))
    except InvalidStatus as error:
        seen.note("events", error.response.status_code)
        await asyncio.sleep(float(error.response.headers.get("Retry-After", 1)))


KINDS: list[tuple[str, Callable[[Seen, httpx.AsyncClient], Awaitable[None]]]] = [
    *[("clip", clip)] * 6,
    *[("broken: noise", broken)] * 2,
    ("slow reader", slow_reader),
    ("events", events),
]


async def client(seen: Seen, number: int) -> None:
    """One client, until it is over."""
    name, act = KINDS[number % len(KINDS)]
    async with httpx.AsyncClient(base_url=seen.url, timeout=120, trust_env=False) as http:
        while not seen.over.is_set():
            try:
                await act(seen, http)
            except Exception as error:
                seen.note(name, type(error).__name__)
                if seen.is_stopping:
                    return
                await asyncio.sleep(0.2)


async def crowd(seen: Seen, count: int, seconds: float, look: Callable[[], Awaitable[None]]) -> float:
    """``count`` clients for so long, ``look`` meanwhile; how long it took until the last was done."""
    began = perf_counter()
    clients = [asyncio.create_task(client(seen, number)) for number in range(count)]
    while perf_counter() - began < seconds:
        await look()
        await asyncio.sleep(0.5)
    seen.over.set()
    await asyncio.gather(*clients)
    return perf_counter() - began


def tell(seen: Seen) -> None:
    """Counts by kind and status."""
    for (kind, status), count in sorted(seen.counts.items()):
        print(f"  {kind:20} {status:>20} {count:8}")


async def alone(url: str) -> tuple[list[float], int]:
    """Milliseconds of five clips of a lone client, and the status of the health check."""
    took = []
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        for each in CLIPS[:5]:
            began = perf_counter()
            (await http.post("/v1/emotion", content=each.read_bytes())).raise_for_status()
            took.append((perf_counter() - began) * 1000)
        return took, (await http.get("/v2/health/ready")).status_code


async def stopped(process: Any, url: str, children: list[psutil.Process], folder: Path) -> None:
    """SIGTERM with twenty clients under way."""
    seen = Seen(url)
    signalled = 0.0

    async def look() -> None:
        nonlocal signalled
        if not signalled and seen.latency:
            seen.is_stopping, signalled = True, perf_counter()
            process.terminate()

    await crowd(seen, 20, 5.0, look)
    code = await asyncio.to_thread(process.wait, 60)
    print(f"SIGTERM with 20 clients: code {code}, {perf_counter() - signalled:.1f} s later all was over; they saw")
    tell(seen)
    _, alive = psutil.wait_procs(children, timeout=5)
    left = [each.name for each in folder.iterdir()]
    print(f"left: {len(alive)} of {len(children)} child processes, {len(left)} temporary files {left or ''}")


async def load(process: Any, url: str, clients: int, seconds: float, folder: Path) -> None:
    """All of it, with a server that is up."""
    lone, _ = await alone(url)
    before = read(process.pid)
    seen = Seen(url)
    depths: list[float] = []
    readings = [before]

    async def look() -> None:
        readings.append(read(process.pid))
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
            found = re.search(r"^mosear_queue_depth (\S+)", (await http.get("/metrics")).text, re.M)
            depths.append(float(found[1]) if found else -1)

    cpu, busy = psutil.Process(process.pid).cpu_times(), os.getloadavg()[0]
    took = await crowd(seen, clients, seconds, look)
    after_cpu = psutil.Process(process.pid).cpu_times()
    share = (after_cpu.user + after_cpu.system - cpu.user - cpu.system) / took
    print(f"{clients} clients for {took:.1f} s; load of the machine {busy:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(f"the server's own process took {share:.0%} of one core, {os.cpu_count()} cores in all")
    tell(seen)
    print(f"clips answered: {len(seen.latency)} ({len(seen.latency) / took:.1f} a second)")
    print(f"  latency in ms: {percentiles(seen.latency)}")
    print(f"queue depth: mean {sum(depths) / len(depths):.1f}, largest {max(depths):.0f}, last {depths[-1]:.0f}")
    print(f"Retry-After in s: {percentiles(seen.waits)}")
    print(f"what went wrong: {dict(seen.wrong) or 'nothing'}")
    await asyncio.sleep(2)
    again, health = await alone(url)
    print(f"a lone client, ms: before {percentiles(lone)}; after {percentiles(again)}; health {health}")
    after = read(process.pid)
    for name, each in (("before", before), ("largest", max(readings, key=lambda r: r.rss)), ("after", after)):
        print(
            f"  {name:8} Rss {each.rss:7.1f} MB with {each.children} children, of no file {each.anonymous:7.1f}, "
            f"descriptors {each.descriptors}, threads {each.threads}"
        )
    await stopped(process, url, psutil.Process(process.pid).children(recursive=True), folder)


def main(
    bundle: Annotated[Path, typer.Argument()],
    clients: Annotated[int, typer.Option()] = 200,
    seconds: Annotated[float, typer.Option()] = 30.0,
) -> None:
    """Measure and print; ends with 1 when something went wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "temporary"
        folder.mkdir()
        os.environ["TMPDIR"] = str(folder)
        errors = Path(name) / "errors"
        with served(bundle, errors) as (process, url):
            asyncio.run(load(process, url, clients, seconds, folder))
        said = errors.read_text()
        print(f"its log: {said.count(chr(10))} lines, {said.count('Traceback')} traces, {said.count(' ERROR ')} errors")
        for line in [line for line in said.splitlines() if " ERROR " in line or "Traceback" in line][:5]:
            print("  ", line)
    sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
