"""
The modules' pages, through the server: each parameter, answer and error of api's "Lock Module" and "Leader Module".
"""

import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from etcd_twisted.keyspace.commands import Delete
from etcd_twisted.keyspace.events import LAST_MOMENT
from etcd_twisted.web.modules.lock_queue import PREFIX
from tests.web.modules.asking import (
    LEADER,
    LOCK,
    NAMED_TWICE,
    NO_FIELD,
    NO_NAME,
    NO_TIMEOUT,
    NO_TTL,
    NOT_GOT,
    NOT_NAMED,
    UNKNOWN,
    Asking,
    PagesTest,
    request,
)
from tests.wires import ServedTest, Wire, read_answers


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
