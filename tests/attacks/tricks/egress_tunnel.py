"""Other bytes than TLS for the named host, through a tunnel to it"""

import os
import socket
import ssl

from attack import Host, Setup
from attack import Trick as Base


def hello(name: str) -> bytes:
    """A first message of TLS that asks for another host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    written = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), written, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return written.read()


class Trick(Base):
    area = "network"

    def prepare(self, host: Host) -> Setup:
        def answer(client: socket.socket) -> None:
            client.settimeout(5)
            try:
                # Whoever gets a byte to it has won.
                if client.recv(1):
                    client.sendall(host.token.encode())
            except OSError:
                pass

        at = f"127.0.0.2:{host.serve('127.0.0.2', answer)}"
        setup = Setup(at)
        setup.hosts = [f"https://{at}"]
        return setup

    def inside(self, at: str) -> None:
        proxy = os.environ.get("HTTPS_PROXY")
        name, port = proxy.split("//")[1].split(":") if proxy else at.split(":")
        whole = hello("evil.example")
        for first in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-x\r\n",
            b"\x16\x03\x01",
            b"\x16\x03\x01\x00\x01\x01",
            b"\x16\x03\x01\xff\xff" + bytes(100),
            b"\x80\x2e\x01\x03\x01",
            whole,
            whole[:5] + whole[5:9],
            b"\x17\x03\x03\x00\x05hello",
            b"\x00",
        ):
            for head in (
                f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n",
                f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3\r\n\r\n",
            ):
                try:
                    with socket.create_connection((name, int(port)), timeout=3) as stream:
                        stream.settimeout(1)
                        stream.sendall((head.encode() if proxy else b"") + first)
                        while said := stream.recv(4096):
                            print(said.decode(errors="replace"))
                except OSError as error:
                    print(first[:10], error)
        for socks in (b"\x05\x01\x00", b"\x04\x01\x00\x50\x7f\x00\x00\x02\x00"):
            try:
                with socket.create_connection((name, int(port)), timeout=3) as stream:
                    stream.settimeout(1)
                    stream.sendall(socks)
                    print(stream.recv(100))
            except OSError as error:
                print("socks", error)
