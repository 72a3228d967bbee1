"""A Unix socket of the host without a file"""

import socket
import threading

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "network"

    def prepare(self, host: Host) -> Setup:
        name = host.marker
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0" + name)
        listener.listen()
        host.finally_(listener.close)

        def serve() -> None:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(host.token.encode())

        threading.Thread(target=serve, daemon=True).start()
        return Setup(name)

    def inside(self, name: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect("\0" + name)
                print(client.recv(100).decode())
            except OSError as error:
                print(error)
