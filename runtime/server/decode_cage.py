"""What a decoder process gives up before it meets a stranger's file.

Resource limits hold everywhere on Linux. Landlock (no file but the uploads and Python's own code) and a seccomp filter
(no socket, no program, no other process) are put on where the kernel knows them; each is a wall behind the decoder's
own whitelist of formats and protocols, not in place of it.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _SECCOMP = 1, 4, 38, 22
_NICE = 5
_OPEN_FILES = 48

_MARGIN, _MARGIN_A_PIXEL = 16 * 2**20, 8

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many of the rights on files each version of Landlock knows."""
_TCP = 0b11

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_FORBIDDEN = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
}
"""Numbers of the system calls on x86-64 and on aarch64."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # EPERM
_X32 = 0x40000000


def tie_to_parent(parent: int) -> None:
    """End when the thread that started this process ends, and gain no rights by any program."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)
    os.nice(_NICE)


def limit_resources(memory_mb: int, pixels: int) -> Callable[[], bool]:
    """No file written, no core, few files open, and ``memory_mb`` MiB of address space beyond what is mapped now.

    The kernel refuses memory a little later, beyond a margin for one picture of ``pixels``. So whoever was refused any
    has taken more than ``memory_mb`` before, which is how to know: the decoder itself takes a refusal for damaged data
    and goes on without the picture.

    Returns:
        Whether this process has ever had more than ``memory_mb``.
    """
    status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def mapped(field: bytes) -> int:
        (line,) = (line for line in os.pread(status, 8192, 0).splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024

    most = mapped(b"VmSize:") + memory_mb * 2**20
    most = max(most, mapped(b"VmPeak:"))  # what starting took is no upload's doing
    for what, value in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_AS, most + _MARGIN + _MARGIN_A_PIXEL * pixels),
    ):
        _, hard = resource.getrlimit(what)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (least, least))
    return lambda: mapped(b"VmPeak:") > most


def forbid_files(but: Iterable[Path]) -> bool:
    """Open no file outside of the folders ``but``, and change none anywhere. Whether the kernel does that."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    files = (1 << _FS_RIGHTS[min(version, max(_FS_RIGHTS))]) - 1
    attributes = struct.pack("=QQ", files, _TCP) if version >= 4 else struct.pack("=Q", files)
    rules = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        for folder in but:
            place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            try:
                if libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", _READ_FILE | _READ_DIR, place), 0):
                    return False
            finally:
                os.close(place)
        return libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def forbid_calls() -> bool:
    """Refuse the system calls that reach the network, other processes and other programs. Whether the kernel does."""
    machine = _MACHINES.get(platform.machine())
    if machine is None or sys.maxsize < 2**32:
        return False
    architecture, column = machine
    refused = [numbers[column] for numbers in _FORBIDDEN.values()]
    # An operation, how far to jump if it holds and if not, a constant. The refusal is the last line of the program.
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 0, len(refused) + 3, architecture), (_LOAD, 0, 0, 0)]
    lines += [(_AT_LEAST, len(refused) + 1, 0, _X32)]
    lines += [(_EQUAL, len(refused) - index, 0, number) for index, number in enumerate(refused)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    program = Program(len(lines), ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0
