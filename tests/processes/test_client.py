"""
Tests of the client of these tests: whenever the server goes away, it raises one of L{GONE}.
"""

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.processes.client import GONE, Client

MORE_THAN_BUFFERS_HOLD = "x" * (1 << 25)


class Leaving(Protocol):
    """A server that sends something when the first bytes arrive, and closes the connection."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def dataReceived(self, _data: bytes) -> None:
        """Closes the connection, and leaves the rest of the request unread."""
        self.transport.write(self._words)
        self.transport.loseConnection()


class GoneTests(TestCase):
    """A request fails whenever its server goes away."""

    timeout = 240

    async def _gone(self, port: int, value: str) -> None:
        client = Client(f"http://127.0.0.1:{port}")
        self.addCleanup(client.close)
        await self.assertFailure(ensureDeferred(client.put("/key", value=value)), *GONE)

    async def _left(self, words: bytes, value: str = "short") -> None:
        factory = Factory()
        factory.buildProtocol = lambda _address: Leaving(words)
        server = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        await self._gone(server.getHost().port, value)

    async def test_server_is_not_there(self) -> None:
        (port,) = free_ports(1)
        await self._gone(port, "short")

    async def test_server_goes_in_the_request(self) -> None:
        """The server goes away before it has read the whole request."""
        await self._left(b"", MORE_THAN_BUFFERS_HOLD)

    async def test_server_goes_before_the_answer(self) -> None:
        await self._left(b"")

    async def test_server_goes_in_the_head(self) -> None:
        await self._left(b"HTTP/1.1 200 OK\r\nContent-Le")

    async def test_server_goes_in_the_body(self) -> None:
        await self._left(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive.")

    async def test_server_goes_before_the_last_chunk(self) -> None:
        """An answer in chunks has no last one."""
        await self._left(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive.\r\n")
