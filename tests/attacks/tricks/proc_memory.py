"""The memory of another process: /proc/PID/mem, process_vm_readv, ptrace, pidfd_getfd"""

import ctypes
import os

from attack import Host, Setup, tried
from attack import Trick as Base
from syscalls import call

SEIZE = 0x4206


class Trick(Base):
    area = "proc"
    only_where = "one may trace what one did not start (kernel.yama.ptrace_scope)"

    def prepare(self, host: Host) -> Setup:
        return Setup("1")

    def outside(self, host: Host, setup: Setup) -> None:
        import subprocess

        victim = subprocess.Popen(["sleep", "600"])
        host.finally_(lambda: (victim.kill(), victim.wait()))
        setup.args = [str(victim.pid)]

    def inside(self, pid: str) -> None:
        buffer = ctypes.create_string_buffer(8)
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 8)
        target = int(pid)

        def map_begins() -> int:
            with open(f"/proc/{pid}/maps") as maps:
                return int(maps.readline().split("-")[0] or "0", 16)

        def vm() -> int:
            there = (ctypes.c_uint64 * 2)(map_begins(), 8)
            return call("process_vm_readv", target, ctypes.byref(vector), 1, ctypes.byref(there), 1, 0)

        def descriptor() -> int:
            return call("pidfd_getfd", call("pidfd_open", target, 0), 0, 0)

        tried("mem", lambda: os.open(f"/proc/{pid}/mem", os.O_RDWR))
        tried("process_vm_readv", vm)
        tried("pidfd_getfd", descriptor)
        tried("ptrace", lambda: call("ptrace", SEIZE, target, 0, 0))
