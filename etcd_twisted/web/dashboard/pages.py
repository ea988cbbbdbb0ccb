"""
What the dashboard's page asks for beside the API: what this machine is, and how much a directory holds.

These answers are made for the page that comes with them, and change with it. Must never change anything, nor hold the
reactor for as long as it takes to look at many keys.
"""

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from etcd_twisted import __version__
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.http.answers import JSON, Response
from etcd_twisted.interfaces import IReplica
from etcd_twisted.keyspace.counting import Count, counts
from etcd_twisted.keyspace.events import encode_json
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.keyspace.paths import ROOT, clean
from etcd_twisted.web.forms import parse

_FIELDS = JSON + b"Cache-Control: no-store\r\n"


class Status(msgspec.Struct, rename="camel"):
    """
    This machine.

    @ivar uptime: seconds since it was started.
    """

    version: str
    uptime: float


class StatusPages:
    """Answers of one machine."""

    def __init__(self, replica: IReplica, clock: IReactorTime) -> None:
        self._replica = replica
        self._clock = clock
        self._started = clock.seconds()

    def status(self) -> Response:
        """What it is at this moment."""
        status = Status(__version__, self._clock.seconds() - self._started)
        return Response(200, _FIELDS, encode_json(status))

    async def count(self, query: bytes) -> Response:
        """
        How many keys and directories a directory holds, at any depth, and how many of them no listing shows.

        @param query: with the directory as C{key}; the root by default.
        @raise EtcdError: there is no such directory, or the query can't be decoded.
        """
        key = clean(parse(query).get("key", ROOT))
        node = self._replica.get(key)
        if not isinstance(node, Directory):
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, key)
        total = Count()
        for so_far in counts(node):
            total = so_far
            await deferLater(self._clock, 0, lambda: None)
        return Response(200, _FIELDS, encode_json(attrs.asdict(total)))
