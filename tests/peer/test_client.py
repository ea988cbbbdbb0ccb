"""
Tests of single requests to a machine, on real sockets.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.python.failure import Failure

from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import JoinReply
from etcd_twisted.peer.client import PeerClient, UnreachableError
from etcd_twisted.peer.commands import COMMANDS, Deliver, Describe, Hello, Join, RefusedError
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, SECOND, VIEW
from etcd_twisted.testing.replica import OTHER
from tests.logs.lines import Log
from tests.peer.machines import MachinesTest
from tests.peer.test_commands import REQUEST
from tests.peer.wires import HELLO
from tests.wires import RawClient


class ClientTests(MachinesTest):
    """Tests of the client, and of the port that it sends requests to."""

    async def setUp(self) -> None:
        await super().setUp()
        self.client = PeerClient(reactor, None)

    async def unreachable(self, asking: Any) -> str:
        error = await self.assertFailure(ensureDeferred(asking), UnreachableError)
        self.assertNotIn("\n", str(error))
        return str(error)

    async def test_describe_returns_the_view(self) -> None:
        """The view says who is in the cluster."""
        self.assertEqual(await self.client.describe(self.first.url), VIEW)

    async def test_join_returns_the_reply(self) -> None:
        self.assertEqual(await self.client.join(self.first.url, REQUEST), JoinReply(CLUSTER))
        self.assertEqual(self.first.raft.joins, [REQUEST])

    async def test_refused_join_raises_the_same_error(self) -> None:
        self.first.raft.failing = EtcdError(ErrorCode.PEER_ADDRESS_EXISTS, "http://127.0.0.1:7001", 7)
        error = await self.assertFailure(ensureDeferred(self.client.join(self.first.url, REQUEST)), EtcdError)
        self.assertEqual((error.code, error.cause, error.index), (109, "http://127.0.0.1:7001", 7))

    async def test_join_in_another_protocol_version_is_refused(self) -> None:
        log = Log(self)
        request = type(REQUEST)(2, FIRST, "", "machine1", "http://127.0.0.1:1", "http://127.0.0.1:2")
        error = await self.assertFailure(ensureDeferred(self.client.join(self.first.url, request)), EtcdError)
        self.assertEqual((error.code, len(log.warnings)), (ErrorCode.RAFT_INTERNAL, 1))

    async def test_leave_removes_a_machine(self) -> None:
        self.first.replica.register(OTHER)
        await self.client.leave(self.first.url, OTHER.name)
        self.assertEqual(self.first.replica.removed, [OTHER.name])
        error = await self.assertFailure(ensureDeferred(self.client.leave(self.first.url, "machine7")), EtcdError)
        self.assertEqual(error.code, ErrorCode.KEY_NOT_FOUND)

    async def test_machine_that_does_not_listen_is_unreachable(self) -> None:
        """A machine is unreachable if nobody listens, or if the URL is bad."""
        await self.first.close_port()
        text = await self.unreachable(self.client.describe(self.first.url))
        self.assertIn(f"{self.first.url} can't be asked: the connection was refused", text)
        text = await self.unreachable(self.client.describe("nonsense"))
        self.assertIn("'nonsense'", text)
        text = await self.unreachable(self.client.describe("https://127.0.0.1:7001"))
        self.assertIn("TLS, for which this machine has no certificate", text)

    async def answering(self, data: bytes) -> str:
        """Returns the URL of a server that is no machine and sends C{data}."""
        factory = Factory.forProtocol(RawClient)
        factory.noisy = False
        built = factory.buildProtocol

        def build(address: Any) -> Any:
            protocol = built(address)
            protocol.connectionMade = lambda: protocol.send(data)
            return protocol

        factory.buildProtocol = build
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return Address("127.0.0.1", port.getHost().port).url()

    async def test_server_that_is_not_a_machine_is_unreachable(self) -> None:
        for data in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00", b"\x00\x07_answer\x00\x011\x00\x00"):
            await self.unreachable(self.client.describe(await self.answering(data)))

    async def test_silent_machine_is_given_up(self) -> None:
        """The client does not wait for ever for a server that sends nothing."""
        impatient = PeerClient(reactor, None, describe_timeout_seconds=0.05)
        text = await self.unreachable(impatient.describe(await self.answering(b"")))
        self.assertTrue(text.endswith("can't be asked: no answer in time"), text)

    async def test_request_is_cancelled(self) -> None:
        """A cancelled request leaves nothing behind."""
        self.first.raft.holding = Deferred()
        asked = ensureDeferred(self.client.join(self.first.url, REQUEST))
        await self.first.raft.when(lambda: self.first.raft.joins == [REQUEST])
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        self.first.raft.holding.callback(JoinReply(CLUSTER))

    async def test_request_is_cancelled_before_it_is_connected(self) -> None:
        """A request that is cancelled before it is connected leaves nothing behind."""
        asked = ensureDeferred(self.client.describe(self.first.url))
        asked.cancel()
        await self.assertFailure(asked, CancelledError)


class TwistedTests(MachinesTest):
    """Twisted's own AMP understands the port, and the port understands it."""

    async def setUp(self) -> None:
        await super().setUp()
        address = self.first.address
        self.amp = await connectProtocol(TCP4ClientEndpoint(reactor, address.host, address.port), amp.AMP())
        self.lost: Deferred[None] = Deferred()
        connection_lost = self.amp.connectionLost

        def lost(reason: Failure) -> None:
            connection_lost(reason)
            self.lost.callback(None)

        self.amp.connectionLost = lost
        self.addCleanup(lambda: self.lost)
        self.addCleanup(lambda: self.amp.transport and self.amp.transport.abortConnection())

    async def test_twisted_amp_understands_answers_and_errors(self) -> None:
        self.assertEqual(await self.amp.callRemote(Describe), {"view": VIEW})
        self.first.raft.failing = EtcdError(ErrorCode.NO_MORE_PEER, "machine1", 7)
        error = await self.assertFailure(self.amp.callRemote(Join, request=REQUEST), RefusedError)
        self.assertEqual(error.error().code, ErrorCode.NO_MORE_PEER)

    async def test_twisted_amp_can_send_messages(self) -> None:
        """A member could be written with Twisted's AMP alone."""
        answer = await self.amp.callRemote(Hello, **HELLO)
        self.assertEqual(answer, {"machine_id": FIRST, "commands": list(COMMANDS)})
        come = self.first.raft.when(lambda: len(self.first.raft.payloads) == 3)
        self.amp.callRemote(Deliver, payload=b"short")
        self.amp.callRemote(Deliver, payload=b"x" * 200_000, more=True)
        self.amp.callRemote(Deliver, payload=b"y" * 200_000)
        self.amp.callRemote(Deliver, payload=b"x" * 200_000, more=False)
        await come
        sent = [b"short", b"y" * 200_000, b"x" * 400_000]
        self.assertEqual(self.first.raft.payloads, [(SECOND, payload) for payload in sent])
