"""
Tests of the transport between two machines, on real sockets.
"""

import socket

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from etcd_twisted.errors import CannotForwardError, RequestDroppedError
from etcd_twisted.peer.commands import SnapshotError
from etcd_twisted.peer.outgoing import AnswerError, DisconnectedError, OutgoingConnection
from etcd_twisted.peer.transport import SNAPSHOT_PIECE_BYTES
from etcd_twisted.testing.raft_peer import FIRST, REPORT, SECOND, THIRD, FakeSnapshotFile
from tests.logs.lines import Log
from tests.peer.machines import MachinesTest, Relay


class MessageTests(MachinesTest):
    """Tests of messages."""

    async def test_messages_go_both_ways(self) -> None:
        """Each machine sends over its own connection."""
        self.connect()
        self.second.transport.connect({FIRST: self.first.url})
        await self.when_it_comes(b"hello")
        self.second.transport.send(FIRST, b"hello to you")
        await self.first.raft.when(lambda: (SECOND, b"hello to you") in self.first.raft.payloads)

    async def test_machine_without_addresses_answers_on_the_connection(self) -> None:
        """A machine that knows nobody's address answers over the connection that the other one made."""
        self.connect()
        await self.when_it_comes(b"hello")
        self.second.transport.send(FIRST, b"answer")
        await self.first.raft.when(lambda: self.first.raft.payloads == [(SECOND, b"answer")])

    async def test_messages_go_in_the_same_turn(self) -> None:
        """What the system has room for is not kept for the next turn of the reactor, and the order stays."""
        self.connect()
        await self.when_it_comes(b"hello")
        connection = self.first.transport._links[SECOND].connection
        assert connection is not None
        self.first.transport.send(SECOND, b"now")
        self.assertNotIn(connection.transport, reactor.getWriters())
        sent = [b"now", b"1" * (16 << 20), b"2"]
        come = self.second.raft.when(lambda: self.second.raft.payloads[-1][1] == sent[-1])
        for payload in sent[1:]:
            self.first.transport.send(SECOND, payload)
        self.assertIn(connection.transport, reactor.getWriters())
        await come
        self.assertTrue([each for _, each in self.second.raft.payloads if each != b"hello"] == sent)

    async def test_messages_of_all_sizes_come_in_order(self) -> None:
        """The messages come unchanged."""
        self.connect()
        await self.when_it_comes(b"hello")
        sizes = [0, 1, 200, 65_535, 65_536, 200_000, 3, 1 << 20, (1 << 20) + 7, 20 << 20, 5]
        sent = [bytes([size % 251]) * size for size in sizes]
        come = self.second.raft.when(lambda: self.second.raft.payloads[-1][1] == sent[-1])
        for payload in sent:
            while not self._waits_for_little():
                await deferLater(reactor, 0.001, lambda: None)
            self.first.transport.send(SECOND, payload)
        await come
        payloads = [payload for _, payload in self.second.raft.payloads if payload != b"hello"]
        self.assertTrue(payloads == sent)
        self.assertEqual(self.first.raft.lost, [SECOND])  # reported before the connection was made

    def _waits_for_little(self) -> bool:
        connection = self.first.transport._links[SECOND].connection
        return connection is not None and connection._outbox.queued_bytes < 1_000_000

    async def test_machine_at_a_foreign_address_gets_nothing(self) -> None:
        """Nothing is sent to a machine that now has the address of another one."""
        log = Log(self)
        self.second.raft.machine_id = THIRD
        self.connect()
        while len(log.warnings) < 2:
            await deferLater(reactor, 0.005, lambda: None)
        self.first.transport.send(SECOND, b"x")
        self.assertEqual((self.first.raft.lost, self.second.raft.payloads), ([SECOND], []))
        self.assertEqual(len(log.warnings), 2, log.warnings)

    async def test_machine_that_was_removed_is_notified(self) -> None:
        self.connect()
        await self.when_it_comes(b"hello")
        self.second.raft.members.remove(FIRST)
        await self.second.close_port()
        await self.second.start()
        await self.first.raft.when(lambda: self.first.raft.exclusions > 0)


class ReconnectTests(MachinesTest):
    """Tests of lost connections."""

    async def test_machine_that_returns_is_found(self) -> None:
        self.connect()
        await self.when_it_comes(b"before")
        lost = self.first.raft.when(lambda: len(self.first.raft.lost) > 1)
        await self.second.close_port()
        await lost
        self.first.transport.send(SECOND, b"dropped")
        await self.second.start()
        await self.when_it_comes(b"after")
        self.assertNotIn((FIRST, b"dropped"), self.second.raft.payloads)

    async def test_machine_that_returns_and_connects_is_answered_at_once(self) -> None:
        """The machine is answered as soon as it has connected, however long this machine would have paused."""
        self.connect()
        self.second.transport.connect({FIRST: self.first.url})
        await self.when_it_comes(b"before")
        await self.second.close_port()
        link = self.first.transport._links[SECOND]
        while link._backoff._next < 1.0:
            await deferLater(reactor, 0.01, lambda: None)
        come = self.first.raft.when(lambda: (SECOND, b"I am back") in self.first.raft.payloads)
        self.second.transport.connect({})
        self.second.transport.connect({FIRST: self.first.url})
        while not come.called:
            self.second.transport.send(FIRST, b"I am back")
            await deferLater(reactor, 0.005, lambda: None)
        answered = self.second.raft.when(lambda: (FIRST, b"welcome") in self.second.raft.payloads)
        self.first.transport.send(SECOND, b"welcome")
        await answered

    async def test_machine_is_found_at_its_new_address(self) -> None:
        self.connect()
        await self.when_it_comes(b"before")
        relay = Relay(self.second.address)
        self.addCleanup(relay.stop)
        self.first.transport.connect({SECOND: await relay.start()})
        await self.when_it_comes(b"after")
        self.assertEqual(relay.connections, 1)

    async def test_cut_connection_is_made_again(self) -> None:
        """A connection that was cut is made again almost at once."""
        relay = Relay(self.second.address)
        self.addCleanup(relay.stop)
        self.first.transport.connect({SECOND: await relay.start()})
        await self.when_it_comes(b"before")
        relay.cut()
        await self.when_it_comes(b"after")
        self.assertEqual(relay.connections, 2)

    async def test_connection_that_swallows_everything_is_given_up(self) -> None:
        """A connection that accepts no more bytes costs bounded memory, and is closed."""
        relay = Relay(self.second.address)
        self.addCleanup(relay.stop)
        self.first.transport.connect({SECOND: await relay.start()})
        await self.when_it_comes(b"before")
        self.first.raft.lost.clear()
        relay.stop_reading()
        again = self.second.raft.when(lambda: (FIRST, b"after") in self.second.raft.payloads)
        while not self.first.raft.lost:
            self.first.transport.send(SECOND, b"x" * 1_000_000)
            await deferLater(reactor, 0.001, lambda: None)
        connection = self.first.transport._links[SECOND].connection
        if connection is not None:
            self.assertLess(connection._outbox.queued_bytes, 10_000_000)
        while not again.called:
            self.first.transport.send(SECOND, b"after")
            await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual(relay.connections, 2)


class StatusTests(MachinesTest):
    """Tests of requests for another machine's status."""

    async def test_status_is_answered_until_the_machine_is_gone(self) -> None:
        self.connect()
        await self.when_it_comes(b"hello")
        self.assertEqual(await self.first.transport.ask_status(SECOND), REPORT)
        await self.second.close_port()
        while self.first.transport._links[SECOND].connection is not None:
            await deferLater(reactor, 0.005, lambda: None)
        await self.assertFailure(self.first.transport.ask_status(SECOND), ConnectionError)


class SocketTests(MachinesTest):
    """Tests of socket options."""

    async def test_socket_options_are_set(self) -> None:
        """Small messages go at once, and a connection ends soon if the other side is silent."""
        self.connect()
        await self.when_it_comes(b"hello")
        seen = 0
        for reader in reactor.getReaders():
            if isinstance(reader, Connection):
                handle = reader.getHandle()
                seen += 1
                self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 2_000)
                self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertEqual(seen, 2)


class SnapshotTests(MachinesTest):
    """Tests of snapshots."""

    CONTENT = bytes(range(256)) * (5 * SNAPSHOT_PIECE_BYTES // 256) + b"the end"

    async def setUp(self) -> None:
        await super().setUp()
        self.file = FakeSnapshotFile(self.CONTENT)
        self.connect()
        await self.when_it_comes(b"hello")

    def send(self) -> "Deferred[None]":
        return self.first.transport.send_snapshot(SECOND, self.file)

    async def test_snapshot_is_sent_whole(self) -> None:
        """The file is sent in pieces, and closed at the end."""
        await self.send()
        self.assertTrue(self.second.raft.snapshot == self.CONTENT)
        self.assertEqual((self.file.closed, self.file.reads), (1, 6))
        self.assertEqual(self.second.raft.offers, [(FIRST, b"metadata", self.CONTENT[:16], len(self.CONTENT))])

    async def test_rest_of_a_snapshot_is_sent(self) -> None:
        """What the receiver has already is not sent again."""
        self.second.raft.snapshot = self.CONTENT[: 3 * SNAPSHOT_PIECE_BYTES + 5]
        await self.send()
        self.assertTrue(self.second.raft.snapshot == self.CONTENT)
        self.assertEqual(self.file.reads, 2 + 1)

    async def test_complete_snapshot_is_not_sent_again(self) -> None:
        self.second.raft.snapshot = self.CONTENT
        await self.send()
        self.assertEqual((self.file.closed, self.file.reads), (1, 0))

    async def test_messages_go_between_the_pieces_of_a_snapshot(self) -> None:
        """A message does not wait for the piece that is being written, nor for later ones."""
        self.second.raft.holding = Deferred()
        first_piece = self.second.raft.when(lambda: len(self.second.raft.snapshot) == SNAPSHOT_PIECE_BYTES)
        sent = self.send()
        await first_piece
        await self.when_it_comes(b"heartbeat")
        self.assertEqual((len(self.second.raft.snapshot), sent.called), (SNAPSHOT_PIECE_BYTES, False))
        holding, self.second.raft.holding = self.second.raft.holding, None
        holding.callback(None)
        await sent

    async def test_refused_snapshot_says_why(self) -> None:
        self.second.raft.failing = ValueError("another snapshot is being taken")
        error = await self.assertFailure(self.send(), SnapshotError)
        self.assertEqual((str(error), self.file.closed), ("another snapshot is being taken", 1))

    async def test_snapshot_goes_on_after_a_lost_connection(self) -> None:
        """The sender learns that the connection is lost, and continues on the next one."""
        self.second.raft.holding = Deferred()
        first_piece = self.second.raft.when(lambda: len(self.second.raft.snapshot) == SNAPSHOT_PIECE_BYTES)
        sent = self.assertFailure(self.send(), DisconnectedError)
        await first_piece
        await self.second.close_port()
        await sent
        self.assertEqual(self.file.closed, 1)
        self.second.raft.holding.callback(None)
        self.second.raft.holding = None
        await self.second.start()
        await self.when_it_comes(b"back again")
        self.file = FakeSnapshotFile(self.CONTENT)
        await self.send()
        self.assertTrue(self.second.raft.snapshot == self.CONTENT)

    async def test_cancelled_snapshot_keeps_the_connection(self) -> None:
        """The transfer is cancelled, and the connection stays open."""
        self.second.raft.holding = Deferred()
        first_piece = self.second.raft.when(lambda: len(self.second.raft.snapshot) == SNAPSHOT_PIECE_BYTES)
        sent = self.send()
        await first_piece
        sent.cancel()
        await self.assertFailure(sent, CancelledError)
        self.assertEqual(self.file.closed, 1)
        self.second.raft.holding.callback(None)
        await self.when_it_comes(b"heartbeat")
        self.assertEqual(len(self.second.raft.snapshot), SNAPSHOT_PIECE_BYTES)

    async def test_snapshot_to_an_unknown_machine_fails(self) -> None:
        """A machine that is not connected, or not known, can't be sent a snapshot."""
        for machine_id in (THIRD, SECOND):
            self.first.transport.connect({})
            file = FakeSnapshotFile(self.CONTENT)
            await self.assertFailure(self.first.transport.send_snapshot(machine_id, file), DisconnectedError)
            self.assertEqual(file.closed, 1)

    async def test_snapshot_file_that_ends_early_is_an_error(self) -> None:
        """A file that ends too early is an error, not an endless loop."""
        self.file = FakeSnapshotFile(b"short", size=100)
        await self.assertFailure(self.send(), EOFError)

    async def test_offer_beyond_the_end_of_a_snapshot_is_an_error(self) -> None:
        """The machine claims to have more than there is."""
        self.second.raft.snapshot = b"x" * (len(self.CONTENT) + 1)
        await self.assertFailure(self.send(), AnswerError)
        self.assertEqual(self.file.closed, 1)


class ForwardingTests(MachinesTest):
    """Requests that one machine forwards to another."""

    async def connected(self) -> OutgoingConnection:
        """Connects the first machine to the second, and returns the connection once it is made."""
        self.connect()
        await self.when_it_comes(b"hello")
        connection = self.first.transport._links[SECOND].connection
        assert connection is not None
        return connection

    def hold(self) -> "list[Deferred[bytes]]":
        """Has the answers of the second machine wait; returns a list to which they are added as requests come."""
        held: list[Deferred[bytes]] = []

        def forwarded(_: str, request: bytes) -> "Deferred[bytes]":
            held.append(Deferred())
            self.second.raft.requests.append(request)
            self.second.raft.look()
            return held[-1].addErrback(self._note)

        self.ended: Deferred[type[BaseException]] = Deferred()
        self.patch(self.second.raft, "forwarded", forwarded)
        return held

    def _note(self, failure: Failure) -> Failure:
        self.ended.callback(failure.type)
        return failure

    async def test_request_is_answered(self) -> None:
        await self.connected()
        self.assertEqual(await self.first.transport.forward(SECOND, b"request"), b"answer to request")
        self.assertEqual(self.second.raft.requests, [b"request"])

    async def test_long_request_goes_in_parts(self) -> None:
        """Short ones overtake it."""
        await self.connected()
        long = b"x" * 3_000_000
        answers = [self.first.transport.forward(SECOND, each) for each in (long, b"short")]
        self.assertEqual(await answers[0], b"answer to " + long[:100])
        self.assertEqual(await answers[1], b"answer to short")
        self.assertEqual(self.second.raft.requests, [b"short", long])

    async def test_many_requests_wait_at_once(self) -> None:
        """Their number is not limited as that of other requests is."""
        await self.connected()
        held = self.hold()
        answers = [self.first.transport.forward(SECOND, b"%d" % number) for number in range(100)]
        await self.second.raft.when(lambda: len(held) == len(answers))
        for number, each in reversed(list(enumerate(held))):
            each.callback(b"answer %d" % number)
        self.assertEqual([await each for each in answers], [b"answer %d" % number for number in range(100)])

    async def test_withdrawn_request_is_cancelled(self) -> None:
        """The connection goes on."""
        await self.connected()
        held = self.hold()
        answer = self.first.transport.forward(SECOND, b"request")
        await self.second.raft.when(lambda: bool(held))
        answer.cancel()
        await self.assertFailure(answer, CancelledError)
        self.assertIs(await self.ended, CancelledError)
        another = self.first.transport.forward(SECOND, b"another")
        await self.second.raft.when(lambda: len(held) > 1)
        held[1].callback(b"done")
        self.assertEqual(await another, b"done")

    async def test_lost_connection(self) -> None:
        """Nobody knows what became of the request, and the other machine withdraws it."""
        connection = await self.connected()
        held = self.hold()
        answer = self.first.transport.forward(SECOND, b"request")
        await self.second.raft.when(lambda: bool(held))
        connection.abort()
        await self.assertFailure(answer, ConnectionError)
        self.assertIs(await self.ended, CancelledError)

    async def test_nothing_is_sent_without_a_connection(self) -> None:
        await self.assertFailure(self.first.transport.forward(SECOND, b"request"), RequestDroppedError)

    async def test_earlier_version(self) -> None:
        """It would close the connection if it were asked."""
        connection = await self.connected()
        connection.commands = frozenset({b"Status"})
        await self.assertFailure(self.first.transport.forward(SECOND, b"request"), CannotForwardError)
        self.assertEqual(self.second.raft.requests, [])
