"""
How many connections the process's limit of open files leaves room for.

Must never let connections take the descriptors that the log and the snapshots need: a machine whose log can't be
written has to end.
"""

import resource

RESERVED = 96
"""For the log, snapshots, the reactor and the program's own files."""

FOR_PEERS = 192
"""How many connections there may be to the peer port, and from here to those of others."""

_FEWEST = 16
_UNLIMITED = 1 << 20


def raise_limit() -> None:
    """Let this process open as many files as the system allows it to."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def for_clients() -> int:
    """How many connections the client port may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _UNLIMITED
    return max(_FEWEST, limit - RESERVED - FOR_PEERS)
