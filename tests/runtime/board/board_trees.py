"""Boards as trees of files, with the paths, labels and oddities that the real ones have."""

from __future__ import annotations

CPU = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"
DEVFREQ = "/sys/class/devfreq"
HWMON = "/sys/class/hwmon"
I2C = "/sys/bus/i2c/drivers"
RAPL = "/sys/class/powercap"
Files = dict[str, str]
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64"


def ina3221(folder: str, channels: dict[int, tuple[str | None, int, int]]) -> Files:
    """Three inputs by number (label, mV, mA), and the shunt voltages and the sum that the driver shows after them."""
    files = {f"{folder}/name": "ina3221\n"}
    for number, (label, millivolts, milliamperes) in channels.items():
        files[f"{folder}/in{number}_input"] = f"{millivolts}\n"
        files[f"{folder}/curr{number}_input"] = f"{milliamperes}\n"
        files[f"{folder}/in{number + 3}_input"] = "4960\n"
        files[f"{folder}/in{number}_enable"] = "1\n"
        if label is not None:
            files[f"{folder}/in{number}_label"] = f"{label}\n"
    files |= {f"{folder}/in7_label": "sum of shunt voltages\n", f"{folder}/in7_input": "7600\n"}
    return {**files, f"{folder}/curr4_input": "3600\n"}


def policy(number: int, low: int, high: int, now: int, governor: str = "schedutil", driver: str = "tegra194") -> Files:
    """A cluster of cores, in kHz."""
    folder = f"{CPU}/cpufreq/policy{number}"
    return {
        f"{folder}/scaling_min_freq": f"{low}\n",
        f"{folder}/scaling_max_freq": f"{high}\n",
        f"{folder}/scaling_cur_freq": f"{now}\n",
        f"{folder}/scaling_governor": f"{governor}\n",
        f"{folder}/scaling_driver": f"{driver}\n",
    }


def devfreq(name: str, low: int, high: int, now: int) -> Files:
    """A clock in Hz."""
    folder = f"{DEVFREQ}/{name}"
    return {
        f"{folder}/min_freq": f"{low}\n",
        f"{folder}/max_freq": f"{high}\n",
        f"{folder}/cur_freq": f"{now}\n",
        f"{folder}/governor": "nvhost_podgov\n",
    }


def zones(*found: tuple[str, str | None], limit: int | None = None) -> Files:
    """Thermal zones in their order: name, and the text of the temperature or None where reading fails."""
    files = {}
    for place, (name, thousandths) in enumerate(found):
        folder = f"{THERMAL}/thermal_zone{place}"
        files[f"{folder}/type"] = f"{name}\n"
        if thousandths is not None:
            files[f"{folder}/temp"] = f"{thousandths}\n"
        if limit is not None:
            files |= {f"{folder}/trip_point_0_type": "passive\n", f"{folder}/trip_point_0_temp": f"{limit}\n"}
    return files


def dpkg(**packages: str) -> Files:
    """``/var/lib/dpkg/status``; an underscore stands for a hyphen."""
    told = [
        f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nVersion: {version}\n"
        for name, version in packages.items()
    ]
    return {
        "/var/lib/dpkg/status": "\n".join([*told, "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"])
    }


def memory(kilobytes: int, cores: str) -> Files:
    """``/proc/meminfo`` and which cores the process may use."""
    return {
        "/proc/meminfo": f"MemTotal:  {kilobytes} kB\nMemAvailable:  {kilobytes // 2} kB\nSwapTotal:  1000 kB\n",
        "/proc/self/status": f"Name:\tpython3\nCpus_allowed_list:\t{cores}\n",
    }


def _events(folder: str, counts: tuple[int, int, int]) -> Files:
    files = {f"{folder}/name": "soctherm_oc\n"}
    for place, count in enumerate(counts, 1):
        files |= {f"{folder}/oc{place}_event_cnt": f"{count}\n", f"{folder}/oc{place}_throt_en": "1\n"}
    return files


def orin_small(model: str = "Orin Nano", hwmon: int = 1, events: tuple[int, int, int] = (0, 0, 37)) -> Files:
    """Orin Nano or NX on JetPack 6.2. ``hwmon``: the number of the power monitor, which nothing promises."""
    is_nano = model == "Orin Nano"
    part = "p3767-0005" if is_nano else "p3767-0000"
    top = 1_728_000 if is_nano else 1_984_000
    return {
        "/proc/device-tree/model": f"NVIDIA Jetson {model} Engineering Reference Developer Kit Super\0",
        "/proc/device-tree/compatible": f"nvidia,p3768-0000+{part}-super\0nvidia,{part}\0nvidia,tegra234\0",
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
        "/proc/sys/kernel/osrelease": "5.15.148-tegra\n",
        "/proc/sys/kernel/hostname": "secret-host\n",
        "/etc/hostname": "secret-host\n",
        "/proc/device-tree/serial-number": "1422424001234\0",
        **dpkg(nvidia_jetpack="6.2+b77", libnvinfer10="10.3.0.30-1+cuda12.5", cuda_cudart_12_6="12.6.68-1"),
        "/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"},'
        ' "cuda_cudart": {"name": "CUDA Runtime (cudart)", "version": "12.6.68"}}',
        "/proc/driver/nvidia/version": f"{DRIVER}  540.4.0  Release Build"
        "  (buildbrain@mobile-u64-6336-d8000)  Tue Jan  7 17:35:12 PST 2025\nGCC version:  11.4.0\n",
        "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"
        "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< PM_CONFIG DEFAULT=1 >\n",
        "/var/lib/nvpmodel/status": "pmode:0001\n",
        **policy(0, 729_600, top, 1_113_600),
        **policy(4, 729_600, top, 729_600),
        **devfreq("17000000.gpu", 306_000_000, 1_020_000_000, 306_000_000),
        **devfreq("15340000.vic", 115_200_000, 729_600_000, 115_200_000),
        **ina3221(
            f"{I2C}/ina3221/1-0040/hwmon/hwmon{hwmon}",
            {1: ("VDD_IN", 5016, 1200), 2: ("VDD_CPU_GPU_CV", 5000, 240), 3: ("VDD_SOC", 4992, 320)},
        ),
        f"{HWMON}/hwmon0/name": "pwm_tach\n",
        f"{HWMON}/hwmon0/rpm": "1807\n",
        **_events(f"{HWMON}/hwmon3", events),
        "/sys/class/power_supply/ucsi-source-psy-1-00081/voltage_now": "5000000\n",
        "/sys/class/power_supply/ucsi-source-psy-1-00081/current_now": "3000000\n",
        **zones(
            ("cpu-thermal", "47500"),
            ("gpu-thermal", "46125"),
            ("cv0-thermal", None),
            ("cv1-thermal", None),
            ("cv2-thermal", "-256000"),
            ("soc0-thermal", "46000"),
            ("tj-thermal", "47500"),
            limit=99_000,
        ),
        f"{THERMAL}/cooling_device0/type": "pwm-fan\n",
        f"{THERMAL}/cooling_device0/cur_state": "1\n",
        f"{THERMAL}/cooling_device1/type": "cpu-throttle-alert\n",
        f"{THERMAL}/cooling_device1/cur_state": "0\n",
        **memory(7_802_000, "0-5" if is_nano else "0-7"),
    }


def agx_orin() -> tuple[Files, dict[str, str]]:
    """AGX Orin on JetPack 7.2, clocks locked, with two power monitors and an nvidia-smi that knows nothing."""
    files = {
        "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
        "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 44012345, BOARD: generic, EABI: aarch64\n",
        "/proc/sys/kernel/osrelease": "6.8.12-1021-tegra\n",
        **dpkg(libnvinfer10="10.16.1.11-1+cuda13.2", cuda_cudart_13_2="13.2.75-1"),
        "/proc/driver/nvidia/version": f"{DRIVER}  595.78  Release Build\n",
        "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=MODE_15W >\n",
        **policy(0, 2_201_600, 2_201_600, 2_201_600, "performance"),
        **policy(4, 2_201_600, 2_201_600, 2_201_600, "performance"),
        **policy(8, 2_201_600, 2_201_600, 2_201_600, "performance"),
        **devfreq("17000000.gpu", 1_300_500_000, 1_300_500_000, 1_300_500_000),
        "/sys/kernel/debug/bpmp/debug/clk/emc/rate": "3199000000\n",
        "/sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked": "1\n",
        **ina3221(
            f"{I2C}/ina3221/1-0040/hwmon/hwmon3",
            {1: ("VDD_GPU_SOC", 19_000, 300), 2: ("VDD_CPU_CV", 19_000, 100), 3: ("VIN_SYS_5V0", 4968, 1000)},
        ),
        **ina3221(
            f"{I2C}/ina3221/1-0041/hwmon/hwmon4",
            {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 4968, 220), 3: ("NC", 0, 0)},
        ),
        f"{HWMON}/hwmon1/name": "pwmfan\n",
        f"{HWMON}/hwmon1/pwm1": "77\n",
        **_events(f"{HWMON}/hwmon2", (0, 0, 0)),
        **zones(("cpu-thermal", "48000"), ("gpu-thermal", "44000"), ("tj-thermal", "48000"), limit=99_000),
        **memory(62_000_000, "0-11"),
    }
    blind = "Orin (nvgpu), 595.78, [N/A], [N/A], [N/A], [N/A]"
    return files, {"nvpmodel": "NV Power Mode: MAXN\n0", "nvidia-smi": blind}


def thor() -> tuple[Files, dict[str, str]]:
    """AGX Thor on JetPack 7.2 in its default mode: clocks move, the idle GPU is switched off with its sensor."""
    files = {
        "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        "/proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
        "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 44012345, BOARD: generic, EABI: aarch64\n",
        "/proc/sys/kernel/osrelease": "6.8.12-1021-tegra\n",
        **dpkg(nvidia_jetpack="7.2-b100", libnvinfer10="10.16.1.11-1+cuda13.2"),
        "/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "13.2.0"}}',
        "/proc/driver/nvidia/version": f"{DRIVER}  595.78  Release Build\n",
        "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
        **{name: text for core in range(14) for name, text in policy(core, 972_000, 2_601_000, 972_000).items()},
        **devfreq("gpu-gpc-0", 315_000_000, 1_575_000_000, 0),
        **devfreq("gpu-nvd-0", 315_000_000, 1_692_000_000, 0),
        **devfreq("bwmgr", 665_600_000, 4_266_000_000, 4_266_000_000),
        **ina3221(
            f"{I2C}/ina3221/2-0040/hwmon/hwmon4",
            {1: ("VDD_GPU", 12_000, -8), 2: ("VDD_CPU_SOC_MSS", 12_000, 500), 3: ("VIN_SYS_5V0", 5000, 1300)},
        ),
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/name": "ina238\n",
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/label": "VIN\n",
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/in0_input": "4\n",
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/in1_input": "19912\n",
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/curr1_input": "1160\n",
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/power1_input": "23104000\n",
        f"{I2C}/ina238/2-0044/hwmon/hwmon5/temp1_input": "33000\n",
        f"{HWMON}/hwmon6/name": "pwmfan\n",
        f"{HWMON}/hwmon6/pwm1": "58\n",
        **_events(f"{HWMON}/hwmon7", (0, 0, 179)),
        **zones(
            ("cpu-thermal", "53700"),
            ("gpu-thermal", None),
            ("soc012-thermal", "55100"),
            ("soc345-thermal", "53700"),
            ("tj-thermal", "55100"),
            limit=114_500,
        ),
        **memory(125_000_000, "0-13"),
    }
    own_rail = "NVIDIA Thor, 595.78, 2.45, 55, 0, 0x0000000000000001"
    return files, {"nvpmodel": "NV Power Mode: 120W\n1", "nvidia-smi": own_rail}


SMI = """#!/bin/sh
case "$*" in
  *--loop-ms=*)
    while :; do echo "50.5, 61, 1807, 0x0000000000000024"; sleep 0.02; done ;;
  *clocks_event_reasons*) echo "Field is not a valid field to query."; exit 2 ;;
  *) echo "NVIDIA GeForce RTX 3060, 525.60.13, 20.25, 41, 210, 0x0000000000000001" ;;
esac
"""
"""A driver of before the newer fields, busy while it is read; its card is at its power limit and warm."""


def desktop() -> tuple[Files, dict[str, str]]:
    """An Intel desktop with a card, whose counters may be read."""
    counters = {"0": ("package-0", 1_000_000), "0:0": ("core", 500_000), "0:1": ("uncore", 5), "0:2": ("dram", 90_000)}
    files = {}
    for number, (name, count) in {**counters, "1": ("psys", 7_000_000)}.items():
        folder = f"{RAPL}/intel-rapl:{number}"
        files |= {f"{folder}/name": f"{name}\n", f"{folder}/energy_uj": f"{count}\n"}
        files |= {f"{folder}/max_energy_range_uj": "262143328850\n"}
    mmio = {f"{RAPL}/intel-rapl-mmio:0/name": "package-0\n", f"{RAPL}/intel-rapl-mmio:0/energy_uj": "3\n"}
    cores = [policy(core, 800_000, 4_700_000, 800_000, "powersave", "intel_pstate") for core in range(20)]
    return {
        "/sys/class/dmi/id/product_name": "MS-7D25\n",
        "/sys/class/dmi/id/product_serial": "SERIAL-SECRET\n",
        "/proc/cpuinfo": "processor\t: 0\nmodel name\t: 12th Gen Intel(R) Core(TM) i7-12700K\n\nprocessor\t: 1\n",
        "/proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  525.60.13  Wed Nov 30 2022\n",
        **{name: text for core in cores for name, text in core.items()},
        **files,
        **mmio,
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3\n",
        f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "1\n",
        **zones(("acpitz", "27800"), ("acpitz", "29800"), ("x86_pkg_temp", "44000")),
        f"{HWMON}/hwmon0/name": "nct6798\n",
        f"{HWMON}/hwmon0/fan1_input": "744\n",
        f"{HWMON}/hwmon0/in1_input": "1016\n",
        **memory(32_000_000, "0-19"),
    }, {"nvidia-smi": SMI}


def raspberry_pi() -> Files:
    """A board of another make, without any sensor of power."""
    return {
        "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "/proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "/proc/device-tree/serial-number": "abcdef0123456789\0",
        "/proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-2712\n",
        **policy(0, 1_500_000, 2_400_000, 1_500_000, "ondemand", "cpufreq-dt"),
        **zones(("cpu-thermal", "51300")),
        f"{HWMON}/hwmon0/name": "rpi_volt\n",
        f"{HWMON}/hwmon0/in0_lcrit_alarm": "0\n",
        f"{HWMON}/hwmon2/name": "pwmfan\n",
        f"{HWMON}/hwmon2/fan1_input": "2500\n",
        **memory(8_000_000, "0-3"),
    }


def container() -> Files:
    """A container that sees next to nothing, with half a core and half a gigabyte."""
    return {
        "/proc/self/cgroup": "0::/\n",
        "/sys/fs/cgroup/cpu.max": "50000 100000\n",
        "/sys/fs/cgroup/memory.max": "536870912\n",
        "/sys/fs/cgroup/memory.current": "1000\n",
        **memory(16_000_000, "0-7"),
    }
