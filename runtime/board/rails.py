"""Power rails: which sensors of power there are, and which of them stand for the whole.

INA3221 and INA238 chips are under ``/sys/class/hwmon`` (Linux: Documentation/hwmon/ina3221.rst and ina238.rst), Intel's
and AMD's energy counters under ``/sys/class/powercap`` (Documentation/power/powercap/powercap.rst).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from mosear.runtime.board.machine import Machine

GPU = "gpu0"
"""The rail of an NVIDIA card, which has no file: nvidia-smi says it."""

_INPUTS = {
    "VDD_IN": "input of the module",
    "POM_5V_IN": "input of the module",
    "5V_IN": "input of the module",
    "VIN": "input of the whole kit, carrier board included",
}
"""Rails that everything else hangs on: Orin Nano and NX, Nano and Xavier NX, and Thor's INA238."""

_SUMS: tuple[tuple[str, ...], ...] = (
    # AGX Orin: the memory's rail, VDDQ_VDD2_1V8AO, is fed by VIN_SYS_5V0 and would count twice.
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Where no rail is the input: AGX Orin, Thor without the INA238, AGX Xavier."""

_POWERCAP = "/sys/class/powercap"


class Kind(Enum):
    """What a rail's files hold."""

    volts_amps = "mV and mA"
    microwatts = "µW"
    counter = "µJ, counted up"


@dataclass(frozen=True)
class Rail:
    """One sensor of power.

    Attributes:
        name: its label, as ``VDD_IN``.
        source: what measures it, as ``INA3221``.
        kind: what its files hold.
        files: one path, or two with millivolts first.
        wraps_at: of a counter, the value after which it begins anew at 0.
    """

    name: str
    source: str
    kind: Kind
    files: tuple[str, ...]
    wraps_at: int | None = None


@dataclass(frozen=True)
class Total:
    """What stands for the whole.

    Attributes:
        rails: one, or those whose sum it is.
        covers: what that is the power of.
    """

    rails: tuple[str, ...]
    covers: str

    @property
    def name(self) -> str:
        """As ``VDD_IN`` or ``VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0``."""
        return " + ".join(self.rails)


@dataclass(frozen=True)
class Rails:
    """All of them.

    Attributes:
        found: those with files, as the system lists them.
        has_gpu: whether nvidia-smi tells the power of a card besides them.
        notes: what is there and can't be used, a line each.
    """

    found: list[Rail]
    has_gpu: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def has_chips(self) -> bool:
        """Whether the board measures itself, as a Jetson does."""
        return any(rail.kind is not Kind.counter for rail in self.found)

    def total(self) -> Total | None:
        """The rail, or the sum, that stands for the whole module; None where none is known to.

        On a computer without such a rail, the processor's packages and memory and the card: not the rest of it.
        """
        names = [rail.name for rail in self.found]
        for name, covers in _INPUTS.items():
            if name in names:
                return Total((name,), covers)
        for modules in _SUMS:
            if all(name in names for name in modules):
                return Total(modules, "sum of the module's rails")
        counted = [rail.name for rail in self.found if rail.kind is Kind.counter]
        parts = tuple(name for name in counted if re.fullmatch(r"package-\d+( dram)?", name))
        if self.has_gpu:
            covers = "processor and graphics card" if parts else "the graphics card alone"
            return Total((*parts, GPU), f"{covers}, not the rest of the computer")
        return Total(parts, "the processor, not the rest of the computer") if parts else None

    def why_no_total(self) -> str:
        """In one line, for ``total`` that is None."""
        names = ", ".join(rail.name for rail in self.found)
        lines = [f"none of the rails is known to stand for the whole ({names})"] if names else []
        return "; ".join([*lines, *self.notes]) or "no sensor of power is shown here"


def find_rails(machine: Machine, has_gpu: bool = False) -> Rails:
    """Every rail that can be read now.

    has_gpu: whether nvidia-smi tells the power of a card. It is not asked on a board that measures itself: what it
        says on Thor is one of the board's rails.
    """
    rails = Rails([])
    for folder, chip, address in _chips(machine):
        channels = _channels if chip == "ina3221" else _single
        for rail in channels(machine, folder, chip, address):
            if any(machine.number(path) is None for path in rail.files):
                if rail.name and not rail.name.startswith(chip):
                    rails.notes.append(f"the rail {rail.name} is there and can't be read")
                continue
            same = any(each.name == rail.name for each in rails.found)
            rails.found.append(replace(rail, name=f"{rail.name} {address}") if same else rail)
    _add_counters(machine, rails)
    return replace(rails, has_gpu=has_gpu and not rails.has_chips)


def _chips(machine: Machine) -> list[tuple[str, str, str]]:
    """Folder, chip and address on the bus. The bus's drivers name the address, so they come first."""
    found: dict[str, tuple[str, str, str]] = {}
    for pattern in ("/sys/bus/i2c/drivers/ina*/*/hwmon/hwmon[0-9]*", "/sys/class/hwmon/hwmon[0-9]*"):
        for folder in machine.glob(pattern):
            parts = folder.split("/")
            by_driver = parts[-3] if len(parts) > 6 else ""
            chip = (machine.read(f"{folder}/name") or (parts[-4] if by_driver else "")).lower()
            if chip.startswith("ina"):
                # NVIDIA's older driver has an x behind the chip's name.
                found.setdefault(parts[-1], (folder, chip.removesuffix("x"), by_driver or parts[-1]))
    return list(found.values())


def _channels(machine: Machine, folder: str, chip: str, address: str) -> Iterator[Rail]:
    """The three inputs of an INA3221. What comes after them are shunt voltages and a sum."""
    for number in (1, 2, 3):
        label = machine.read(f"{folder}/in{number}_label") or machine.read(f"{folder}/curr{number}_label")
        if label == "NC" or machine.number(f"{folder}/in{number}_enable") == 0:
            continue
        files = (f"{folder}/in{number}_input", f"{folder}/curr{number}_input")
        yield Rail(label or f"{chip} {address} channel {number}", chip.upper(), Kind.volts_amps, files)


def _single(machine: Machine, folder: str, chip: str, address: str) -> Iterator[Rail]:
    """A chip with one input, as the INA238: it multiplies by itself."""
    names = (machine.read(f"{folder}/{name}") for name in ("label", "power1_label", "in1_label"))
    label = next((name for name in names if name), f"{chip} {address}")
    yield Rail(label, chip.upper(), Kind.microwatts, (f"{folder}/power1_input",))


def _add_counters(machine: Machine, rails: Rails) -> None:
    closed = False
    for folder in machine.glob(f"{_POWERCAP}/intel-rapl:*"):
        name, top = machine.read(f"{folder}/name"), ":".join(folder.split(":")[:2])
        if not name:
            continue
        if machine.number(f"{folder}/energy_uj") is None:
            closed = closed or machine.path(f"{folder}/energy_uj").exists()
            continue
        full = name if folder == top else f"{machine.read(f'{top}/name') or top.rpartition('/')[2]} {name}"
        wraps_at = machine.number(f"{folder}/max_energy_range_uj")
        rails.found.append(Rail(full, "RAPL", Kind.counter, (f"{folder}/energy_uj",), wraps_at))
    if closed:
        rails.notes.append(
            f"the processor's energy counters can't be read, as a rule only root may: "
            f"sudo chmod a+r {_POWERCAP}/intel-rapl:*/energy_uj"
        )
