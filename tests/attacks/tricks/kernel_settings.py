"""The machine's own affairs: its name, its log, modules, quotas, memory of other nodes, watching all files"""

import ctypes

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    wrapper = ("unshare", "--uts")
    as_root = True

    def inside(self) -> None:
        tried("sethostname", lambda: call("sethostname", b"owned", 5))
        tried("syslog", lambda: call("syslog", 3, ctypes.create_string_buffer(4096), 4096))
        tried("fanotify", lambda: call("fanotify_init", 0, 0))
