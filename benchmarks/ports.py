"""
Free ports on the loopback address, for servers that are told which to take.

Never keeps a port: whoever asked has to be quick, or be ready to hear that it was taken.
"""

import contextlib
import os
import random
import socket


_FIRST, _END = 10_000, 32_000
"""Below those that systems give to outgoing connections: such a one might be taken before it is listened on."""

_SHARES = 16
"""Each process has a share of the ports, by its id: those that run tests at once don't take each other's."""


def free_ports(count: int) -> list[int]:
    """Port numbers on the loopback address that nobody listens on, all different."""
    chosen = random.SystemRandom()
    ports: set[int] = set()
    while len(ports) < count:
        port = chosen.randrange(_FIRST + os.getpid() % _SHARES, _END, _SHARES)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)
