"""A key of the session keyring that the sandbox's maker has"""

import ctypes

from attack import Host, Setup, tried
from attack import Trick as Base
from syscalls import call

SESSION, READ = -3, 11


class Trick(Base):
    only_where = "this kernel has no keyrings, or keeps them from this process"

    def prepare(self, host: Host) -> Setup:
        secret = host.token.encode()
        try:
            # A keyring of its own for this suite and what it starts.
            call("keyctl", 1, b"wflo-attacks")
            call("add_key", b"user", b"a secret", secret, len(secret), SESSION)
        except OSError as error:
            print("no key was made:", error)
        return Setup()

    def inside(self) -> None:
        def read() -> str:
            key = call("keyctl", 10, SESSION, b"user", b"a secret", 0)
            buffer = ctypes.create_string_buffer(64)
            call("keyctl", READ, key, buffer, 64)
            return buffer.value.decode()

        tried("read", read)
        tried("add", lambda: call("add_key", b"user", b"mine", b"x", 1, -4))
