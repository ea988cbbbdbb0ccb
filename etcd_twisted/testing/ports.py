"""
Free ports on the loopback address, for servers that have to be told which port to listen on.

This module must never keep a port open: the caller has to listen on it soon, or be ready to find that another process
took it.
"""

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator

_FIRST, _END = 10_000, 32_000
"""Below the ports that the system gives to outgoing connections, which would take one before it is listened on."""

_SHARES = 16
"""Each process has a share of the ports, by its id, so that test processes don't take each other's."""


def _in_turn() -> Iterator[int]:
    """Yields this process's share over and over: a port may be listened on long after it was given out."""
    share = list(range(_FIRST + os.getpid() % _SHARES, _END, _SHARES))
    random.SystemRandom().shuffle(share)
    return itertools.cycle(share)


_ports = _in_turn()


def free_ports(count: int) -> list[int]:
    """Returns different port numbers that nobody listens on at 127.0.0.1."""
    ports: set[int] = set()
    while len(ports) < count:
        port = next(_ports)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)
