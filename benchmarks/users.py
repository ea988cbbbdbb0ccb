"""
Measures what users cost: the requests per second of one machine while users are enabled and each request has a name
and a password, and before, on the same server.
"""

import base64
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import load
from benchmarks.comparison import Line, Part
from benchmarks.servers import KINDS, Server
from benchmarks.throughput import Cell, fill

CELLS = (Cell("PUT", 8), Cell("GET", 8))
"""A password takes long to check, and etcd does that for each request: of 64 at a time, some would be refused."""

LEAST_SECONDS = 5
"""How long a server with users is loaded at least, so that etcd answers some requests."""

_ROOT_PASSWORD = "the root password"
_USER, _PASSWORD = "bench", "the password"
_KEYS = ["/bench/*"]


def enable(server: Server) -> dict[str, str]:
    """
    Makes a user who may read and write what the scripts do, and enables users.

    @return: what the scripts need in their environment to make their requests as this user.
    @raise BenchmarkError: the server refuses.
    """
    server.put_json("/v2/auth/users/root", {"user": "root", "password": _ROOT_PASSWORD})
    server.put_json(f"/v2/auth/roles/{_USER}", {"role": _USER, "permissions": {"kv": {"read": _KEYS, "write": _KEYS}}})
    server.put_json(f"/v2/auth/users/{_USER}", {"user": _USER, "password": _PASSWORD, "roles": [_USER]})
    server.put_json("/v2/auth/enable")
    token = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
    return {"BENCH_AUTHORIZATION": f"Basic {token}"}


def parts(seconds: int) -> list[Part]:
    """
    Returns what is measured.

    @param seconds: how long a server is loaded, each time.
    @raise BenchmarkError: there is no program to load it with.
    """
    load.executable()
    return [
        Part(
            (
                Line(f"1 machine, {cell}, as a user", "/s"),
                Line(f"1 machine, {cell}, as a user, to without users", "", 2, compared=False),
            ),
            partial(_measure, cell, seconds),
        )
        for cell in CELLS
    ]


def _measure(cell: Cell, seconds: int, name: str, directory: Path) -> Sequence[float]:
    with KINDS[name](directory) as server:
        server.start()
        fill(server, load.KEYS)
        without = load.warmed(server.url, cell.verb, cell.connections, seconds).rate
        user = enable(server)
        as_user = load.run(server.url, cell.verb, cell.connections, max(seconds, LEAST_SECONDS), user).rate
        return as_user, as_user / without
