"""Output without end, and nobody who reads it: the time-out still comes"""

import os
import time

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        # Read by nobody until the end.
        read, self.write = os.pipe()
        host.finally_(lambda: (os.close(read), os.close(self.write)))
        setup = Setup()
        setup.stdout = self.write
        setup.limits["timeout"] = "1s"
        return setup

    def inside(self) -> None:
        began = time.monotonic()
        os.set_blocking(1, False)
        while time.monotonic() < began + 8:
            try:
                os.write(1, bytes(1 << 16))
            except BlockingIOError:
                time.sleep(0.01)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        return f"ran for {ran.seconds:.1f} s" if ran.code != 124 else None
