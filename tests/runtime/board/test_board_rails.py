"""Which rails a board has, and which of them stand for the whole."""

from __future__ import annotations

from collections.abc import Callable

import board_trees as trees
import pytest

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.rails import Kind, find_rails

Trees = Callable[..., Machine]
I2C, HWMON, RAPL = trees.I2C, trees.HWMON, trees.RAPL


def _names(machine: Machine) -> set[str]:
    return {rail.name for rail in find_rails(machine).found}


@pytest.mark.parametrize(("model", "hwmon"), [("Orin Nano", 1), ("Orin NX", 4), ("Orin NX", 12)])
def test_the_input_of_orin_nano_and_nx(tree: Trees, model: str, hwmon: int) -> None:
    rails = find_rails(tree(trees.orin_small(model, hwmon)))
    # Neither the sum of shunt voltages nor what a USB supply has agreed to is a rail.
    assert {rail.name for rail in rails.found} == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}
    total = rails.total()
    assert total is not None
    assert (total.name, total.covers) == ("VDD_IN", "input of the module")
    assert rails.notes == []


def test_agx_orin_has_no_input_and_counts_its_memory_once(tree: Trees) -> None:
    rails = find_rails(tree(*trees.agx_orin()))
    assert {rail.name for rail in rails.found} == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    total = rails.total()
    assert total is not None
    assert total.rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")


def test_thor_has_an_input_on_its_carrier(tree: Trees) -> None:
    files, programs = trees.thor()
    rails = find_rails(tree(files, programs), has_gpu=True)
    assert {rail.name for rail in rails.found} == {"VIN", "VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"}
    assert next(rail for rail in rails.found if rail.name == "VIN").kind is Kind.microwatts
    total = rails.total()
    assert total is not None
    assert (total.name, "carrier board included" in total.covers) == ("VIN", True)
    assert not rails.has_gpu  # nvidia-smi there tells one of these rails


def test_thor_without_the_input_is_a_sum(tree: Trees) -> None:
    files = {path: text for path, text in trees.thor()[0].items() if "ina238" not in path}
    total = find_rails(tree(files)).total()
    assert total is not None
    assert total.rails == ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")


def test_a_desktop_is_its_processor_memory_and_card(tree: Trees) -> None:
    files, programs = trees.desktop()
    machine = tree(files, programs)
    rails = find_rails(machine, has_gpu=True)
    # What another path shows of the same counter is not found again, and other chips' voltages are no power.
    assert sorted(rail.name for rail in rails.found) == [
        "package-0",
        "package-0 core",
        "package-0 dram",
        "package-0 uncore",
        "psys",
    ]
    total = rails.total()
    assert total is not None
    # Core and uncore are parts of the package.
    assert total.name == "package-0 + package-0 dram + gpu0"
    alone = find_rails(machine).total()
    assert alone is not None
    assert alone.rails == ("package-0", "package-0 dram")


def test_two_sockets_are_both_counted(tree: Trees) -> None:
    files = {}
    for number, name in (("0", "package-0"), ("0:0", "core"), ("1", "package-1"), ("1:0", "core")):
        files |= {f"{RAPL}/intel-rapl:{number}/name": name, f"{RAPL}/intel-rapl:{number}/energy_uj": "1"}
    rails = find_rails(tree(files))
    assert {rail.name for rail in rails.found} == {"package-0", "package-0 core", "package-1", "package-1 core"}
    total = rails.total()
    assert total is not None
    assert total.rails == ("package-0", "package-1")


def test_counters_that_only_root_may_read(tree: Trees) -> None:
    files, programs = trees.desktop()
    machine = tree({path: text for path, text in files.items() if not path.endswith("energy_uj")}, programs)
    for number in ("0", "0:0"):
        machine.path(f"{RAPL}/intel-rapl:{number}/energy_uj").mkdir()  # can't be read, whoever asks
    rails = find_rails(machine)
    assert rails.total() is None
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in rails.why_no_total()
    assert len(rails.notes) == 1
    with_card = find_rails(machine, has_gpu=True).total()
    assert with_card is not None
    assert (with_card.name, with_card.covers) == ("gpu0", "the graphics card alone, not the rest of the computer")


def test_boards_without_sensors_say_so(tree: Trees) -> None:
    for files in (trees.raspberry_pi(), trees.container()):
        rails = find_rails(tree(files))
        assert (rails.found, rails.total(), rails.why_no_total()) == ([], None, "no sensor of power is shown here")


FOLDER = f"{I2C}/ina3221/1-0040/hwmon/hwmon5"


def test_a_rail_of_the_sum_that_is_missing_leaves_none(tree: Trees) -> None:
    files = {path: text for path, text in trees.agx_orin()[0].items() if not path.endswith("hwmon3/curr2_input")}
    rails = find_rails(tree(files))
    assert rails.total() is None
    assert rails.notes == ["the rail VDD_CPU_CV is there and can't be read"]
    assert "VDD_GPU_SOC" in rails.why_no_total()
    assert rails.why_no_total().endswith("the rail VDD_CPU_CV is there and can't be read")


def test_channels_without_labels_are_kept_by_their_address(tree: Trees) -> None:
    channels = {1: (None, 5000, 100), 2: ("", 5000, 100), 3: ("VDD_X", 5000, 100)}
    rails = find_rails(tree(trees.ina3221(FOLDER, channels)))
    assert {rail.name for rail in rails.found} == {"ina3221 1-0040 channel 1", "ina3221 1-0040 channel 2", "VDD_X"}
    assert "none of the rails is known to stand for the whole" in rails.why_no_total()


def test_labels_of_currents_stand_in_for_those_of_voltages(tree: Trees) -> None:
    files = {**trees.ina3221(FOLDER, {1: (None, 5000, 100)}), f"{FOLDER}/curr1_label": "VDD_IN\n"}
    assert _names(tree(files)) == {"VDD_IN"}


def test_channels_that_are_off_or_do_not_answer(tree: Trees) -> None:
    files = trees.ina3221(FOLDER, {1: ("VDD_A", 5000, 100), 2: ("VDD_B", 5000, 100), 3: (None, 5000, 100)})
    files |= {f"{FOLDER}/in1_enable": "0", f"{FOLDER}/in2_input": "", f"{FOLDER}/curr3_input": "No data"}
    rails = find_rails(tree(files))
    assert rails.found == []
    assert rails.notes == ["the rail VDD_B is there and can't be read"]


def test_two_chips_with_the_same_label(tree: Trees) -> None:
    files = trees.ina3221(FOLDER, {1: ("VDD", 5000, 100)})
    files |= trees.ina3221(f"{I2C}/ina3221/1-0041/hwmon/hwmon6", {1: ("VDD", 5000, 100)})
    assert _names(tree(files)) == {"VDD", "VDD 1-0041"}


def test_the_name_of_nvidias_older_driver(tree: Trees) -> None:
    folder = f"{I2C}/ina3221x/1-0040/hwmon/hwmon2"
    files = trees.ina3221(folder, {1: ("VDD_IN", 5000, 100)})
    del files[f"{folder}/name"]
    assert _names(tree(files)) == {"VDD_IN"}


def test_links_as_the_kernel_lays_them(tree: Trees) -> None:
    """The chip is a device on its bus; its driver and its class are links to it, and it is found once."""
    device = "/sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040"
    machine = tree(trees.ina3221(f"{device}/hwmon/hwmon5", {1: (None, 5000, 100), 2: ("VDD_IN", 5000, 100)}))
    for link, target in (
        (f"{I2C}/ina3221/1-0040", device),
        (f"{HWMON}/hwmon5", f"{device}/hwmon/hwmon5"),
        (f"{device}/hwmon/hwmon5/device", device),
    ):
        machine.path(link).parent.mkdir(parents=True, exist_ok=True)
        machine.path(link).symlink_to(machine.path(target))
    assert _names(machine) == {"ina3221 1-0040 channel 1", "VDD_IN"}


def test_a_chip_that_only_its_class_shows(tree: Trees) -> None:
    folder = f"{HWMON}/hwmon9"
    files = {f"{folder}/name": "ina226\n", f"{folder}/power1_input": "1500000\n"}
    files |= trees.ina3221(f"{HWMON}/hwmon3", {1: ("VDD_IN", 5000, 100)})
    files |= {f"{HWMON}/hwmon4/name": "nvme\n", f"{HWMON}/hwmon4/power1_input": "5\n"}
    assert _names(tree(files)) == {"ina226 hwmon9", "VDD_IN"}
