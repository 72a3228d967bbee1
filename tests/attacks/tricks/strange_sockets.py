"""Socket families that reach past the network namespace, or seldom tested code: vsock, netlink, alg, bluetooth"""

import socket

from attack import Trick as Base
from attack import tried

FAMILIES = {"vsock": 40, "alg": 38, "bluetooth": 31, "rds": 21, "tipc": 30, "xdp": 44, "key": 15}
# Of netlink: audit, netfilter, connector, uevents.
NETLINKS = (9, 12, 11, 15)


class Trick(Base):
    area = "network"

    def inside(self) -> None:
        for name, family in FAMILIES.items():
            for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM, socket.SOCK_RAW):
                tried(name, lambda family=family, kind=kind: socket.socket(family, kind, 0))
        for number in NETLINKS:
            tried(f"netlink {number}", lambda n=number: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, n))
