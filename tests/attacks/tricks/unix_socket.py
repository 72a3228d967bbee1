"""A Unix socket of the host in a folder that is shown: a container engine's, an agent's"""

import socket
import threading

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "network"

    def prepare(self, host: Host) -> Setup:
        folder = host.dir("shown")
        workspace = host.dir("workspace")
        setup = Setup()
        for place in (folder, workspace):
            at = place / "engine.sock"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(at))
            at.chmod(0o666)
            host.give(at)
            listener.listen()
            host.finally_(listener.close)
            threading.Thread(target=self.serve, args=(listener, host.token), daemon=True).start()
            setup.args.append(str(at))
        setup.read_only.append(folder)
        setup.workspace = workspace
        return setup

    def serve(self, listener: socket.socket, token: str) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.sendall(token.encode())

    def inside(self, *places: str) -> None:
        for at in places:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                try:
                    client.connect(at)
                    print(client.recv(100).decode())
                except OSError as error:
                    print(at, error)
