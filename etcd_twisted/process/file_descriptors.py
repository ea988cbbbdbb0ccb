"""
How many connections the limit on the process's open files leaves room for.

This module must never let connections take the file descriptors that the log and the snapshots need: a machine that
can't write its log has to end.
"""

import resource

RESERVED_FILES = 96
"""How many descriptors are kept for the log, snapshots, the reactor and the program's own files."""

PEER_CONNECTIONS = 192
"""How many connections there may be to the peer port, and from this machine to the peer ports of others."""

_FEWEST_CONNECTIONS = 16
"""How many connections the client port has however low the limit is."""

_UNLIMITED_FILES = 1 << 20
"""This value means that there is no limit."""


def raise_limit() -> None:
    """Let this process open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def client_connections() -> int:
    """Returns how many connections the client port may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _UNLIMITED_FILES
    return max(_FEWEST_CONNECTIONS, limit - RESERVED_FILES - PEER_CONNECTIONS)
