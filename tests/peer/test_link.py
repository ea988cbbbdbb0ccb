"""
Tests of the connection to one other machine, on a fake clock: when attempts are made, which messages are dropped, and
what is reported.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.error import ConnectionRefusedError as RefusedByHostError
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from etcd_twisted.interfaces import ITransport
from etcd_twisted.net.backoff import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from etcd_twisted.peer.boxes import payload_boxes
from etcd_twisted.peer.commands import COMMANDS, Deliver, Hello, Status
from etcd_twisted.peer.link import REFUSED_PAUSE_SECONDS
from etcd_twisted.peer.outbox import MAX_QUEUED_BYTES
from etcd_twisted.peer.outgoing import OutgoingConnection
from etcd_twisted.peer.transport import AmpTransport
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, REPORT, SECOND, THIRD, FakeRaftPeer
from tests.logs.lines import Log
from tests.wires import Transport

URL = "http://127.0.0.1:7002"
CALLED = "the one of id 2"


class Other:
    """The other machine's end of a connection that this machine has made."""

    def __init__(self, factory: Any) -> None:
        protocol = factory.buildProtocol(None)
        self.protocol = protocol
        self.transport = Transport(protocol)
        protocol.makeConnection(self.transport)

    def boxes(self) -> list[amp.AmpBox]:
        """Returns the boxes that have come since the last call."""
        read: list[amp.AmpBox] = amp.parseString(self.transport.value())
        self.transport.clear()
        return read

    def payloads(self) -> list[bytes]:
        """Returns the payloads that have come since the last call."""
        return [Deliver.parseArguments(box, None)["payload"] for box in self.boxes()]

    def answer(self, machine_id: str = SECOND) -> dict[str, Any]:
        """Accepts the greeting, and says which machine this is."""
        (hello,) = self.boxes()
        self.send({amp.ANSWER: hello[amp.ASK], b"machine_id": machine_id.encode()})
        return Hello.parseArguments(hello, None)

    def refuse(self, code: bytes, text: bytes = b"no") -> None:
        """Refuses the greeting."""
        (hello,) = self.boxes()
        self.send({amp.ERROR: hello[amp.ASK], amp.ERROR_CODE: code, amp.ERROR_DESCRIPTION: text})

    def send(self, box: dict[bytes, bytes]) -> None:
        """Sends a box."""
        self.protocol.dataReceived(amp.AmpBox(box).serialize())


class LinkTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.raft = FakeRaftPeer(FIRST)
        self.transport = AmpTransport(self.reactor, self.raft, None, lambda: "machine1", chance=lambda: 1.0)
        self.log = Log(self)

    def connect(self) -> None:
        self.transport.connect({SECOND: URL})

    @property
    def attempts(self) -> int:
        return len(self.reactor.tcpClients)

    def get_nowhere(self) -> None:
        """Makes the last attempt fail."""
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(RefusedByHostError()))

    def succeed(self) -> Other:
        """Makes the last attempt succeed."""
        return Other(self.reactor.tcpClients[-1][2])

    def connected(self) -> Other:
        """Returns a machine that is connected and identified."""
        self.connect()
        other = self.succeed()
        other.answer()
        return other

    def stop(self) -> "Deferred[None]":
        return ensureDeferred(self.transport.stop())

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.reactor.advance(1)


class AttemptTests(LinkTest):
    """Tests of when attempts to connect are made."""

    def test_transport_provides_its_interface(self) -> None:
        verifyObject(ITransport, self.transport)

    def test_hello_is_sent_at_once(self) -> None:
        """The hello has everything that the other machine has to know."""
        self.connect()
        host, port, *_ = self.reactor.tcpClients[0]
        self.assertEqual((host, port), ("127.0.0.1", 7002))
        other = self.succeed()
        expected = {"version": 1, "cluster_id": CLUSTER, "sender": FIRST, "name": "machine1", "receiver": SECOND,
                    "configuration_index": 1}  # fmt: skip
        self.assertEqual(other.answer(), expected)
        self.assertEqual(self.log.warnings, [])

    def test_attempts_become_rarer(self) -> None:
        """Attempts come soon, then less often, but at least once a second, and one line is logged about them."""
        self.connect()
        pauses = []
        for _ in range(10):
            self.get_nowhere()
            before, attempts = self.reactor.seconds(), self.attempts
            while self.attempts == attempts:
                self.reactor.advance(0.01)
            pauses.append(round(self.reactor.seconds() - before, 2))
        self.assertApproximates(pauses[0], FIRST_PAUSE_SECONDS, 0.02)
        self.assertEqual(pauses, sorted(pauses))
        self.assertApproximates(pauses[-1], LONGEST_PAUSE_SECONDS, 0.02)
        reason = "the connection was refused, so it may not be running"
        self.assertEqual(self.log.warnings, [f"Can't connect to {CALLED}: {reason}; trying again"])

    def test_lost_connection_is_made_again(self) -> None:
        """A lost connection is made again almost at once."""
        other = self.connected()
        self.pass_time(2)
        other.transport.client_goes()
        self.assertEqual(self.attempts, 1)
        self.reactor.advance(FIRST_PAUSE_SECONDS)
        self.assertEqual(self.attempts, 2)

    def test_log_says_that_a_machine_is_gone_and_back(self) -> None:
        """One line names the machine that is gone and what may have happened, and another one says when it is back."""
        other = self.connected()
        self.pass_time(2)
        other.transport.client_goes()
        gone = "is not connected any more: it closed the connection, so it may have been stopped; trying again"
        self.assertEqual(self.log.warnings, [f"{CALLED} {gone}"])
        for _ in range(5):
            self.get_nowhere()
            self.pass_time(2)
        back = self.log.when_said(f"Connected to {CALLED} again, after 10 s")
        self.succeed().answer()
        self.successResultOf(back)

    def test_connection_that_is_lost_at_once_is_not_retried_at_once(self) -> None:
        """A connection that is lost as soon as it is made is not made a hundred times a second."""
        self.connect()
        for _ in range(8):
            other = self.succeed()
            other.answer()
            other.transport.client_goes()
            self.reactor.advance(1)
        self.assertEqual(self.attempts, 9)
        self.succeed().answer()

    def test_hello_without_an_answer_times_out(self) -> None:
        """A machine that does not answer the hello is disconnected."""
        self.connect()
        other = self.succeed()
        self.pass_time(3)
        self.assertEqual(other.transport.how_lost, "aborted")
        self.assertEqual(self.log.warnings, [f"Can't connect to {CALLED}: no answer in time; trying again"])
        self.assertEqual(self.attempts, 2)

    def test_unexpected_machine_gets_nothing(self) -> None:
        """A machine other than the expected one is sent nothing."""
        self.connect()
        other = self.succeed()
        other.answer(THIRD)
        self.assertEqual(other.transport.how_lost, "aborted")
        self.transport.send(SECOND, b"x")
        self.assertEqual((other.boxes(), self.raft.lost), ([], [SECOND]))

    def test_garbage_instead_of_an_answer_ends_the_attempt(self) -> None:
        """Whatever answers is no machine."""
        for data in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00", b"\x00\x07_answer\x00\x011\x00\x00",
                     b"\x00\x06_error\x00\x011\x00\x00", next(payload_boxes(b"x"))):  # fmt: skip
            self.connect()
            other = self.succeed()
            other.protocol.dataReceived(data)
            self.assertEqual(other.transport.how_lost, "aborted", data)
            self.successResultOf(self.stop())
        self.assertEqual(len(self.log.warnings), 5, self.log.warnings)
        self.assertEqual(self.raft.payloads, [])

    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.booleans())
    def test_any_bytes_from_the_other_side_do_no_harm(self, pieces: list[bytes], zero: bool) -> None:
        """Any bytes instead of an answer or after it cause no traceback, and leave nothing behind."""
        self.connect()
        other = self.succeed()
        if zero:
            other.answer()
        for piece in pieces:
            if other.transport.how_lost is None:
                other.protocol.dataReceived(b"\x00" * zero + piece)
        self.successResultOf(self.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_refused_machine_tries_less_often(self) -> None:
        """A machine that refuses this one is tried again, but not so often."""
        for code in (b"VERSION", b"CLUSTER", b"MACHINE"):
            self.connect()
            self.succeed().refuse(code)
            attempts = self.attempts
            self.reactor.advance(REFUSED_PAUSE_SECONDS - 0.1)
            self.assertEqual(self.attempts, attempts)
            self.reactor.advance(0.1)
            self.assertEqual(self.attempts, attempts + 1)
            self.transport.connect({})
        line = f"Can't connect to {CALLED}: it refuses this machine: no; trying again"
        self.assertEqual(self.log.warnings, [line] * 3)
        self.assertEqual(self.raft.exclusions, 0)

    def test_removed_machine_is_notified(self) -> None:
        """This machine learns that it was removed."""
        self.connect()
        self.succeed().refuse(b"NOT_A_MEMBER")
        self.assertEqual(self.raft.exclusions, 1)

    def test_idle_machine_is_tried_again_soon(self) -> None:
        """A machine that does not take part in consensus yet is tried again soon."""
        self.connect()
        self.succeed().refuse(b"IDLE")
        self.reactor.advance(FIRST_PAUSE_SECONDS)
        self.assertEqual((self.attempts, self.log.warnings), (2, []))

    def test_machine_that_has_connected_is_tried_at_once(self) -> None:
        """A machine that has made a connection itself is there, so there is no need to wait."""
        self.connect()
        for _ in range(10):
            self.get_nowhere()
            self.reactor.advance(1)
        self.get_nowhere()
        attempts = self.attempts
        self.transport.connected.on_connect(SECOND)
        self.assertEqual(self.attempts, attempts + 1)
        self.transport.connected.on_connect(SECOND)
        self.transport.connected.on_connect(THIRD)
        self.assertEqual(self.attempts, attempts + 1)

    def test_internal_error_of_a_link_is_logged(self) -> None:
        """The error is logged as one of this machine, and the link goes on."""

        def broken() -> None:
            raise ZeroDivisionError

        self.patch(self.raft, "excluded", broken)
        self.connect()
        self.succeed().refuse(b"NOT_A_MEMBER")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.advance(1)
        self.succeed().answer()

    def test_unusable_url_is_logged_and_not_tried(self) -> None:
        """One line is logged, and no attempt is made."""
        urls = ("nonsense", "http://127.0.0.1", "ftp://127.0.0.1:21", "http://[::1:7", "https://127.0.0.1:7002")
        for url in urls:
            self.transport.connect({SECOND: url})
        self.assertEqual((len(self.log.warnings), self.attempts), (len(urls), 0))
        self.assertIn("asks for TLS, for which this machine has no certificate", self.log.warnings[-1])

    def test_ipv6_address_is_dialed(self) -> None:
        self.transport.connect({SECOND: "http://[::1]:7002"})
        self.assertEqual(self.reactor.tcpClients[0][:2], ("::1", 7002))


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
