"""
Free ports on the loopback address, for servers that are told which to take.

Never keeps a port: whoever asked has to be quick, or be ready to hear that it was taken.
"""

import contextlib
import random
import socket


def free_ports(count: int) -> list[int]:
    """
    Port numbers on the loopback address that nobody listens on, all different.

    Below those that systems give to outgoing connections: such a one might be taken before it is listened on.
    """
    chosen = random.SystemRandom()
    ports: set[int] = set()
    while len(ports) < count:
        port = chosen.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)
