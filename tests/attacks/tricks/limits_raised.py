"""Limits and priorities raised: resource limits, real-time scheduling, a higher priority, locked memory"""

import os
import resource

from attack import Trick as Base
from attack import tried


def raised(kind: int, to: int) -> int:
    try:
        resource.setrlimit(kind, (to, to))
    except ValueError as error:
        raise PermissionError(*error.args) from error
    return to


class Trick(Base):
    area = "bombs"
    only_where = "only root may, and not in every container"

    def inside(self) -> None:
        for name in ("NPROC", "NOFILE", "MEMLOCK", "MSGQUEUE"):
            kind = getattr(resource, f"RLIMIT_{name}", None)
            if kind is not None and resource.getrlimit(kind)[1] != resource.RLIM_INFINITY:
                hard = resource.getrlimit(kind)[1] + 1
                tried(name, lambda kind=kind, hard=hard: raised(kind, hard))
        tried("fifo", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
        # Above what it was started with, which may be above others; at the top there is nothing more.
        now = os.getpriority(os.PRIO_PROCESS, 0)
        if now > -20:
            tried("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, now - 1))
