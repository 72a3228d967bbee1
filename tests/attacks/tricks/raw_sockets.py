"""Raw and packet sockets, to see or forge what passes by"""

import socket

from attack import Trick as Base
from attack import tried


class Trick(Base):
    area = "network"
    wrapper = ("unshare", "--net")
    as_root = True

    def inside(self) -> None:
        tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        tried("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
