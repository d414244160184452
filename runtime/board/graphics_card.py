"""An NVIDIA card as nvidia-smi sees it: once for its name and state, and as a stream while something is measured.

On a Jetson nvidia-smi is there too and answers every question of this kind with N/A: then there is no card here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from mosear.runtime.board.machine import Machine

_QUERIES = (
    # Since driver 535: the power of now, where power.draw is a mean over a second on most cards.
    ("power.draw.instant", "temperature.gpu", "clocks.sm", "clocks_event_reasons.active"),
    ("power.draw", "temperature.gpu", "clocks.sm", "clocks_throttle_reasons.active"),
)
_REASONS = {
    0x04: "power limit",
    0x08: "hardware",
    0x20: "heat, by software",
    0x40: "heat, by hardware",
    0x80: "power brake",
}
"""What slows a card down, of NVML's ``nvmlClocksEventReason*``; the other bits are idleness and chosen clocks."""

_ONCE_SECONDS = 15.0
_SHORTEST_MS = 20
_END_SECONDS = 1.0
_STALE_SECONDS = 1.0


@dataclass(frozen=True)
class CardState:
    """One line of nvidia-smi; None for what the card does not say.

    Attributes:
        power_w: watts.
        temperature_c: degrees Celsius.
        clock_mhz: of the multiprocessors.
        reasons: bits of what holds the clocks down.
    """

    power_w: float | None
    temperature_c: float | None
    clock_mhz: float | None
    reasons: int


@dataclass(frozen=True)
class Card:
    """The card that is asked.

    Attributes:
        name: as ``NVIDIA GeForce RTX 3060``.
        driver: version of the driver.
        which: what nvidia-smi knows it by.
        fields: what it answers to.
        state: of now.
    """

    name: str
    driver: str
    which: str
    fields: tuple[str, ...]
    state: CardState


def find_card(machine: Machine) -> Card | None:
    """The first card that CUDA may use; None without nvidia-smi, or where it tells neither power nor temperature."""
    which = _visible(machine)
    if which is None or machine.program("nvidia-smi") is None:
        return None
    for fields in _QUERIES:
        said = _once(machine, which, ("name", "driver_version", *fields))
        cells = [cell.strip() for cell in (said or "").split(",")]
        state = parse_line(",".join(cells[2:]))
        if state is not None and (state.power_w is not None or state.temperature_c is not None):
            return Card(cells[0], cells[1], which, fields, state)
    return None


def slowing_reasons(bits: int) -> list[str]:
    """Of ``CardState.reasons``, what slows the card down, in words."""
    return [word for bit, word in _REASONS.items() if bits & bit]


def parse_line(line: str) -> CardState | None:
    """A line of four values; None when it has another form."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(_QUERIES[0]):
        return None
    try:
        reasons = int(cells[3], 16)
    except ValueError:
        reasons = 0
    return CardState(_positive(cells[0]), _positive(cells[1]), _positive(cells[2]), reasons)


class CardStream:
    """nvidia-smi as a child that prints a line every interval, read by a thread.

    Args:
        machine: whose nvidia-smi it is.
        card: what is asked.
        interval_s: seconds between two lines.
    """

    def __init__(self, machine: Machine, card: Card, interval_s: float) -> None:
        self._command = [
            machine.program("nvidia-smi") or "nvidia-smi",
            f"--id={card.which}",
            f"--query-gpu={','.join(card.fields)}",
            "--format=csv,noheader,nounits",
            f"--loop-ms={max(round(interval_s * 1000), _SHORTEST_MS)}",
        ]
        self._environment = machine.child_environment
        self._stale_s = max(_STALE_SECONDS, 5 * interval_s)
        self._latest: tuple[float, CardState] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.reasons = 0
        self.trouble: str | None = None

    def start(self) -> None:
        """Start the child. One that can't be started or read is ``trouble``, and there are no values."""
        try:
            # In a session of its own: Ctrl-C is for this program, which ends the child itself.
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )
            thread = threading.Thread(target=self._listen, name="board-card", daemon=True)
            thread.start()
            self._thread = thread
        except (OSError, RuntimeError) as error:
            self.trouble = f"nvidia-smi can't be read ({error})"

    def latest(self) -> CardState | None:
        """The last line; None before the first, and when it is older than a second."""
        latest = self._latest
        return latest[1] if latest is not None and time.monotonic() - latest[0] < self._stale_s else None

    def stop(self) -> None:
        """End the child and whatever it started, and the thread."""
        self._stopping = True
        child = self._child
        if child is None:
            return
        # The whole group, lest something that the child started holds the pipe open. A number that was waited for may
        # be another program's by now.
        if child.returncode is None:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_END_SECONDS)
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
        if child.stdout is not None and (self._thread is None or not self._thread.is_alive()):
            child.stdout.close()

    def _listen(self) -> None:
        child = self._child
        if child is None or child.stdout is None:
            return
        for line in child.stdout:
            state = parse_line(line.decode(errors="replace"))
            if state is not None:
                self._latest = time.monotonic(), state
                self.reasons |= state.reasons
        if not self._stopping:
            self.trouble = f"nvidia-smi ended while it was read (exit status {child.wait()})"


def _visible(machine: Machine) -> str | None:
    """The first of CUDA_VISIBLE_DEVICES as nvidia-smi takes it, or None when that hides all cards."""
    chosen = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return "0"
    first = chosen.split(",")[0].strip()
    return first if first.isdecimal() or first.startswith("GPU-") else None


def _once(machine: Machine, which: str, fields: tuple[str, ...]) -> str | None:
    asked = (f"--id={which}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    said = machine.run("nvidia-smi", *asked, seconds=_ONCE_SECONDS)
    return said.splitlines()[0] if said else None


def _positive(text: str) -> float | None:
    """``45.32``; None for ``[N/A]`` and whatever else is no sensible number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 100_000 else None
