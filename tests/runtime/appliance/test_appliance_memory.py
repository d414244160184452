"""Free memory goes back to the system, once a minute and no more often."""

import platform
import subprocess
import sys

import pytest

from mosear.runtime.appliance.memory import FreeMemory

HOLES = """
from mosear.runtime.appliance.memory import FreeMemory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

blocks = [bytearray(60_000) for _ in range(3000)]
kept = blocks[::50]
full = resident()
del blocks
before = resident()
clock = [0.0]
memory = FreeMemory(lambda: clock[0])
memory.tick()
same = resident()
clock[0] = 61.0
memory.tick()
print(full, before, same, resident())
"""


def test_it_is_asked_once_a_minute() -> None:
    clock, asked = [0.0], []
    memory = FreeMemory(lambda: clock[0], lambda: asked.append(clock[0]))
    for second in range(200):
        clock[0] = float(second)
        memory.tick()
    assert asked == [60.0, 120.0, 180.0]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library is not glibc")
def test_holes_between_what_is_kept_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    full, before, same, after = (int(each) for each in done.stdout.split())
    assert full > 150_000
    assert abs(same - before) < 1000
    assert after < before - 100_000
