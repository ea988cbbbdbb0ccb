"""
Tests of the peer port's answers to machines and strangers, and of what it does about bad input.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.interfaces.cluster import JoinReply
from etcd_twisted.logs.rate_limit import MOST_LINES_PER_PERIOD
from etcd_twisted.peer.boxes import payload_boxes
from etcd_twisted.peer.commands import (
    COMMANDS,
    Deliver,
    Describe,
    Hello,
    Join,
    Leave,
    OfferSnapshot,
    RefusedError,
    SnapshotPiece,
    Status,
)
from etcd_twisted.peer.incoming import MAX_PENDING_REQUESTS, MAX_STRANGER_BOX_BYTES, MAX_STRANGER_REQUESTS
from etcd_twisted.peer.outbox import MAX_QUEUED_BYTES
from etcd_twisted.testing.raft_peer import FIRST, REPORT, SECOND, THIRD, VIEW
from etcd_twisted.testing.replica import OTHER
from tests.logs.lines import Log
from tests.peer.test_commands import REQUEST
from tests.peer.wires import HELLO, TIMEOUT, Served, Visit, question


class IncomingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.served = Served()
        self.addCleanup(self.served.stop)
        self.raft = self.served.raft
        self.log = Log(self)

    def assert_refused(self, visit: Visit, reason: str) -> None:
        """Asserts that one line with the origin and the reason is logged, and that the connection is closed."""
        self.assertTrue(visit.lost)
        self.assertEqual(len(self.log.warnings), 1, self.log.warnings)
        (line,) = self.log.warnings
        self.assertIn("192.168.1.1:54321", line)
        self.assertIn(reason, line)
        self.assertNotIn("\n", line)
        self.assertEqual(self.flushLoggedErrors(), [])


class HelloTests(IncomingTest):
    """Tests of which machines are admitted."""

    def refusal(self, **changes: Any) -> tuple[str, str]:
        """Returns the code and the text of the error that a L{Hello} results in."""
        visit = self.served.visit()
        answer = visit.ask(Hello, **{**HELLO, **changes})
        self.assertEqual(answer[amp.ERROR], b"1")
        self.assert_refused(visit, answer[amp.ERROR_DESCRIPTION].decode())
        self.assertEqual(len(self.served.connected), 0)
        return answer[amp.ERROR_CODE].decode(), answer[amp.ERROR_DESCRIPTION].decode()

    def test_member_is_admitted(self) -> None:
        """A member learns which machine this is, and its messages are accepted."""
        visit = self.served.visit()
        answer = visit.ask(Hello, **HELLO)
        self.assertEqual((answer[amp.ANSWER], answer[b"machine_id"]), (b"1", FIRST.encode()))
        self.assertEqual(Hello.parseResponse(answer, None)["commands"], list(COMMANDS))
        visit.send(next(payload_boxes(b"one")) + next(payload_boxes(b"two")))
        self.assertEqual(self.raft.payloads, [(SECOND, b"one"), (SECOND, b"two")])
        self.assertFalse(visit.lost or self.log.warnings)

    def test_messages_may_come_with_the_hello(self) -> None:
        """The messages may come in one piece with the L{Hello}."""
        self.served.visit().send(question(Hello, **HELLO) + next(payload_boxes(b"x" * 100_000)))
        self.assertEqual(self.raft.payloads, [(SECOND, b"x" * 100_000)])

    def test_member_of_a_newer_configuration_waits_for_confirmation(self) -> None:
        """A machine that claims a newer configuration is not admitted before others confirm it, but may ask again."""
        visit = self.served.visit()
        newer = {**HELLO, "sender": THIRD, "configuration_index": 2}
        self.assertEqual(visit.ask(Hello, **newer)[amp.ERROR_CODE], b"IDLE")
        self.assertEqual((len(self.served.connected), self.log.warnings), (0, []))
        self.raft.members.add(THIRD)
        self.assertEqual(visit.ask(Hello, **newer)[b"machine_id"], FIRST.encode())
        self.assertFalse(visit.lost)

    def test_messages_of_an_unconfirmed_machine_are_refused(self) -> None:
        """They are treated like a stranger's."""
        visit = self.served.visit()
        visit.ask(Hello, **{**HELLO, "sender": THIRD, "configuration_index": 1 << 40})
        visit.send(next(payload_boxes(b"one")))
        self.assertEqual((visit.lost, self.raft.payloads), (True, []))

    def test_hello_in_another_protocol_version_is_refused(self) -> None:
        refused = ("VERSION", "version 1 of the protocol is spoken here, not 2")
        self.assertEqual(self.refusal(version=2), refused)

    def test_hello_of_another_cluster_is_refused(self) -> None:
        """The refusal names the other cluster (spec, "Membership safety")."""
        self.assertEqual(self.refusal(cluster_id="d" * 16)[0], "CLUSTER")

    def test_hello_for_another_machine_is_refused(self) -> None:
        """The other machine's address may now be this one's."""
        self.assertEqual(self.refusal(receiver=THIRD)[0], "MACHINE")

    def test_hello_of_the_machine_itself_is_refused(self) -> None:
        """
        The sender has this machine's id, or a bad one: this machine has connected to its own address, or has a copy.
        """
        self.assertEqual(self.refusal(sender=FIRST)[0], "MACHINE")
        self.log.events.clear()
        self.assertEqual(self.refusal(sender="a\nb" * 1_000)[0], "MACHINE")

    def test_hello_of_a_machine_that_is_not_a_member_is_refused(self) -> None:
        """The sender was removed, or never was a member (spec, "Membership safety")."""
        self.assertEqual(self.refusal(sender=THIRD)[0], "NOT_A_MEMBER")

    def test_hello_to_a_machine_without_a_part_in_consensus(self) -> None:
        """This machine is starting or is a standby, which is not worth a log line."""
        self.raft.machine_id = ""
        visit = self.served.visit()
        self.assertEqual(visit.ask(Hello, **HELLO)[amp.ERROR_CODE], b"IDLE")
        self.assertEqual((len(self.served.connected), self.log.warnings), (0, []))

    def test_second_machine_on_a_connection_is_refused(self) -> None:
        """A connection belongs to one machine."""
        self.raft.members.add(THIRD)
        visit = self.served.admitted()
        self.assertEqual(visit.ask(Hello, **HELLO)[b"machine_id"], FIRST.encode())
        self.assertEqual(visit.ask(Hello, **{**HELLO, "sender": THIRD})[amp.ERROR_CODE], b"MACHINE")
        self.assertTrue(visit.lost)

    def test_newer_connection_replaces_the_older_one(self) -> None:
        older = self.served.admitted()
        newer = self.served.admitted()
        self.assertEqual((older.lost, newer.lost, len(self.served.connected)), (True, False, 1))
        self.assertTrue(self.served.answer(SECOND, b"answer"))
        self.assertEqual([box[b"payload"] for box in newer.boxes()], [b"answer"])
        newer.transport.client_goes()
        self.assertEqual(len(self.served.connected), 0)
        self.assertFalse(self.served.answer(SECOND, b"answer"))

    def test_machine_may_name_its_address(self) -> None:
        """The part that connects to machines learns the address; a machine of an older version names none."""
        named: list[tuple[str, str]] = []
        self.served.connected.on_connect = lambda machine_id, peer_url: named.append((machine_id, peer_url))
        self.served.admitted()
        self.served.visit().ask(Hello, **HELLO, peer_url="http://127.0.0.1:7009")
        self.assertEqual(named, [(SECOND, ""), (SECOND, "http://127.0.0.1:7009")])

    def test_log_lines_have_the_name_of_the_machine(self) -> None:
        """The lines about a machine have its name, unless that contains a line break."""
        for name, shown in (("machine2", "machine2 at"), ("a\nb", f"{SECOND} at")):
            visit = self.served.visit()
            visit.ask(Hello, **{**HELLO, "name": name})
            visit.send(b"\x01\x00")
            self.assertIn(f"from {shown} 192.168.1.1:54321", self.log.warnings[-1])


class MemberTests(IncomingTest):
    """Tests of what members send."""

    def setUp(self) -> None:
        super().setUp()
        self.visit = self.served.admitted()

    def test_wrong_messages_end_the_connection(self) -> None:
        """A payload that Raft does not accept ends the connection, and nothing after it is read."""
        self.visit.send(next(payload_boxes(b"wrong")) + next(payload_boxes(b"right")))
        self.assert_refused(self.visit, "no Raft messages: wrong")
        self.assertEqual(self.raft.payloads, [])

    def test_snapshot_is_received_piece_by_piece(self) -> None:
        """The snapshot is offered and sent piece by piece, and each piece is answered."""
        offer = self.visit.ask(OfferSnapshot, metadata=b"m", head=b"h", size=200_003)
        self.assertEqual(offer[b"offset"], b"0")
        self.assertEqual(self.raft.offers, [(SECOND, b"m", b"h", 200_003)])
        self.assertNotIn(amp.ERROR, self.visit.ask(SnapshotPiece, offset=0, data=b"x" * 200_000))
        self.assertNotIn(amp.ERROR, self.visit.ask(SnapshotPiece, offset=200_000, data=b"end"))
        self.assertEqual(self.raft.snapshot, b"x" * 200_000 + b"end")

    def test_member_gets_the_status(self) -> None:
        """The answer is the status of this machine."""
        self.assertEqual(Status.parseResponse(self.visit.ask(Status), None), {"report": REPORT})

    def test_sender_of_a_refused_snapshot_learns_the_reason(self) -> None:
        """The sender learns the reason, and the connection stays open."""
        self.assertEqual(self.visit.ask(SnapshotPiece, offset=7, data=b"x")[amp.ERROR_CODE], b"SNAPSHOT")
        self.raft.failing = OSError("no space left")
        answer = self.visit.ask(OfferSnapshot, metadata=b"m", head=b"h", size=2)
        self.assertEqual(answer[amp.ERROR_DESCRIPTION], b"no space left")
        self.assertFalse(self.visit.lost or self.log.warnings)

    def test_messages_come_between_snapshot_pieces(self) -> None:
        """A heartbeat is handled while a piece is being written."""
        self.raft.holding = Deferred()
        self.visit.send(question(SnapshotPiece, offset=0, data=b"x") + next(payload_boxes(b"heartbeat")))
        self.assertEqual(self.raft.payloads, [(SECOND, b"heartbeat")])
        self.assertEqual(self.visit.boxes(), [])
        self.raft.holding.callback(None)
        self.assertEqual(self.visit.boxes(), [{amp.ANSWER: b"1"}])

    def test_silent_member_stays_connected(self) -> None:
        """A member may send nothing for hours."""
        self.served.pass_time(10_000)
        self.assertFalse(self.visit.lost)

    def test_members_half_a_box_has_a_time_limit(self) -> None:
        """The rest of a box has to come in time, but a long one that trickles may take longer."""
        box = next(payload_boxes(b"x" * 60_000))
        for start in range(0, 30_000, 1_000):
            self.visit.send(box[start : start + 1_000])
            self.served.pass_time(5)
        self.assertFalse(self.visit.lost)
        self.served.pass_time(12)
        self.assert_refused(self.visit, "half a box, and not the rest of it within 10 s")

    def test_members_half_a_payload_has_a_time_limit(self) -> None:
        """The same limit applies when whole boxes are missing."""
        self.visit.send(next(payload_boxes(b"x" * (3 << 20))))
        self.served.pass_time(12)
        self.assert_refused(self.visit, "half a box")

    def test_member_that_does_not_read_is_given_up(self) -> None:
        """The queue of answers is bounded, and a member that does not read them is disconnected."""
        self.visit.transport.room = 1_000
        sent = 0
        while self.served.answer(SECOND, b"x" * 100_000):
            sent += 100_000
        self.assertLess(sent, MAX_QUEUED_BYTES + 300_000)
        self.assertLess(len(self.visit.transport.value()), 200_000)
        self.served.pass_time(6)
        self.assert_refused(self.visit, "it has read nothing for 5 seconds")
        self.assertEqual(self.raft.lost, [SECOND])

    def test_member_that_reads_late_gets_all_in_order(self) -> None:
        """The answers that were queued come in order."""
        self.visit.transport.room = 1_000
        payloads = [b"%d" % number * 500 for number in range(100)]
        for payload in payloads:
            self.served.answer(SECOND, payload)
        come = []
        while len(come) < len(payloads):
            come += [box[b"payload"] for box in self.visit.boxes()]
            self.visit.transport.client_reads()
        self.assertEqual(come, payloads)

    def test_lost_connection_makes_the_member_unreachable(self) -> None:
        """What was sent to the member may be lost with the connection; if nothing was sent, nothing is lost."""
        self.visit.transport.client_goes()
        self.assertEqual(self.raft.lost, [])
        visit = self.served.admitted()
        self.served.answer(SECOND, b"x")
        visit.transport.client_goes()
        self.assertEqual(self.raft.lost, [SECOND])

    def test_pending_requests_are_bounded(self) -> None:
        self.raft.holding = Deferred()
        for _ in range(MAX_PENDING_REQUESTS):
            self.visit.send(question(Join, request=REQUEST))
        self.assertFalse(self.visit.lost)
        self.visit.send(question(Join, request=REQUEST))
        self.assert_refused(self.visit, "more than 8 requests at once")
        self.raft.holding.callback(JoinReply(""))


class StrangerTests(IncomingTest):
    """Tests of what strangers may ask."""

    def error(self, answer: amp.AmpBox) -> EtcdError:
        self.assertEqual(answer[amp.ERROR_CODE], b"ETCD_ERROR")
        return RefusedError(answer[amp.ERROR_DESCRIPTION].decode()).error()

    def test_stranger_gets_the_view(self) -> None:
        """The view says who is in the cluster."""
        answer = self.served.visit().ask(Describe)
        self.assertEqual(Describe.parseResponse(answer, None), {"view": VIEW})

    def test_stranger_may_join(self) -> None:
        answer = self.served.visit().ask(Join, request=REQUEST)
        self.assertEqual(Join.parseResponse(answer, None), {"reply": JoinReply(self.raft.cluster_id)})
        self.assertEqual(self.raft.joins, [REQUEST])

    def test_refused_join_carries_the_error_over(self) -> None:
        """The error is carried over, and the connection stays open."""
        self.raft.failing = EtcdError(ErrorCode.NO_MORE_PEER, "machine1", 7)
        visit = self.served.visit()
        error = self.error(visit.ask(Join, request=REQUEST))
        self.assertEqual((error.code, error.cause, error.index), (ErrorCode.NO_MORE_PEER, "machine1", 7))
        self.assertFalse(visit.lost or self.log.warnings)

    def test_strangers_join_in_another_version_is_refused(self) -> None:
        """The request has another version of the protocol (spec, "Joining")."""
        visit = self.served.visit()
        answer = visit.ask(Join, request=type(REQUEST)(2, FIRST, "", "machine1", "http://a:1", "http://b:1"))
        self.assertEqual(answer[amp.ERROR_CODE], b"VERSION")
        self.assert_refused(visit, "version 1 of the protocol is spoken here, not 2")
        self.assertEqual(self.raft.joins, [])

    def test_stranger_may_remove_a_machine(self) -> None:
        """A stranger may have a machine removed if this machine can do that."""
        self.served.replica.register(OTHER)
        visit = self.served.visit()
        self.assertEqual(visit.ask(Leave, name=OTHER.name), {amp.ANSWER: b"1"})
        self.assertEqual(self.served.replica.removed, [OTHER.name])
        self.assertEqual(self.error(visit.ask(Leave, name="machine7")).code, ErrorCode.KEY_NOT_FOUND)
        self.raft.failing = RequestDroppedError("another machine leads")
        error = self.error(visit.ask(Leave, name=OTHER.name))
        self.assertEqual((error.code, error.cause), (ErrorCode.RAFT_INTERNAL, "another machine leads"))

    def test_request_without_an_answer(self) -> None:
        """A request may ask for no answer."""
        visit = self.served.visit()
        visit.send(question(Join, tag=None, request=REQUEST))
        visit.send(question(Leave, tag=None, name="machine7"))
        self.assertEqual(visit.boxes(), [])
        self.assertEqual(self.raft.joins, [REQUEST])

    def test_internal_error_is_logged_and_not_revealed(self) -> None:
        """The error is logged as one of this machine, and the other side gets none of its details."""
        self.raft.failing = ZeroDivisionError("secret")
        visit = self.served.visit()
        answer = visit.ask(Join, request=REQUEST)
        self.assertEqual((answer[amp.ERROR_CODE], answer[amp.ERROR_DESCRIPTION]), (b"UNKNOWN", b"an error"))
        self.assertTrue(visit.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_standby_says_where_the_others_are(self) -> None:
        self.raft.machine_id = self.raft.cluster_id = ""
        self.served.replica.stand_by()
        self.assertEqual(Describe.parseResponse(self.served.visit().ask(Describe), None), {"view": VIEW})

    def test_strangers_messages_are_refused(self) -> None:
        visit = self.served.visit()
        visit.send(next(payload_boxes(b"x")))
        self.assert_refused(visit, "messages before it said who it is")
        self.assertEqual(self.raft.payloads, [])

    def test_strangers_requests_for_members_are_refused(self) -> None:
        """Strangers can't send snapshots or ask for the status."""
        for index, box in enumerate(
            (
                question(OfferSnapshot, metadata=b"", head=b"", size=1),
                question(SnapshotPiece, offset=0, data=b"x"),
                question(Status),
            )
        ):
            visit = self.served.visit()
            visit.send(box)
            self.assertTrue(visit.lost)
            self.assertEqual(len(self.log.warnings), min(index + 1, MOST_LINES_PER_PERIOD))
        self.assertEqual((self.raft.offers, self.raft.snapshot), ([], b""))

    def test_strangers_requests_are_limited(self) -> None:
        """A connection may make only a few requests."""
        visit = self.served.visit()
        visit.send(question(Describe) * MAX_STRANGER_REQUESTS)
        self.assertFalse(visit.lost)
        visit.send(question(Describe) * 2)
        self.assert_refused(visit, "more than 32 requests")

    def test_stranger_that_does_not_read_is_not_read(self) -> None:
        """Nothing is read from a stranger that does not read the answers."""
        visit = self.served.visit()
        visit.transport.room = 10
        visit.send(question(Describe))
        self.assertEqual(visit.transport.producerState, "paused")
        visit.transport.client_reads()
        self.assertEqual(visit.transport.producerState, "producing")


class BadPeerTests(IncomingTest):
    """Tests of any other input."""

    def test_garbage_is_logged(self) -> None:
        """Each kind of garbage results in one log line."""
        cases = {
            b"\x00\x00": "a box without a command",
            b"\x00\xff" + b"x" * 255 + b"\xff\xff": "a box of more than 16384 bytes",
            b"\x00\x01a\x00\x01b\x00\x00": "a box without a command",
            b"\x00\x08_command\x00\x03\x01\n\xff\x00\x00": "an unknown command, b'\\x01\\n\\xff'",
            b"\x00\x08_command\x00\x08StartTLS\x00\x00": "an unknown command, b'StartTLS'",
            b"\x00\x08_command\x00\x05Hello\x00\x00": "a Hello that can't be read",
            b"\x00\x07_answer\x00\x011\x00\x00": "a box without a command",
            question(Hello, **HELLO).replace(b"version\x00\x011", b"version\x00\x01x"): "a Hello that can't be read",
            question(Join, request=REQUEST).replace(b"machine1", b"machine\xff"): "a Join that can't be read",
        }
        for data, reason in cases.items():
            visit = self.served.visit()
            visit.send(data)
            self.assert_refused(visit, reason)
            self.log.events.clear()

    def test_half_a_box_and_the_end_is_logged(self) -> None:
        visit = self.served.visit()
        visit.send(question(Hello, **HELLO)[:-10])
        visit.transport.client_goes()
        self.assertEqual(len(self.log.warnings), 1)
        self.assertIn("from 192.168.1.1:54321: half a box, and the end", self.log.warnings[0])

    def test_strangers_half_a_box_has_a_time_limit(self) -> None:
        """A stranger's box has to come in time, even if it trickles."""
        visit = self.served.visit()
        for byte in question(Hello, **HELLO)[:20]:
            visit.send(bytes([byte]))
            self.served.pass_time(1)
        self.assert_refused(visit, "half a box, and not the rest of it within 10 s")

    def test_silent_stranger_is_closed_without_a_line(self) -> None:
        """A stranger that asks nothing more is disconnected, which is not worth a log line."""
        visit = self.served.visit()
        visit.ask(Describe)
        self.served.pass_time(int(TIMEOUT) + 1)
        self.assertTrue(visit.lost)
        self.assertEqual(self.log.warnings, [])

    def test_stranger_may_be_silent_while_it_waits(self) -> None:
        """A stranger may be silent until the answer comes, and for a while after it."""
        self.raft.holding = Deferred()
        visit = self.served.visit()
        visit.send(question(Join, request=REQUEST))
        self.served.pass_time(60)
        self.assertFalse(visit.lost)
        self.raft.holding.callback(JoinReply(""))
        self.assertEqual(len(visit.boxes()), 1)
        self.served.pass_time(8)
        self.assertFalse(visit.lost)
        self.served.pass_time(4)
        self.assertTrue(visit.lost)

    def test_stranger_leaves_before_its_answer(self) -> None:
        """The answer is dropped."""
        self.raft.holding = Deferred()
        visit = self.served.visit()
        visit.send(question(Join, request=REQUEST))
        visit.transport.client_goes()
        self.raft.holding.callback(JoinReply(""))
        self.assertEqual(self.log.warnings, [])

    def test_flood_makes_few_lines(self) -> None:
        """A thousand of the same bad inputs result in a few lines, and other causes get lines of their own."""
        for _ in range(1_000):
            self.served.visit().send(b"\x00\x00")
        self.assertEqual(len(self.log.warnings), MOST_LINES_PER_PERIOD)
        self.assertIn("more like this are not logged for a minute", self.log.warnings[-1])
        self.served.visit().ask(Hello, **{**HELLO, "version": 7})
        self.assertEqual(len(self.log.warnings), MOST_LINES_PER_PERIOD + 1)
        self.served.pass_time(61)
        self.served.visit().send(b"\x00\x00")
        self.assertEqual(len(self.log.warnings), MOST_LINES_PER_PERIOD + 2)

    @given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5), st.booleans())
    def test_any_bytes_of_anybody_do_no_harm(self, pieces: list[bytes], member: bool) -> None:
        """
        Any input results in no traceback, leaves nothing behind, and admits no machine that should not be admitted.
        """
        served = Served()
        try:
            visit = served.admitted() if member else served.visit()
            visit.send(b"\x00" + pieces[0])
            for piece in pieces[1:]:
                if not visit.lost:
                    visit.send(piece)
            held = served.port.connections
            held_bytes = sum(len(each.incoming.reader._rest) for each in held if each.incoming)
            self.assertLess(held_bytes, MAX_STRANGER_BOX_BYTES)
            served.pass_time(int(TIMEOUT) + 3)
            if not member or visit.lost:
                self.assertTrue(visit.lost)
                self.assertEqual((len(served.port.connections), len(served.connected)), (0, 0))
                self.assertEqual(served.raft.payloads, [])
        finally:
            served.stop()
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.data())
    def test_boxes_with_a_few_wrong_bytes_do_no_harm(self, data: st.DataObject) -> None:
        """Boxes with a few wrong bytes do no harm either."""
        right = [question(Hello, **HELLO), question(Join, request=REQUEST), question(Describe),
                 next(payload_boxes(b"x" * 20)), question(OfferSnapshot, metadata=b"m", head=b"h", size=3),
                 question(Deliver, payload=b"x", more=True),
                 question(SnapshotPiece, offset=0, data=b"x" * 30), question(Leave, name="machine7")]  # fmt: skip
        stream = bytearray(b"".join(data.draw(st.lists(st.sampled_from(right), min_size=1, max_size=5))))
        for _ in range(data.draw(st.integers(0, 4))):
            stream[data.draw(st.integers(1, len(stream) - 1))] = data.draw(st.integers(0, 255))
        served = Served()
        try:
            visit = served.visit()
            visit.send(bytes(stream))
            visit.transport.client_goes()
            self.assertEqual((len(served.port.connections), len(served.connected)), (0, 0))
        finally:
            served.stop()
        self.assertEqual(self.flushLoggedErrors(), [])
