"""
Free ports on the loopback address, for servers that are told which to take.

Never keeps a port: whoever asked has to be quick, or be ready to hear that it was taken.
"""

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator

_FIRST, _END = 10_000, 32_000
"""Below those that systems give to outgoing connections: such a one might be taken before it is listened on."""

_SHARES = 16
"""Each process has a share of the ports, by its id: those that run tests at once don't take each other's."""


def _in_turn() -> Iterator[int]:
    """This process's share, over and over: a port that was given may be listened on only much later."""
    share = list(range(_FIRST + os.getpid() % _SHARES, _END, _SHARES))
    random.SystemRandom().shuffle(share)
    return itertools.cycle(share)


_ports = _in_turn()


def free_ports(count: int) -> list[int]:
    """Port numbers on the loopback address that nobody listens on, all different."""
    ports: set[int] = set()
    while len(ports) < count:
        port = next(_ports)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)
