"""A Jetson: its L4T, its JetPack, its power mode."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.packages import package_version
from mosear.runtime.engines.library import numbers

JETPACKS = {"36.4.0": "6.1", "36.4": "6.2", "39.2": "7.2"}
"""JetPack by the release of L4T; the longer name counts. JetPack 6.2 and 7.2 are those that mosear builds for."""


@dataclass(frozen=True)
class PowerMode:
    """What the module may take.

    Attributes:
        name: as ``15W`` or ``MAXN_SUPER``.
        number: by which ``nvpmodel -m`` knows it, or None where nothing says.
        largest: the number of the mode without a limit, or None where the board has none or nothing says.
    """

    name: str
    number: int | None
    largest: int | None

    @property
    def is_largest(self) -> bool:
        """Whether nothing holds the module back but heat and its supply."""
        return self.name.startswith("MAXN")


def l4t_release(machine: Machine) -> str | None:
    """As ``36.4.3``, from ``# R36 (release), REVISION: 4.3, …``."""
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", machine.read("/etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else None


def jetpack_version(machine: Machine, release: str | None) -> str | None:
    """As ``6.2`` or ``6.2.1``: what the package says, else by the release of L4T."""
    package = package_version(machine, "nvidia-jetpack")
    if package is not None:
        return ".".join(map(str, numbers(re.split(r"[+~-]", package)[0]))) or None
    matching = [each for each in JETPACKS if f"{release}.".startswith(f"{each}.")]
    return JETPACKS[max(matching, key=len)] if matching else None


def power_mode(machine: Machine) -> PowerMode | None:
    """What ``nvpmodel -q`` says, else its state file, which needs no program; None when neither does."""
    names = {
        int(number): name
        for number, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", machine.read("/etc/nvpmodel.conf") or "")
    }
    # Where the largest mode has its number differs from board to board: 0 on most, 2 on Orin Nano Super.
    largest = next((number for number, name in names.items() if name.startswith("MAXN")), None)
    said = machine.run("nvpmodel", "-q") or ""
    mode = re.search(r"Power Mode: *(\S+)", said)
    if mode is not None:
        last = re.search(r"^\s*(\d+)\s*$", said, re.MULTILINE)
        return PowerMode(mode[1], int(last[1]) if last else None, largest)
    state = re.search(r"pmode:(\d+)", machine.read("/var/lib/nvpmodel/status") or "")
    if state is None:
        return None
    number = int(state[1])
    return PowerMode(names.get(number, f"mode {number}"), number, largest)
