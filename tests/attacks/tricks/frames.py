"""Frames of its own in the runner's socket: broken, endless, without end inside; the engine goes on as if nothing was"""

import contextlib
import json
import os
import struct

from attack import Host, Ran, Setup, runner_socket
from attack import Trick as Base

BROKEN = (
    b"obey", b'{"type":"obey"}', b"[" * 100_000, b'{"type":"\xff"}', b"", b"\0" * 4096,
    b'{"type":"effect","path":"0/../1","seq":0,"kind":"now","name":"now","request":{}}',
    b'{"type":"effect","path":"9","seq":-1,"kind":"now","name":"now","request":{}}',
)  # fmt: skip


class Trick(Base):
    area = "protocol"
    no_control = "without a sandbox nobody listens"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        out = runner_socket()
        os.set_blocking(out, True)
        for frame in BROKEN:
            with contextlib.suppress(OSError):
                os.write(out, struct.pack(">I", len(frame)) + frame)
        # And one that says that it is as long as there is no memory.
        with contextlib.suppress(OSError):
            os.write(out, b"\xff\xff\xff\xff" + json.dumps({"type": "succeeded", "output": "owned"}).encode())
        raise SystemExit("told everything")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        # The step ends with a code that says so, and the same project can be looked at and applied to.
        for crash in ("panicked at", "WFLO-9", "SIGSEGV", "out of memory", "(the deadline of the suite)"):
            if crash in ran.output:
                return crash
        assert "WFLO-303" in ran.output, ran
        return "a success was forged" if "completed" in ran.output else None
