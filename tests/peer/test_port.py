"""
Tests of one port for two protocols, and of the limits on its connections.
"""

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL.SSL import Error as TlsError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.interfaces.cluster import JoinReply
from etcd_twisted.peer.commands import Describe, Hello, Join
from etcd_twisted.peer.port import MAX_CONNECTIONS, MAX_STRANGERS
from etcd_twisted.testing.raft_peer import FIRST
from tests.logs.lines import Log
from tests.peer.test_commands import REQUEST
from tests.peer.wires import HELLO, TIMEOUT, Served, Visit, question
from tests.wires import read_answers

MACHINES = b"GET /v2/admin/machines HTTP/1.1\r\nHost: x\r\n\r\n"


class PortTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.served = Served()
        self.addCleanup(self.served.stop)
        self.log = Log(self)

    def status(self, visit: Visit) -> int:
        (answer,) = read_answers(visit.transport.value(), "GET")
        return answer.status


class ProtocolTests(PortTest):
    """The protocols are told apart by the first byte."""

    def test_zero_begins_amp(self) -> None:
        """The first byte of AMP is a zero (spec, "One port, two protocols")."""
        self.assertIn(b"view", self.served.visit().ask(Describe))

    def test_letter_begins_http(self) -> None:
        """The first byte of HTTP is a letter (spec, "One port, two protocols")."""
        visit = self.served.visit()
        visit.send(MACHINES)
        self.assertEqual(self.status(visit), 200)
        self.assertEqual(len(self.served.port.connections), 0)

    def test_first_bytes_may_come_one_by_one(self) -> None:
        """The first bytes of both protocols may come slowly."""
        http, amp = self.served.visit(), self.served.visit()
        for byte in MACHINES:
            http.send(bytes([byte]))
        self.assertEqual(self.status(http), 200)
        for byte in question(Describe):
            amp.send(bytes([byte]))
        self.assertEqual(len(amp.boxes()), 1)

    def test_bad_http_is_answered_as_such(self) -> None:
        """A letter that is not followed by HTTP gets an HTTP error."""
        visit = self.served.visit()
        visit.send(b"Garbage\r\n\r\n")
        self.assertEqual(self.status(visit), 400)

    def test_standby_has_no_pages(self) -> None:
        self.served.replica.stand_by()
        visit = self.served.visit()
        visit.send(MACHINES)
        self.assertEqual(self.status(visit), 404)

    @given(st.binary(min_size=1, max_size=50))
    def test_other_first_bytes_are_closed_with_a_line(self, data: bytes) -> None:
        """Any other first byte closes the connection with a log line."""
        first = data[:1]
        if first == b"\x00" or first.isalpha():
            return
        self.log.events.clear()
        self.served.pass_time(61)
        visit = self.served.visit()
        visit.send(data)
        (line,) = self.log.warnings
        why = "it speaks TLS, and this machine does not" if first == b"\x16" else "it begins with the byte 0x"
        self.assertIn(f"from 192.168.1.1:54321: {why}", line)
        self.assertTrue(visit.lost)
        self.assertEqual(len(self.served.port.connections), 0)

    def test_connection_without_a_byte_is_closed(self) -> None:
        """A connection on which nothing comes is closed without a log line."""
        visit = self.served.visit()
        self.served.pass_time(int(TIMEOUT) - 1)
        self.assertFalse(visit.lost)
        self.served.pass_time(2)
        self.assertEqual((visit.lost, self.log.warnings), (True, []))
        self.assertEqual(len(self.served.port.connections), 0)

    def test_failed_tls_handshake_is_logged(self) -> None:
        """The log names the machine without a good certificate, and the reason."""
        self.served.port.buildProtocol(None)
        visit = self.served.visit()
        reason = Failure(TlsError([("SSL routines", "", "peer did not return a certificate")]))
        visit.transport._protocol.connectionLost(reason)
        (line,) = self.log.warnings
        self.assertEqual(
            line,
            "TLS with 192.168.1.1:54321 failed: the other side shows no certificate: give it one of an authority"
            " that is trusted here",
        )

    def test_connection_that_ends_at_once_is_ignored(self) -> None:
        """A connection that ends before a byte has come is a probe."""
        visit = self.served.visit()
        visit.transport.client_goes()
        self.assertEqual((self.log.warnings, len(self.served.port.connections)), ([], 0))


class LimitTests(PortTest):
    """Tests of which connections are kept when there are too many."""

    def test_oldest_stranger_makes_room(self) -> None:
        """The oldest stranger is disconnected when there are too many."""
        visits = [self.served.visit() for _ in range(MAX_STRANGERS)]
        self.assertFalse(any(visit.lost for visit in visits))
        newest = self.served.visit()
        self.assertEqual([visit.lost for visit in [*visits, newest]], [True] + [False] * MAX_STRANGERS)
        self.assertEqual(len(self.log.warnings), 1)

    def test_members_come_in_among_many_strangers(self) -> None:
        """A member is admitted however many strangers there are."""
        for _ in range(2 * MAX_STRANGERS):
            self.served.visit()
        self.assertEqual(self.served.visit().ask(Hello, **HELLO)[b"machine_id"], FIRST.encode())

    def test_members_stay_among_many_strangers(self) -> None:
        """A member stays connected however many strangers come after it."""
        member = self.served.admitted()
        for _ in range(2 * MAX_CONNECTIONS):
            self.served.visit()
        self.assertFalse(member.lost)

    def test_waiting_strangers_stay(self) -> None:
        """While all strangers wait for an answer, no further one is admitted."""
        self.served.raft.holding = Deferred()
        visits = [self.served.visit() for _ in range(MAX_STRANGERS)]
        for visit in visits:
            visit.send(question(Join, request=REQUEST))
        self.assertIs(self.served.port.buildProtocol(None), None)
        self.assertFalse(any(visit.lost for visit in visits))
        self.served.raft.holding.callback(JoinReply(""))

    def test_administrators_do_not_count_as_strangers(self) -> None:
        """Administrators have a limit of their own."""
        for _ in range(2 * MAX_STRANGERS):
            self.served.visit().send(b"G")
        self.assertIn(b"view", self.served.visit().ask(Describe))

    def test_too_many_administrators_are_closed(self) -> None:
        """An administrator beyond the limit is disconnected."""
        visits = [self.served.visit() for _ in range(11)]
        for visit in visits:
            visit.send(b"GET")
        self.assertEqual([visit.lost for visit in visits], [False] * 10 + [True])


class StopTests(PortTest):
    """Tests of closing the port."""

    def test_stopped_port_closes_every_connection(self) -> None:
        member = self.served.admitted()
        silent, asking, http = (self.served.visit() for _ in range(3))
        self.served.raft.holding = Deferred()
        asking.send(question(Join, request=REQUEST))
        http.send(b"GET")
        stopped = self.served.port.stop(5.0)
        self.assertTrue(all(visit.lost for visit in (silent, member, asking)))
        self.served.pass_time(10)
        self.successResultOf(stopped)
        self.assertTrue(http.lost)
        self.assertEqual(self.served.clock.getDelayedCalls(), [])
        self.served.raft.holding.callback(JoinReply(""))

    def test_member_that_does_not_close_is_cut_off(self) -> None:
        member = self.served.admitted()
        member.transport.loseConnection = lambda: None
        stopped = self.served.port.stop(5.0)
        self.assertNoResult(stopped)
        self.served.pass_time(2)
        self.successResultOf(stopped)
        self.assertEqual(member.transport.how_lost, "aborted")

    def test_stop_waits_for_a_connection_that_closes_itself(self) -> None:
        """Stopping also waits for a connection that closes by itself."""
        member = self.served.admitted()
        member.transport.loseConnection = lambda: None
        stopped = self.served.port.stop(5.0)
        member.transport._protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(stopped)
