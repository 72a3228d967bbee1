"""System calls by name, for programs that want more than Python offers."""

from __future__ import annotations

import ctypes
import os

# x86-64, aarch64; later calls have one number everywhere.
NUMBERS = {
    "getpid": (39, 172), "clone": (56, 220), "shmget": (29, 194), "shmat": (30, 196), "ptrace": (101, 117),
    "syslog": (103, 116), "personality": (135, 92), "modify_ldt": (154, -1), "pivot_root": (155, 41),
    "chroot": (161, 51), "mount": (165, 40), "umount2": (166, 39), "sethostname": (170, 161),
    "init_module": (175, 105), "quotactl": (179, 60), "add_key": (248, 217), "keyctl": (250, 219),
    "move_pages": (279, 239), "unshare": (272, 97), "perf_event_open": (298, 241), "fanotify_init": (300, 262),
    "prlimit64": (302, 261), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "setns": (308, 268),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "renameat2": (316, 276), "bpf": (321, 280),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "pidfd_open": (434, 434),
    "clone3": (435, 435), "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "mount_setattr": (442, 442),
}  # fmt: skip
X86 = os.uname().machine == "x86_64"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80,
)  # fmt: skip


def number(name: str) -> int:
    return NUMBERS[name][0 if X86 else 1]


def call(name: str | int, *arguments: object) -> int:
    """Makes the call; an error is an `OSError`."""
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    nr = number(name) if isinstance(name, str) else name
    got = LIBC.syscall(ctypes.c_long(nr), *given)
    if got < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), str(name))
    return got
