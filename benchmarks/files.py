"""
Limits of open files: each connection needs one in the client and one in the server.
"""

import resource

from benchmarks.errors import BenchmarkError
from benchmarks.servers import Server

SPARE_FILES = 200
"""How many descriptors a process needs in addition to one for each connection."""


def allow(connections: int) -> None:
    """
    Raises the limit of this process, and so that of the servers and of the load that it starts.

    @raise BenchmarkError: the hard limit forbids it.
    """
    count = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(
            f"{connections:,} connections need {count} open files, the hard limit is {hard}: raise it (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def check(server: Server, connections: int) -> None:
    """
    Checks that a running server may open as many files.

    @raise BenchmarkError: it may not.
    """
    count = connections + SPARE_FILES
    soft, _hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        raise BenchmarkError(f"{server.name} may open {soft} files, {count} are needed: raise the limit (ulimit -n)")
