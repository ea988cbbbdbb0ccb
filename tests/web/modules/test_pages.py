"""
The modules' pages, through the server: each parameter, answer and error of api's "Lock Module" and "Leader Module".
"""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.fast.channel import FastSite
from etcd_twisted.httpd.site import Site
from etcd_twisted.keyspace.commands import CreateInOrder, Delete
from etcd_twisted.keyspace.events import LAST_MOMENT
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.testing.replica import OTHER
from etcd_twisted.web.modules.lock_queue import PREFIX
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS
from tests.wires import Answer, ServedTest, Transport, Wire, read_answers

LOCK = "/mod/v2/lock/mylock"
LEADER = "/mod/v2/leader/myclustername"
QUEUE = PREFIX + "/mylock"

NO_TTL = (202, "The given TTL in POST form is not a number")
NO_TIMEOUT = (205, "The given timeout in POST form is not a number")
NO_NAME = (206, "Name is required in POST form")
NOT_NAMED = (207, "Index or value is required")
NAMED_TWICE = (208, "Index and value cannot both be specified")
NO_FIELD = (209, "Invalid field")
UNKNOWN = (100, "Key not found")
NOT_GOT = (101, "Compare failed")


def request(method: str, path: str, query: str = "", **form: object) -> bytes:
    body = urlencode(form).encode()
    target = f"{path}?{query}" if query else path
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Asking:
    """A request on a connection of its own, and a turn in which watchers receive their events."""

    def __init__(self, wire: Wire, method: str, path: str, query: str = "", **form: object) -> None:
        self.method = method
        channel, self.transport = wire.connect()
        channel.dataReceived(request(method, path, query, **form))
        wire.clock.advance(0)

    @property
    def answered(self) -> bool:
        return bool(self.transport.value())

    @property
    def answer(self) -> Answer:
        (answer,) = read_answers(self.transport.value(), self.method)
        return answer


class PagesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def start(self, method: str, path: str = LOCK, query: str = "", **form: object) -> Asking:
        return Asking(self.wire, method, path, query, **form)

    def ask(self, method: str, path: str = LOCK, query: str = "", **form: object) -> Answer:
        """Sends a request that is answered at once."""
        return self.start(method, path, query, **form).answer

    def text(self, method: str, path: str = LOCK, query: str = "", **form: object) -> str:
        """Returns the body of a successful answer."""
        return self.success(self.ask(method, path, query, **form))

    def success(self, answer: Answer) -> str:
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
        self.assertLessEqual(int(answer.headers["X-Etcd-Index"]), self.replica.index)
        self.assertEqual(answer.headers["X-Raft-Term"], "1")
        self.assertIn("X-Raft-Index", answer.headers)
        return answer.body.decode()

    def error(self, answer: Answer) -> tuple[int, str, str]:
        error = json.loads(answer.body)
        self.assertEqual(set(error), {"errorCode", "message", "cause", "index"})
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(answer.headers["X-Etcd-Index"], str(error["index"]))
        return error["errorCode"], error["message"], error["cause"]

    def assert_refused(
        self, expected: tuple[int, str], cause: str, method: str, path: str = LOCK, query: str = "", **form: object
    ) -> None:
        """Asserts that a request gets an error with the message of C{api.md}, and changes nothing."""
        index = self.replica.index
        answer = self.ask(method, path, query, **form)
        self.assertEqual(self.error(answer), (*expected, cause))
        self.assertEqual(answer.status, {100: 404, 101: 412}.get(expected[0], 400))
        self.assertEqual(self.replica.index, index)

    def names(self, directory: str = QUEUE) -> list[str]:
        node = self.replica.get(directory)
        assert isinstance(node, Directory)
        return sorted(node.children, key=int)


class LockTests(PagesTest):
    """These tests are about api, "Lock Module"."""

    def test_acquire_answers_with_the_index(self) -> None:
        """The answer comes once the client has the lock (api, "Acquiring a Lock")."""
        first = self.text("POST", ttl=20)
        self.assertEqual(first, "2")
        other = self.start("POST", ttl=20)
        self.assertFalse(other.answered)
        self.text("DELETE", query="index=2")
        self.assertEqual(self.success(other.answer), "3")

    def test_acquire_without_ttl(self) -> None:
        """The TTL may be missing, empty, not a whole number, negative, or without end (api, "Acquiring a Lock")."""
        for form in ({}, {"ttl": ""}, *({"ttl": ttl} for ttl in ("bad", "1.5", "-1", "1e3", 2**64, LAST_MOMENT))):
            self.assert_refused(NO_TTL, "Acquire", "POST", **form)

    def test_acquire_with_bad_timeout(self) -> None:
        """The timeout is negative or not a whole number. An empty one counts as none (api, "Acquiring a Lock")."""
        for timeout in ("bad", "1.5", "-1", 2**64):
            self.assert_refused(NO_TIMEOUT, "Acquire", "POST", ttl=20, timeout=timeout)
        self.assertEqual(self.text("POST", ttl=20, timeout=""), "2")

    def test_acquire_times_out(self) -> None:
        """The timeout is in seconds, 0 means one attempt, and the answer is 412 (spec, "Other client endpoints")."""
        self.text("POST", ttl=20)
        others = "/mylock was not acquired: others hold it or wait for it"
        self.assert_refused(NOT_GOT, others, "POST", ttl=20, timeout=0)
        other = self.start("POST", ttl=20, timeout=3)
        self.wire.pass_time(2)
        self.assertFalse(other.answered)
        self.wire.pass_time(1)
        self.assertEqual((other.answer.status, self.error(other.answer)), (412, (*NOT_GOT, others)))
        self.assertEqual(self.names(), ["2"])

    def test_acquire_twice_with_one_value_shares_the_entry(self) -> None:
        """The value may be in the body or in the query (spec, "Other client endpoints")."""
        self.assertEqual(self.text("POST", ttl=20, value="me"), "2")
        self.assertEqual(self.text("POST", query="value=me&ttl=20"), "2")
        self.assertEqual(self.names(), ["2"])

    def test_renew_by_index_or_value(self) -> None:
        """The answer is empty (api, "Renewing a Lock")."""
        self.text("POST", ttl=3, value="me")
        self.wire.pass_time(2)
        self.assertEqual(self.text("PUT", index=2, ttl=5), "")
        self.wire.pass_time(4)
        self.assertEqual(self.text("PUT", value="me", ttl=3), "")
        self.wire.pass_time(2)
        self.assertEqual(self.text("GET"), "me")

    def test_renewal_errors_have_their_codes(self) -> None:
        """Every error of api, "Renewing a Lock", has its own code."""
        self.text("POST", ttl=20, value="me")
        for form in ({}, {"index": "", "value": ""}):
            self.assert_refused(NOT_NAMED, "Renew", "PUT", **form, ttl=20)
        for form in ({}, {"ttl": ""}, {"ttl": "bad"}, {"ttl": "-1"}):
            self.assert_refused(NO_TTL, "Renew", "PUT", index=2, **form)
        for form in ({"index": 5}, {"value": "x"}, {"index": 2, "value": "x"}):
            self.assert_refused(UNKNOWN, "/mylock", "PUT", **form, ttl=20)
        self.assert_refused(UNKNOWN, "/other", "PUT", "/mod/v2/lock/other", index=2, ttl=20)
        for index in ("x", "-1", "../mylock/2"):
            self.assert_refused(UNKNOWN, index, "PUT", index=index, ttl=20)

    def test_release_by_index_or_value(self) -> None:
        """The parameter may be in the query or in the body, and the answer is empty (api, "Releasing a Lock")."""
        for query, form in (("index={}", {}), ("value=me", {}), ("", {"value": "me"})):
            index = self.text("POST", ttl=20, value="me")
            self.assertEqual(self.text("DELETE", LOCK, query.format(index), **form), "")
            self.assertEqual(self.names(), [])

    def test_release_errors_have_their_codes(self) -> None:
        """Every error of api, "Releasing a Lock", has its own code."""
        self.text("POST", ttl=20, value="me")
        for query in ("", "index=&value="):
            self.assert_refused(NOT_NAMED, "Release", "DELETE", query=query)
        self.assert_refused(NAMED_TWICE, "Release", "DELETE", query="index=2&value=me")
        for query in ("index=5", "value=x"):
            self.assert_refused(UNKNOWN, "/mylock", "DELETE", query=query)
        self.assert_refused(UNKNOWN, "..", "DELETE", query="index=..")

    def test_retrieve_value_or_index(self) -> None:
        """The value is the default, and the answer is empty after the release (api, "Retrieving a Lock")."""
        self.text("POST", ttl=20, value="me")
        for query, expected in (("", "me"), ("field=", "me"), ("field=value", "me"), ("field=index", "2")):
            self.assertEqual(self.text("GET", query=query), expected)
        head = self.ask("HEAD")
        self.assertEqual((head.status, head.body, head.headers["Content-Length"]), (200, b"", "2"))
        self.text("DELETE", query="index=2")
        for query in ("", "field=index"):
            self.assertEqual(self.text("GET", query=query), "")

    def test_unknown_lock_can_not_be_retrieved(self) -> None:
        """A lock that nobody ever asked for is unknown (api, "Retrieving a Lock"; spec, "Other client endpoints")."""
        for query in ("", "field=index"):
            self.assert_refused(UNKNOWN, "/mylock", "GET", query=query)
        self.assert_refused(NO_FIELD, "Get", "GET", query="field=nope")
        self.text("POST", ttl=20)
        self.assert_refused(NO_FIELD, "Get", "GET", query="field=Index")
        self.assert_refused(UNKNOWN, "/mylock/2", "GET", LOCK + "/2")

    def test_lock_name_too_deep_is_refused(self) -> None:
        """An entry is a key, which has its limits. A refused request leaves nothing behind."""
        cause = "the key that this makes has 257 segments; at most 256 are allowed"
        self.assert_refused(NO_FIELD, cause, "POST", "/mod/v2/lock" + "/a" * 253, ttl=20)
        self.assert_refused(NO_FIELD, cause, "PUT", "/mod/v2/leader" + "/a" * 253, ttl=20, name="foo")
        self.assertEqual(self.replica.statistics().watchers, 0)
        self.text("POST", "/mod/v2/lock" + "/a" * 252, ttl=20)

    def test_undecodable_parameters_are_refused(self) -> None:
        """The rule is that of every form (spec, section 1, "Parameters")."""
        for method in ("POST", "PUT", "DELETE", "GET"):
            answer = self.ask(method, query="ttl=%zz")
            self.assertEqual((answer.status, self.error(answer)[0]), (400, 210))

    def test_lock_names_are_cleaned_like_keys(self) -> None:
        for path in ("/mod/v2/lock/a/b", "/mod/v2/lock//a//b/", "/mod/v2/lock/./x/../a/b", "/mod/v2/lock/a%2Fb"):
            index = self.text("POST", path, ttl=20)
            self.assertEqual(self.names(PREFIX + "/a/b"), [index])
            self.text("DELETE", path, "index=" + index)
        self.text("POST", "/mod/v2/lock/../../../x", ttl=20)
        self.assertEqual(len(self.names(PREFIX + "/x")), 1)

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1))
    def test_any_lock_name_is_accepted(self, name: str) -> None:
        if name in (".", ".."):
            return
        wire = Wire()
        path = "/mod/v2/lock/" + quote(name, safe="")
        self.assertEqual(Asking(wire, "POST", path, ttl=20).answer.body, b"2")
        self.assertIn("2", wire.replica.get(f"{PREFIX}/{name}").children)  # type: ignore[union-attr]
        wire.stop()

    def test_no_page_without_a_lock_name(self) -> None:
        for module in ("lock", "leader"):
            for path in ("", "/", "//", "/.", "/x/.."):
                answer = self.ask("PUT", f"/mod/v2/{module}{path}", ttl=20, name="n")
                self.assertEqual((answer.status, answer.body), (404, b'{"message":"Not Found"}\n'))
        self.assertEqual(self.ask("POST", "/mod/v2/locks/x", ttl=20).status, 404)

    def test_other_methods_are_refused(self) -> None:
        """The answer is 405 with the methods that are allowed."""
        of_both = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
        for path, allowed in ((LOCK, of_both | {"POST"}), (LEADER, of_both)):
            answer = self.ask("PATCH", path)
            self.assertEqual((answer.status, set(answer.headers["Allow"].split(", "))), (405, allowed))

    def test_unexpected_error_is_logged(self) -> None:
        """The answer does not reveal the error."""

        def broken() -> None:
            raise ZeroDivisionError("secret")

        self.patch(self.replica, "confirm_reads", broken)
        answer = self.ask("GET")
        self.assertEqual((answer.status, self.error(answer)[0]), (500, 300))
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class LeaderTests(PagesTest):
    """These tests are about api, "Leader Module"."""

    def test_candidate_is_elected_and_renews(self) -> None:
        """
        The answer is 200 once the candidate is elected, and again when it renews. No other candidate is elected
        meanwhile (api, "Setting the Leader").
        """
        index = self.text("PUT", LEADER, ttl=3, name="foo.mydomain.com")
        other = self.start("PUT", LEADER, ttl=3, name="bar.mydomain.com")
        for _ in range(3):
            self.wire.pass_time(2)
            self.assertEqual(self.text("PUT", LEADER, ttl=3, name="foo.mydomain.com"), index)
        self.assertFalse(other.answered)
        self.wire.pass_time(4)
        self.success(other.answer)
        self.assertEqual(self.text("GET", LEADER), "bar.mydomain.com")

    def test_set_leader_errors(self) -> None:
        """The errors are the module's own and the lock's (api, "Setting the Leader")."""
        for form in ({}, {"name": ""}, {"value": "x", "index": 2}):
            self.assert_refused(NO_NAME, "Set", "PUT", LEADER, **form)
        for form in ({}, {"ttl": "bad"}):
            self.assert_refused(NO_TTL, "Acquire", "PUT", LEADER, name="me", **form)
        self.assert_refused(NO_TIMEOUT, "Acquire", "PUT", LEADER, name="me", ttl=20, timeout="x")
        self.text("PUT", LEADER, name="me", ttl=20)
        why = "/myclustername was not acquired: others hold it or wait for it"
        self.assert_refused(NOT_GOT, why, "PUT", LEADER, name="other", ttl=20, timeout=0)

    def test_leader_is_shown_by_its_name(self) -> None:
        """
        The answer is the leader's name. It is empty when there is no leader, and an error when there never was one
        (api, "Retrieving the Current Leader").
        """
        self.assert_refused(UNKNOWN, "/myclustername", "GET", LEADER)
        self.text("PUT", LEADER, name="me", ttl=2)
        self.assertEqual(self.text("GET", LEADER), "me")
        self.wire.pass_time(3)
        self.assertEqual(self.text("GET", LEADER), "")

    def test_leader_may_resign_by_its_name(self) -> None:
        """The leader may go by its name (api, "Relinquishing Leadership")."""
        self.text("PUT", LEADER, name="me", ttl=20)
        for query in ("", "name=", "index=2"):
            self.assert_refused(NO_NAME, "Set", "DELETE", LEADER, query)
        self.assert_refused(UNKNOWN, "/myclustername", "DELETE", LEADER, "name=other")
        self.assertEqual(self.text("DELETE", LEADER, "name=me"), "")
        self.assertEqual(self.text("GET", LEADER), "")

    def test_leadership_is_a_lock(self) -> None:
        """The lock has the same name, and its values are the candidates' names."""
        index = self.text("PUT", LEADER, name="me", ttl=20)
        lock = LEADER.replace("leader", "lock")
        self.assertEqual(self.text("GET", lock), "me")
        self.assertEqual(self.text("PUT", lock, index=index, ttl=5), "")
        self.assertEqual(self.text("DELETE", lock, "value=me"), "")
        self.assertEqual(self.text("GET", LEADER), "")


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


class ServedTests(ServedTest):
    """These tests use real connections."""

    async def wait_in_queue(self) -> None:
        """Takes the lock, and makes another client wait for it."""
        await self.ask(b"POST /mod/v2/lock/mylock?ttl=300 HTTP/1.0\r\n\r\n", "POST")
        self.waiting = await self.connect()
        self.waiting.send(request("POST", LOCK, ttl=300))
        await self.replica.when_proposed(2)

    async def test_server_notices_a_client_that_goes(self) -> None:
        await self.wait_in_queue()
        self.waiting.transport.loseConnection()
        await self.replica.when_proposed(3)
        self.assertIsInstance(self.replica.proposed[2], Delete)

    async def test_stop_answers_waiting_clients(self) -> None:
        """A client that waits learns why, leaves the queue, and does not delay the stop."""
        await self.wait_in_queue()
        await self.service.stopService()
        await self.waiting.when_closed()
        (answer,) = read_answers(self.waiting.data, "POST")
        error = json.loads(answer.body)
        self.assertEqual((answer.status, error["errorCode"], error["cause"]), (500, 300, "this machine is stopping"))
        self.assertIsInstance(self.replica.proposed[2], Delete)
