"""
Tests of the connection to one other machine, on a fake clock: when attempts are made, and how one ends.
"""

from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from etcd_twisted.backoff import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from etcd_twisted.interfaces import ITransport
from etcd_twisted.peer.boxes import payload_boxes
from etcd_twisted.peer.link import REFUSED_PAUSE_SECONDS
from etcd_twisted.testing.raft_peer import CLUSTER, FIRST, SECOND, THIRD
from tests.peer.links import CALLED, URL, LinkTest


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
                    "configuration_index": 1, "peer_url": "http://127.0.0.1:7001"}  # fmt: skip
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
        self.transport.connected.on_connect(SECOND, "")
        self.assertEqual(self.attempts, attempts + 1)
        self.transport.connected.on_connect(SECOND, "")
        self.transport.connected.on_connect(THIRD, "")
        self.assertEqual(self.attempts, attempts + 1)

    def test_machine_that_has_moved_is_tried_at_both_addresses_in_turn(self) -> None:
        """The machine knows where it is, and the group may know better, as an administrator may have said so."""
        self.connect()
        self.get_nowhere()
        self.transport.connected.on_connect(SECOND, "http://127.0.0.1:7009")
        for _ in range(3):
            self.get_nowhere()
            self.pass_time(5)
        self.assertEqual([each[1] for each in self.reactor.tcpClients], [7002, 7009, 7002, 7009, 7002])
        self.assertEqual(len(self.log.warnings), 1)

    def test_address_that_has_worked_is_tried_first_again(self) -> None:
        """A connection to the address that the machine has named is lost, and made again."""
        self.connect()
        self.get_nowhere()
        self.transport.connected.on_connect(SECOND, "http://127.0.0.1:7009")
        other = self.succeed()
        other.answer()
        self.assertTrue(self.transport.send(SECOND, b"x"))
        other.transport.client_goes()
        self.pass_time(5)
        self.assertEqual([each[1] for each in self.reactor.tcpClients], [7002, 7009, 7009])

    def test_machine_that_is_where_the_group_knows_it_is_tried_there_alone(self) -> None:
        """A machine that names the known address has not moved, or has moved back."""
        self.connect()
        self.get_nowhere()
        for url in ("http://127.0.0.1:7009", URL):
            self.transport.connected.on_connect(SECOND, url)
            self.get_nowhere()
        self.pass_time(5)
        tried = [each[1] for each in self.reactor.tcpClients]
        self.assertEqual((tried[:3], set(tried[3:])), ([7002, 7009, 7002], {7002}))

    def test_named_address_that_is_none_is_not_tried_twice_in_a_row(self) -> None:
        """What a machine names may be anything."""
        for url in ("", "nonsense", "http://[::1", "https://machine2:7001", "http://127.0.0.1:7002/path"):
            self.connect()
            self.get_nowhere()
            self.transport.connected.on_connect(SECOND, url)
            self.pass_time(5)
            self.get_nowhere()
            self.assertEqual({each[1] for each in self.reactor.tcpClients}, {7002}, url)
            self.successResultOf(self.stop())

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
