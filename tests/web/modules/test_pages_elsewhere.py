"""
The modules' pages on machines that do not lead, and for clients that go.
"""

from collections.abc import Iterator

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.fast.site import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.keyspace.commands import CreateInOrder, Delete
from etcd_twisted.testing.replica import OTHER
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS
from tests.web.modules.asking import (
    LEADER,
    LOCK,
    NOT_GOT,
    QUEUE,
    Asking,
    PagesTest,
)
from tests.wires import Transport, Wire

EVERYTHING = (
    ("POST", LOCK, "", {"ttl": 20, "value": "me"}),
    ("PUT", LOCK, "value=me", {"ttl": 20}),
    ("GET", LOCK, "field=index", {}),
    ("DELETE", LOCK, "value=me", {}),
    ("PUT", LEADER, "", {"ttl": 20, "name": "me"}),
    ("GET", LEADER, "", {}),
    ("DELETE", LEADER, "name=me", {}),
)


class ElsewhereTests(PagesTest):
    """These tests are about a machine that does not lead."""

    def assert_sent_to(self, asked: Asking, target: str) -> None:
        answer = asked.answer
        self.assertEqual((answer.status, answer.headers["Location"]), (307, OTHER.client_url + target))

    def test_follower_redirects_everything(self) -> None:
        """The redirect keeps the path and the query, whatever was asked for (spec, "Other client endpoints")."""
        self.replica.follow()
        for method, path, query, form in (*EVERYTHING, ("POST", LOCK, "ttl=bad&&x", {}), ("DELETE", LOCK, "", {})):
            asked = self.start(method, path, query, **form)
            self.assert_sent_to(asked, f"{path}?{query}" if query else path)
        self.assertEqual(self.replica.proposed, [])

    def test_standby_redirects_everything(self) -> None:
        self.replica.stand_by()
        for method, path, query, form in EVERYTHING:
            self.assert_sent_to(self.start(method, path, query, **form), f"{path}?{query}" if query else path)

    def test_request_waits_for_a_leader(self) -> None:
        """The wait is bounded."""
        for become in (self.replica.follow, self.replica.lead, None):
            self.replica.lose_leader()
            for method, path, query, form in EVERYTHING:
                asked = self.start(method, path, query, **form)
                self.assertFalse(asked.answered)
                if become is not None:
                    become()
                    self.wire.clock.advance(0)
                else:
                    self.wire.clock.advance(MIN_LEADER_WAIT_SECONDS)
                    self.assertEqual(self.error(asked.answer)[0], 300)
                self.assertTrue(asked.answered)
                self.replica.lose_leader()

    def test_waiting_client_is_redirected_to_the_new_leader(self) -> None:
        """
        A client that waits is redirected with its entry, which the new leader keeps and this machine does not delete.
        """
        self.text("POST", ttl=300)
        cases = (
            ("", {"ttl": 20}, "index={}"),
            ("ttl=20&value=me", {}, "index={}&ttl=20&value=me"),
            ("index={}&timeout=9", {"ttl": 20}, "index={}&timeout=9"),
        )
        for query, form, expected in cases:
            with self.subTest(query):
                asked = self.start("POST", LOCK, query.format(self.names()[-1]), **form)
                self.assertFalse(asked.answered)
                queue = self.names()
                self.replica.follow()
                self.assert_sent_to(asked, f"{LOCK}?{expected.format(queue[-1])}")
                asked.transport.client_goes()
                self.replica.lead()
                self.assertEqual(self.names(), queue)
                again = self.start("POST", LOCK, expected.format(queue[-1]), **form)
                self.assertFalse(again.answered)
                self.assertEqual(self.names(), queue)

    def test_waiting_client_goes_on_when_this_machine_leads_again(self) -> None:
        """The client keeps its entry, and each time without a leader has its own bound."""
        self.text("POST", ttl=3_600)
        asked = self.start("POST", ttl=30)
        for _ in range(3):
            self.replica.lose_leader()
            self.wire.clock.advance(MIN_LEADER_WAIT_SECONDS * 0.75)
            self.replica.lead()
            self.wire.pass_time(1)
            self.assertFalse(asked.answered)
        queue = self.names()
        self.text("DELETE", query="index=" + queue[0])
        self.assertEqual(self.success(asked.answer), queue[1])

    def test_entry_that_was_lost_meanwhile_is_refused(self) -> None:
        """The answer is 412, as for a lock that was not acquired for another reason."""
        self.text("POST", ttl=3_600)
        asked = self.start("POST", ttl=30)
        self.replica.lose_leader()
        _, entry = self.names()
        self.replica.keyspace.apply(Delete(f"{QUEUE}/{entry}", 0))
        self.replica.lead()
        why = f"/mylock was not acquired: there is no entry {entry} in the queue"
        self.assertEqual(self.error(asked.answer), (*NOT_GOT, why))

    def test_leader_without_a_quorum_keeps_nobody_for_ever(self) -> None:
        """The request does not keep this machine busy either."""
        asked_for = 0

        def nothing() -> None:
            nonlocal asked_for
            asked_for += 1
            raise RequestDroppedError

        self.patch(self.replica, "confirm_reads", nothing)
        asked = self.start("GET")
        self.wire.clock.pump([0.01] * 120)
        self.assertEqual(self.error(asked.answer)[0], 300)
        self.assertLess(asked_for, 120)

    def test_unknown_outcome_is_not_retried(self) -> None:
        """The client learns that the outcome is unknown."""
        self.replica.holding = True
        asked = self.start("POST", ttl=20)
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, "whether the write was done is unknown"))
        code, _, cause = self.error(asked.answer)
        self.assertEqual((code, cause), (300, "whether the write was done is unknown"))
        self.assertEqual([type(each) for each in self.replica.proposed], [CreateInOrder])


class GoneTests(PagesTest):
    """These tests are about clients that go before they are answered."""

    def goes(self) -> Iterator[Transport]:
        for method, path, query, form in EVERYTHING:
            asked = self.start(method, path, query, **form)
            self.assertFalse(asked.answered)
            yield asked.transport

    def test_entries_of_clients_that_go_are_deleted(self) -> None:
        self.text("POST", ttl=300)
        asked = self.start("POST", ttl=300)
        self.assertEqual(len(self.names()), 2)
        asked.transport.client_goes()
        self.assertEqual(len(self.names()), 1)

    def test_waiting_client_is_not_timed_out(self) -> None:
        """A client that waits keeps its connection, however long it takes and by whichever door it came."""
        for kind in (Site, FastSite):
            wire = Wire(kind=kind)
            self.assertEqual(Asking(wire, "POST", LOCK, ttl=3_600).answer.body, b"2")
            asked = Asking(wire, "POST", LOCK, ttl=10)
            wire.pass_time(600)
            self.assertEqual((asked.answered, asked.transport.how_lost), (False, None))
            Asking(wire, "DELETE", LOCK, "index=2")
            self.assertEqual(asked.answer.body, b"3")
            wire.stop()

    def test_nothing_is_done_for_a_client_that_goes_before_confirmation(self) -> None:
        self.replica.holding = True
        for transport in self.goes():
            transport.client_goes()
        self.replica.release()
        self.assertEqual(self.replica.proposed, [])

    def test_nothing_waits_for_a_leader_when_the_client_goes(self) -> None:
        self.replica.lose_leader()
        for transport in self.goes():
            transport.client_goes()
        self.replica.lead()
        self.assertEqual(self.replica.proposed, [])
