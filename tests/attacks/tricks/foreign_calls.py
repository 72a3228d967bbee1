"""System calls through the 32-bit entry, where other numbers mean other calls"""

import ctypes
import mmap
import os
import platform

from attack import Trick as Base
from attack import won

# mov eax, 20 (getpid); int 0x80; ret
CODE = bytes.fromhex("b814000000cd80c3")


class Trick(Base):
    only_where = "this kernel has no 32-bit entry"

    def inside(self) -> None:
        if platform.machine() != "x86_64":
            return
        pid = os.fork()
        if pid == 0:
            memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            memory.write(CODE)
            entry = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
            if entry() == os.getpid():
                won("int 0x80")
            os._exit(0)
        os.waitpid(pid, 0)
