"""
Tests of what is sent to one other machine: messages, and what is asked about its status.
"""

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.protocols import amp
from twisted.python.failure import Failure

from etcd_twisted.peer.boxes import payload_boxes
from etcd_twisted.peer.commands import COMMANDS, Hello, Status
from etcd_twisted.peer.outbox import MAX_QUEUED_BYTES
from etcd_twisted.peer.outgoing import OutgoingConnection
from etcd_twisted.testing.raft_peer import REPORT, SECOND, THIRD
from tests.peer.links import CALLED, URL, LinkTest, Other


class StatusTests(LinkTest):
    """Tests of requests for another machine's status."""

    def known(self, commands: list[bytes] | None) -> Other:
        """Returns a machine that is connected, and says which commands it knows."""
        self.connect()
        other = self.succeed()
        (hello,) = other.boxes()
        response = Hello.makeResponse({"machine_id": SECOND, "commands": commands}, None)
        other.send({amp.ANSWER: hello[amp.ASK], **response})
        return other

    def test_status_is_answered(self) -> None:
        other = self.known(list(COMMANDS))
        asked = self.transport.ask_status(SECOND)
        (box,) = other.boxes()
        self.assertEqual(box[amp.COMMAND], b"Status")
        other.send({amp.ANSWER: box[amp.ASK], **Status.makeResponse({"report": REPORT}, None)})
        self.assertEqual(self.successResultOf(asked), REPORT)

    def test_older_version_is_not_asked_for_its_status(self) -> None:
        """An older machine would close the connection at a command that it does not know; everything else works."""
        for commands in (None, [b"Hello", b"Deliver"]):
            other = self.known(commands)
            self.assertIsNone(self.successResultOf(self.transport.ask_status(SECOND)))
            self.assertEqual((other.boxes(), other.transport.how_lost), ([], None))
            self.transport.connect({})
        self.assertEqual(self.log.warnings, [])

    def test_status_fails_if_the_connection_is_lost(self) -> None:
        """The request fails if the connection ends before the answer."""
        other = self.known(list(COMMANDS))
        asked = self.transport.ask_status(SECOND)
        other.protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(asked, ConnectionError)
        self.failureResultOf(self.transport.ask_status(SECOND), ConnectionError)
        self.failureResultOf(self.transport.ask_status(THIRD), ConnectionError)

    def test_status_fails_with_why_there_is_no_connection(self) -> None:
        """The error says why there is no connection."""
        self.connect()
        self.get_nowhere()
        problem = self.failureResultOf(self.transport.ask_status(SECOND), ConnectionError).getErrorMessage()
        (line,) = self.log.warnings
        self.assertIn(f": {problem}; trying again", line)

    def test_late_status_after_a_cancelled_request_is_harmless(self) -> None:
        """An answer that nobody waits for any more does not close the connection."""
        other = self.known(list(COMMANDS))
        asked = self.transport.ask_status(SECOND)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        (box,) = other.boxes()
        other.send({amp.ANSWER: box[amp.ASK], **Status.makeResponse({"report": REPORT}, None)})
        self.assertIsNone(other.transport.how_lost)

    def test_machine_that_only_connected_itself_has_no_status(self) -> None:
        """A machine that has only made a connection itself is there, but can't be sent requests."""
        self.connect()
        self.transport.connected.add(SECOND, OutgoingConnection(self.reactor))
        self.assertIsNone(self.successResultOf(self.transport.ask_status(SECOND)))


class MessageTests(LinkTest):
    """Tests of which messages are sent, and which are dropped."""

    def test_messages_go_in_order(self) -> None:
        """The messages go to the machine that they are for."""
        other = self.connected()
        for number in range(10):
            self.transport.send(SECOND, b"%d" % number)
        self.assertEqual(other.payloads(), [b"%d" % number for number in range(10)])
        self.assertEqual(self.raft.lost, [])

    def test_messages_come_back_on_the_same_connection(self) -> None:
        """A machine that does not know this machine's address may answer on the connection."""
        other = self.connected()
        other.protocol.dataReceived(next(payload_boxes(b"answer")))
        self.assertEqual(self.raft.payloads, [(SECOND, b"answer")])
        other.protocol.dataReceived(next(payload_boxes(b"wrong")))
        self.assertEqual(other.transport.how_lost, "aborted")
        line = f"{CALLED} is not connected any more: no Raft messages: wrong; trying again"
        self.assertEqual(self.log.warnings, [line])

    def test_messages_before_the_hello_are_dropped(self) -> None:
        """Messages before the hello are dropped, which is reported once."""
        self.connect()
        self.transport.send(SECOND, b"one")
        self.transport.send(SECOND, b"two")
        self.assertEqual(self.raft.lost, [SECOND])
        other = self.succeed()
        other.answer()
        self.assertEqual(other.boxes(), [])
        self.transport.send(SECOND, b"three")
        self.assertEqual(other.payloads(), [b"three"])

    def test_each_burst_of_drops_is_reported(self) -> None:
        """Drops are reported again if a message was sent since the last report."""
        other = self.connected()
        for count in range(1, 4):
            self.transport.send(SECOND, b"sent")
            other.transport.client_goes()
            self.transport.send(SECOND, b"dropped")
            self.transport.send(SECOND, b"dropped")
            self.assertEqual(self.raft.lost, [SECOND] * count)
            self.reactor.advance(1)
            other = self.succeed()
            other.answer()

    def test_lost_connection_reports_the_last_messages(self) -> None:
        """The messages that were sent last may be lost with the connection; if none were sent, none are lost."""
        self.connected().transport.client_goes()
        self.assertEqual(self.raft.lost, [])
        self.reactor.advance(1)
        other = self.succeed()
        other.answer()
        self.transport.send(SECOND, b"x")
        other.transport.client_goes()
        self.assertEqual(self.raft.lost, [SECOND])

    def test_link_to_a_machine_that_does_not_read_is_given_up(self) -> None:
        """
        A bounded number of bytes is queued, then messages are dropped, and after a while the connection is closed.
        """
        other = self.connected()
        other.transport.room = 10_000
        for _ in range(300):
            self.transport.send(SECOND, b"x" * 100_000)
        self.assertEqual(self.raft.lost, [SECOND])
        self.assertLess(len(other.transport.value()), 300_000)
        self.pass_time(4)
        self.assertIs(other.transport.how_lost, None)
        self.pass_time(2)
        self.assertEqual(other.transport.how_lost, "aborted")
        self.assertIn("it has read nothing for 5 seconds", self.log.warnings[0])

    def test_slow_reader_gets_all_in_order(self) -> None:
        """What was queued comes in order, and the connection stays open however long it takes."""
        other = self.connected()
        other.transport.room = 10_000
        sent = [b"%d " % number * 5_000 for number in range(100)]
        for payload in sent:
            self.transport.send(SECOND, payload)
        come: list[bytes] = []
        while len(come) < len(sent):
            come += other.payloads()
            self.pass_time(4)
            other.transport.client_reads()
        self.assertTrue(come == sent)
        self.assertEqual(self.raft.lost, [])

    def test_long_payload_is_taken_whole(self) -> None:
        """
        A payload that is being sent does not count, and one behind it is accepted whole when little is queued. Short
        ones are not lost meanwhile, because their sender would begin anew.
        """
        other = self.connected()
        other.transport.room = 10_000
        long = b"x" * (2 * MAX_QUEUED_BYTES)
        for payload in (long, b"y", long, b"z"):
            self.transport.send(SECOND, payload)
        self.assertEqual(self.raft.lost, [])
        self.transport.send(SECOND, long)
        self.assertEqual(self.raft.lost, [SECOND])
        come = b""
        while len(come) < 2 * len(long) + 2:
            come += b"".join(other.payloads())
            other.transport.client_reads()
        self.assertTrue(come == long + b"y" + long + b"z")

    def test_heartbeat_goes_ahead_of_a_long_payload(self) -> None:
        """A heartbeat goes between the boxes of a long payload, and ahead of what is queued behind that."""
        other = self.connected()
        other.transport.room = 10_000
        self.transport.send(SECOND, b"x" * 1_000_000)
        self.transport.send(SECOND, b"y")
        self.transport.send_ahead(SECOND, b"beat")
        come: list[bytes] = []
        while b"y" not in come:
            come += other.payloads()
            other.transport.client_reads()
        self.assertEqual([come.index(b"beat"), come.index(b"y")], [1, len(come) - 1])

    def test_heartbeat_without_a_connection_is_lost(self) -> None:
        """A heartbeat can be lost like every other message."""
        self.connect()
        self.transport.send_ahead(SECOND, b"beat")
        self.transport.send_ahead(THIRD, b"beat")
        self.assertEqual(self.raft.lost, [SECOND, THIRD])

    def test_unknown_machine_gets_no_messages(self) -> None:
        """A machine whose address is unknown and that is not connected can't be sent anything."""
        self.transport.send(THIRD, b"x")
        self.assertEqual(self.raft.lost, [THIRD])


class EndTests(LinkTest):
    """Tests of links that are no longer needed."""

    def test_machine_with_a_new_url_is_dialed_there(self) -> None:
        other = self.connected()
        self.transport.connect({SECOND: "http://127.0.0.1:7003"})
        self.assertEqual(other.transport.how_lost, "closed")
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("127.0.0.1", 7003))
        self.succeed().answer()

    def test_machine_with_the_same_url_keeps_its_connection(self) -> None:
        other = self.connected()
        self.connect()
        self.transport.connect({SECOND: URL, THIRD: "http://127.0.0.1:7003"})
        self.assertIs(other.transport.how_lost, None)
        self.assertEqual(self.attempts, 2)

    def test_stopped_link_sends_what_waits(self) -> None:
        """
        A connection is closed when everything is sent, because the last message may be the one that transfers the
        leadership.
        """
        other = self.connected()
        other.transport.room = 10
        self.transport.send(SECOND, b"x" * 100)
        self.transport.send(SECOND, b"hand over")
        self.transport.connect({})
        self.assertEqual(other.payloads(), [b"x" * 100, b"hand over"])
        self.assertEqual(other.transport.how_lost, "closed")

    def test_link_can_be_stopped_at_any_time(self) -> None:
        """A link leaves nothing behind, in whatever state it is stopped."""

        def trying() -> None:
            self.connect()

        def greeting() -> None:
            self.connect()
            self.succeed()

        def waiting() -> None:
            self.connect()
            self.get_nowhere()

        for state in (trying, greeting, waiting, self.connected, lambda: None):
            state()
            self.successResultOf(self.stop())
            self.assertEqual(self.reactor.getDelayedCalls(), [], state)
        self.assertEqual(self.raft.lost, [])
