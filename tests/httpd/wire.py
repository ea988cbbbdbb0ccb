"""
A connection to the HTTP server, on a fake clock: what a client sends and gets, byte by byte.
"""

import time
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.site import Site
from tests.wires import Answer, Wire, read_answers


class WireTest(SynchronousTestCase):
    """
    A site without sockets, on a fake clock.

    @cvar kind: the door that requests come in by.
    """

    kind: ClassVar[type[Site]] = Site

    def setUp(self) -> None:
        self.began = int(time.time())
        self.wire = Wire(kind=self.kind)
        self.addCleanup(self.wire.stop)
        self.channel, self.transport = self.wire.connect()

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def answers(self, *methods: str) -> list[Answer]:
        """Returns everything that was sent, which has to be complete responses."""
        return read_answers(self.transport.value(), *methods)

    def answer(self, method: str = "GET") -> Answer:
        return self.answers(method)[0]

    def watchers(self) -> int:
        return self.wire.replica.keyspace.hub.count
