"""
The key endpoint while authentication is enabled: who may do what, and that nobody learns what it may not read.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.checks import CAUSE, check_change, check_read
from etcd_twisted.auth.state import AUTH_KEY, AuthState
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import Response, as_deferred
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web import writes
from etcd_twisted.web.access import Access
from etcd_twisted.web.auth.passwords import Passwords
from etcd_twisted.web.forms import flag, parse
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.redirects import RETRY_PAUSE_SECONDS
from etcd_twisted.web.watches import Watch
from tests import examples
from tests.auth.strategies import all_keys, names, states
from tests.web.auth.threads import COST, Threads
from tests.web.auth.users import access, basic, users

READS = (("GET", ""), ("HEAD", ""), ("GET", "quorum=true"), ("GET", "wait=true"), ("GET", "wait=true&stream=true"))
RECURSIVE_READS = (("GET", "recursive=true"), ("GET", "wait=true&recursive=true"), ("HEAD", "recursive=true"))
WRITES = (
    ("PUT", ""), ("PUT", "prevExist=true"), ("PUT", "prevExist=false"), ("PUT", "prevValue=secret"), ("POST", ""),
    ("PUT", "ttl=9&refresh=true&prevExist=true"), ("PUT", "dir=true"), ("DELETE", ""), ("DELETE", "dir=true"),
    ("DELETE", "prevValue=secret"),
)  # fmt: skip
RECURSIVE_WRITES = (("DELETE", "recursive=true"), ("DELETE", "recursive=true&dir=true"))


class AccessTest(SynchronousTestCase):
    """An endpoint on a fake clock, whose replica has some keys."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.replica = FakeReplica(self.clock)
        self.addCleanup(self.replica.stop)
        self.endpoint = KeyEndpoint(self.replica, self.clock, access=access(self.replica, self.clock))
        for key in ("/a", "/d/x", "/d/y", "/d/_h", "/d/sub/z", "/other", "/_etcd/mod/lock/l/1"):
            self.replica.put(key, "secret")
        self.responses: list[Response] = []
        self.addCleanup(self._hang_up)

    def _hang_up(self) -> None:
        for response in self.responses:
            if isinstance(response.body, Watch):
                response.body.cancel()

    def start(
        self,
        user: str | bytes | None,
        method: str,
        path: str,
        query: str = "",
        common_name: str | None = None,
        **form: Any,
    ) -> "Deferred[Response]":
        """
        Sends a request.

        @param user: the name of a user, or the value of the header; C{None} for no header.
        """
        header = basic(user, user) if isinstance(user, str) else user
        body = urlencode(form).encode()
        request = ParsedRequest(method.encode(), path.encode(), query.encode(), None, body, header, common_name)
        answer = self.endpoint.handle(request)
        self.assertNotIsInstance(answer, Exception)
        later: Deferred[Response] = Deferred()
        if isinstance(answer, Response):
            later.callback(answer)
        else:
            as_deferred(answer).chainDeferred(later)
        return later.addCallback(self._noted)

    def _noted(self, response: Response) -> Response:
        self.responses.append(response)
        return response

    def ask(self, user: str | bytes | None, method: str, path: str, query: str = "", **form: Any) -> Response:
        if method in ("PUT", "POST") and "refresh" not in query and not form:
            form = {"value": "new"}
        return self.successResultOf(self.start(user, method, path, query, **form))

    def json(self, response: Response) -> dict[str, Any]:
        assert isinstance(response.body, bytes)
        decoded: dict[str, Any] = json.loads(response.body)
        return decoded

    def is_refused(self, response: Response) -> bool:
        """Returns whether a response says that the rights do not suffice; it has to be exactly etcd's then."""
        if response.status != 401:
            return False
        message = "The request requires user authentication"
        self.assertEqual(self.json(response), {"errorCode": 110, "message": message, "cause": CAUSE, "index": 0})
        self.assertIn(b"X-Etcd-Index: 0\r\n", response.fields)
        return True

    def keys(self, user: str | None, path: str, query: str = "") -> list[str]:
        """Returns the keys in a directory that a user is shown."""
        listed = self.json(self.ask(user, "GET", path, query))["node"].get("nodes", [])
        return [node["key"] for node in listed]


class MatrixTests(AccessTest):
    """Each kind of request, with and without the right."""

    def assert_rights(self, requests: Any, key: str, allowed: str, refused: str, reads: bool) -> None:
        """
        Asserts that a user with one pattern may make the requests, and that one with the other may not.

        @param reads: whether they need the right to read, and the one to write makes no difference.
        """
        for method, query in requests:
            for pattern, expected in ((allowed, False), (refused, True)):
                grant = (pattern, "/*") if reads else ("/*", pattern)
                self.replica.set_auth(users(alice=grant, guest="/*"))
                response = self.ask("alice", method, key, query)
                self.assertEqual(self.is_refused(response), expected, (method, query, key, pattern))

    def test_reads_need_the_right_to_read(self) -> None:
        for key, pattern in (("/a", "/a"), ("/a", "/*"), ("/d/_h", "/d/*"), ("/d/_h", "/d/_h"), ("/d", "/d")):
            self.assert_rights(READS, key, pattern, "/d/x", reads=True)

    def test_writes_need_the_right_to_write(self) -> None:
        for key, pattern in (("/a", "/a"), ("/a", "/*"), ("/d/_h", "/d/*"), ("/d/_h", "/d/_h"), ("/new", "/new")):
            self.assert_rights(WRITES, key, pattern, "/d/x", reads=False)

    def test_recursive_requests_need_a_prefix(self) -> None:
        for key, pattern, exact in (("/d", "/d*", "/d"), ("/a", "/*", "/a"), ("/d/sub", "/d/*", "/d/sub")):
            self.assert_rights(RECURSIVE_READS, key, pattern, exact, reads=True)
            self.assert_rights(RECURSIVE_WRITES, key, pattern, exact, reads=False)

    def test_the_cleaned_key_is_checked(self) -> None:
        """However it is spelled."""
        self.replica.set_auth(users(alice=("/d/x", "/d/x")))
        for path in ("/d/x", "//d/./x/", "/a/../d/x", "/%64/x", "/d%2Fx"):
            self.assertEqual(self.ask("alice", "GET", path).status, 200, path)
            self.assertEqual(self.ask("alice", "PUT", path).status, 200, path)
        for path in ("/d/x/../y", "/d/x%2F..%2Fy", "/d/x/y", "/D/x"):
            self.assertTrue(self.is_refused(self.ask("alice", "GET", path)), path)
            self.assertTrue(self.is_refused(self.ask("alice", "PUT", path)), path)

    def test_in_order_keys_are_checked_on_their_directory(self) -> None:
        self.replica.set_auth(users(alice=("", "/q /p/*")))
        self.assertEqual(self.ask("alice", "POST", "/q").status, 201)
        self.assertTrue(self.is_refused(self.ask("alice", "POST", "/p")))
        self.assertTrue(self.is_refused(self.ask("alice", "PUT", "/q/1")))

    def test_keys_of_the_cluster_are_roots(self) -> None:
        """Whatever the patterns say, but for those of locks and the discovery service."""
        self.replica.set_auth(users(alice=("/*", "/*"), guest="/*"))
        for method, query in (*READS, *RECURSIVE_READS, *WRITES, *RECURSIVE_WRITES):
            for key in ("/_etcd/machines", "/_etcd/machines/machine0", "/_etcd/new"):
                for user in ("alice", None):
                    self.assertTrue(self.is_refused(self.ask(user, method, key, query)), (method, query, key))
                if method == "GET":
                    self.assertFalse(self.is_refused(self.ask("root", method, key, query)))
        self.assertEqual(self.ask("alice", "GET", "/_etcd/mod/lock/l/1").status, 200)
        self.assertEqual(self.ask("alice", "PUT", "/_etcd/registry/token/x").status, 201)

    def test_nobody_reaches_the_users_by_their_key(self) -> None:
        """With authentication and without."""
        for state in (users(guest="/*"), users(guest="/*", enabled=False)):
            self.replica.set_auth(state)
            for user in ("root", None):
                for path in (AUTH_KEY, "/x/.." + AUTH_KEY, AUTH_KEY + "/y", "/%5Fetcd/%5Fauth"):
                    for method, query in (*READS, *RECURSIVE_READS):
                        response = self.ask(user, method, path, query)
                        self.assertEqual((response.status, self.json(response)["errorCode"]), (404, 100), path)
                    for method, query in (*WRITES, *RECURSIVE_WRITES):
                        response = self.ask(user, method, path, query)
                        self.assertEqual((response.status, self.json(response)["errorCode"]), (400, 106), path)
                for method, query in (*RECURSIVE_WRITES, ("PUT", "ttl=1&prevExist=true"), ("DELETE", "dir=true")):
                    self.assertEqual(self.json(self.ask(user, method, "/_etcd", query))["errorCode"], 106)
            self.assertEqual(self.replica.auth, state)
        self.assertNotIn(AUTH_KEY, self.keys("root", "/_etcd"))
        whole = self.ask("root", "GET", "/_etcd", "recursive=true").body
        assert isinstance(whole, bytes)
        self.assertNotIn(b"_auth", whole)

    def test_everything_is_open_while_authentication_is_disabled(self) -> None:
        """Nobody looks at a header then."""
        self.replica.set_auth(users(enabled=False))
        for user in ("nobody", b"nonsense", None):
            for method, query in (*READS, *RECURSIVE_READS):
                self.assertEqual(self.ask(user, method, "/d", query).status, 200)
            self.assertEqual(self.ask(user, "PUT", "/a").status, 200)

    def test_other_methods_need_no_right(self) -> None:
        self.replica.set_auth(users())
        self.assertEqual(self.ask(b"nonsense", "OPTIONS", "/a").status, 200)
        self.assertEqual(self.ask(None, "PATCH", "/a").status, 405)

    def test_malformed_requests_are_refused_as_such(self) -> None:
        """As in etcd, where the form is read first."""
        self.replica.set_auth(users())
        self.assertEqual(self.json(self.ask(None, "PUT", "/a", "ttl=x"))["errorCode"], 202)
        self.assertEqual(self.json(self.ask(None, "GET", "/a", "recursive=x"))["errorCode"], 209)


class CredentialTests(AccessTest):
    """Who a client is taken for."""

    BAD = (
        b"", b" ", b"Basic", b"Basic ", b"Bearer x", b"Basic !", b"Basic cm9vdA==", b"Digest username=root",
        b"Basic cm9vdDpyb290, Basic cm9vdDpyb290", b"basic:root:root", basic("root", ""), basic("root", "rooT"),
        basic("", ""), basic("nobody", "nobody"), basic("root", "r" * 100), b"Basic \xff",
    )  # fmt: skip

    def test_wrong_credentials_are_never_a_guests(self) -> None:
        """Although guests may do everything, and whatever the certificate says."""
        self.replica.set_auth(users(guest="/*"))
        for header in self.BAD:
            for method, query in (("GET", ""), ("PUT", ""), ("GET", "quorum=true"), ("GET", "wait=true")):
                for name in (None, "root"):
                    begun = self.start(header, method, "/a", query, common_name=name)
                    self.clock.pump([10.0] * 3)  # failures are slowed down
                    self.assertTrue(self.is_refused(self.successResultOf(begun)), header)
        self.assertEqual(self.replica.proposed, [])

    def test_certificate_names_a_user(self) -> None:
        """If there is no header, and a user of that name."""
        self.replica.set_auth(users(guest="/a", alice=("/d/*", "/d/*")))
        for name, key, expected in (
            ("alice", "/d/x", 200), ("alice", "/a", 401), ("nobody", "/a", 200), ("nobody", "/d/x", 401),
            ("root", "/other", 200), ("", "/a", 200), (None, "/a", 200), (None, "/d/x", 401),
        ):  # fmt: skip
            begun = self.start(None, "GET", key, common_name=name)
            self.assertEqual(self.successResultOf(begun).status, expected, (name, key))
        begun = self.start("alice", "GET", "/other", common_name="root")
        self.assertTrue(self.is_refused(self.successResultOf(begun)))

    def test_known_credentials_are_answered_at_once(self) -> None:
        """And the password is checked once, whatever the requests are."""
        threads = Threads()
        guard = Access(self.replica, self.clock, Passwords(threads.defer, COST))
        self.endpoint = KeyEndpoint(self.replica, self.clock, access=guard)
        self.replica.set_auth(users())
        first = [self.start("root", *each) for each in (("GET", "/a"), ("PUT", "/a"), ("GET", "/a", "quorum=true"))]
        self.clock.advance(0)
        threads.run()
        self.assertEqual([self.successResultOf(each).status for each in first], [200] * 3)
        request = ParsedRequest(b"GET", b"/a", b"", None, b"", basic("root", "root"))
        self.assertIsInstance(self.endpoint.handle(request), Response)
        self.assertEqual(threads.calls, 1)

    def test_password_is_changed_while_it_is_checked(self) -> None:
        """The old one is void as soon as the change was acknowledged, and so is that of a user who was deleted."""
        threads = Threads()
        guard = Access(self.replica, self.clock, Passwords(threads.defer, COST))
        self.endpoint = KeyEndpoint(self.replica, self.clock, access=guard)
        old = users(alice=("/*", "/*"))
        other = attrs.evolve(old.users["alice"], password_hash=old.users["root"].password_hash)
        for new, status in (
            (attrs.evolve(old, users={**old.users, "alice": other}), 401), (users(), 401), (users(guest="/*"), 401),
            (users(enabled=False), 200), (users(alice=("/*", "/*"), bob=("", "")), 200),
        ):  # fmt: skip
            self.replica.set_auth(old)
            begun = self.start("alice", "PUT", "/a", value="x")
            self.assertNoResult(begun)
            self.clock.advance(0)
            self.replica.set_auth(new)
            threads.run()
            self.assertEqual(self.successResultOf(begun).status, status)
            guard = Access(self.replica, self.clock, Passwords(threads.defer, COST))  # it remembers nothing
            self.endpoint = KeyEndpoint(self.replica, self.clock, access=guard)

    def test_client_that_goes_withdraws_its_password(self) -> None:
        threads = Threads()
        guard = Access(self.replica, self.clock, Passwords(threads.defer, COST))
        self.endpoint = KeyEndpoint(self.replica, self.clock, access=guard)
        self.replica.set_auth(users())
        answer = self.endpoint.handle(ParsedRequest(b"PUT", b"/a", b"", None, b"value=x", basic("root", "root")))
        assert isinstance(answer, Deferred)
        answer.cancel()
        self.assertEqual(self.successResultOf(answer).status, 500)
        threads.run()
        self.assertEqual(self.replica.proposed, [])


class WaitingTests(AccessTest):
    """The rights that count are those at the moment when a request is carried out."""

    def test_right_is_revoked_while_a_request_waits(self) -> None:
        self.endpoint = KeyEndpoint(self.replica, self.clock, forwards=True, access=access(self.replica, self.clock))
        for holding, method, query in (
            (True, "GET", "quorum=true"), (True, "GET", "quorum=true&wait=true"),
            (False, "PUT", ""), (False, "POST", ""),
        ):  # fmt: skip
            self.replica.set_auth(users(alice=("/*", "/*")))
            self.replica.follow()
            self.replica.holding = holding
            if not holding:
                self.replica.unforwarded = RequestDroppedError("there is no connection")
            begun = self.start("alice", method, "/a", query, value="x")
            self.assertNoResult(begun)
            self.replica.set_auth(users(alice=("/d/*", "/d/*")))
            self.replica.unforwarded = None
            self.replica.release()
            self.clock.advance(RETRY_PAUSE_SECONDS)
            self.assertTrue(self.is_refused(self.successResultOf(begun)), (method, query))
        self.assertEqual(self.replica.forwarded, [])

    def test_authentication_is_enabled_while_a_request_waits(self) -> None:
        """Its header is looked at then."""
        for user, status in (("root", 200), ("nobody", 401), (None, 401)):
            self.replica.set_auth(users(enabled=False))
            self.replica.leased, self.replica.holding = False, True
            begun = self.start(user, "GET", "/a", "quorum=true")
            self.replica.set_auth(users())
            self.replica.release()
            self.assertEqual(self.successResultOf(begun).status, status)

    def test_user_is_deleted_while_a_request_waits(self) -> None:
        """A user that is gone is nobody, and no guest."""
        self.replica.set_auth(users(alice=("/*", "/*")))
        self.replica.holding = True
        begun = self.start("alice", "GET", "/a", "quorum=true")
        self.replica.set_auth(users(guest="/*"))
        self.replica.release()
        self.assertTrue(self.is_refused(self.successResultOf(begun)))

    def test_machine_that_does_not_serve_asks_nobody(self) -> None:
        """Its copy may be old: the request waits for the new one."""
        self.replica.set_auth(users())
        self.replica.serving = False
        begun = self.start("alice", "GET", "/a")
        self.assertNoResult(begun)
        self.replica.set_auth(users(alice=("/a", "")))
        self.replica.serve()
        self.assertEqual(self.successResultOf(begun).status, 200)

    def test_change_at_a_machine_that_does_not_serve_is_its_users(self) -> None:
        """It may not know the users yet, and must take nobody who logs in for a guest."""
        self.endpoint = KeyEndpoint(self.replica, self.clock, forwards=True, access=access(self.replica, self.clock))
        self.replica.follow()
        for user, name, expected in (("root", None, "root"), (None, "root", "root"), (basic("root", "x"), None, None)):
            self.replica.forwarded_for.clear()
            self.replica.set_auth(users(enabled=False))
            self.replica.serving = False
            begun = self.start(user, "PUT", "/a", common_name=name)
            self.assertNoResult(begun)
            self.replica.set_auth(users(guest="/*"))
            self.replica.serve()
            self.assertEqual(self.is_refused(self.successResultOf(begun)), expected is None)
            self.assertEqual(self.replica.forwarded_for, [expected] if expected else [])

    def test_leader_learns_who_wants_a_change(self) -> None:
        self.endpoint = KeyEndpoint(self.replica, self.clock, forwards=True, access=access(self.replica, self.clock))
        self.replica.follow()
        for state, user, expected in (
            (users(guest="/*"), "root", "root"), (users(guest="/*"), None, ""), (users(enabled=False), "root", ""),
        ):  # fmt: skip
            self.replica.set_auth(state)
            self.assertEqual(self.ask(user, "PUT", "/a").status, 200)
            self.assertEqual(self.replica.forwarded_for[-1], expected)

    def test_leader_refuses(self) -> None:
        """The follower has not heard of it yet; see L{tests.consensus.test_forwarding}."""
        self.endpoint = KeyEndpoint(self.replica, self.clock, forwards=True, access=access(self.replica, self.clock))
        self.replica.set_auth(users(alice=("/*", "/*")))
        self.replica.follow()
        self.replica.holding = True
        begun = self.start("alice", "PUT", "/a", value="x")
        self.replica.fail_held(EtcdError(ErrorCode.UNAUTHORIZED, CAUSE))
        self.assertTrue(self.is_refused(self.successResultOf(begun)))


class SecretTests(AccessTest):
    """Nobody learns a value, or of a key in a listing, without the right to read it."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.set_auth(users(writer=("/d/x", "/a /d* /n*"), reader=("/a /d*", "/a /d*")))

    def test_writers_see_no_earlier_value(self) -> None:
        """Readers see it in the very same responses."""
        for full in (False, True):
            for forwards, method, key, query, form in (
                (which, *each) for each, which in itertools.product((
                    ("PUT", "/a", "", {"value": "new"}),
                    ("PUT", "/a", "prevExist=true", {"value": "new"}),
                    ("PUT", "/a", "prevValue=secret", {"value": "new"}),
                    ("PUT", "/a", "refresh=true&ttl=5", {}),
                    ("PUT", "/a", "refresh=true&prevExist=true", {"ttl": "5"}),
                    ("PUT", "/a", "", {"refresh": "true", "ttl": "5", "prevValue": "secret"}),
                    ("DELETE", "/a", "", {}),
                    ("DELETE", "/a", "prevValue=secret", {}),
                ), (False, True))
            ):  # fmt: skip
                self.replica.full = full
                self.replica.lead()
                self.endpoint = KeyEndpoint(
                    self.replica, self.clock, forwards=forwards, access=access(self.replica, self.clock)
                )
                bodies = []
                for user in ("writer", "reader"):
                    self.replica.put("/a", "secret")
                    if forwards:
                        self.replica.follow()
                    response = self.ask(user, method, key, query, **form)
                    self.assertEqual(response.status, 200)
                    bodies.append(response.body)
                self.assertNotIn(b"secret", bodies[0], (method, query))
                self.assertNotIn(b"prevNode", bodies[0])
                self.assertIn(b"secret", bodies[1])
                own, whole = (json.loads(each) for each in bodies)
                self.assertEqual(own["action"], whole["action"])
                self.assertEqual(own["node"].get("value"), form.get("value"))

    def test_status_says_whether_a_key_was_created(self) -> None:
        """Although the response does not say what was there before."""
        self.assertEqual(self.ask("writer", "PUT", "/n").status, 201)
        self.assertEqual(self.ask("writer", "PUT", "/n").status, 200)
        self.assertEqual(self.ask("writer", "POST", "/n2").status, 201)

    def test_failed_comparison_shows_no_value(self) -> None:
        """And none of what it was compared with, which would tell how alike they are."""
        for full in (False, True):
            self.replica.full = full
            for method, query in (("PUT", "prevValue=guess"), ("DELETE", "prevValue=guess"), ("PUT", "prevIndex=1")):
                response = self.ask("writer", method, "/a", query)
                body = self.json(response)
                self.assertEqual((response.status, body["errorCode"], body["cause"]), (412, 101, "/a"))
                cause = self.json(self.ask("reader", method, "/a", query))["cause"]
                self.assertIn("!=", cause)
        self.assertIn("secret", self.json(self.ask("writer", "PUT", "/d/x", "prevValue=guess"))["cause"])

    def test_listings_leave_out_what_may_not_be_read(self) -> None:
        for state, expected in (
            (users(alice=("/d /d/x /d/_h", "")), ["/d/x"]),
            (users(alice=("/d /d/s*", "")), ["/d/sub"]),
            (users(alice=("/d", "/*")), []),
            (users(alice=("/d*", "")), ["/d/sub", "/d/x", "/d/y"]),
        ):
            self.replica.set_auth(state)
            for query in ("", "sorted=true", "quorum=true"):
                self.assertEqual(sorted(self.keys("alice", "/d", query)), expected)
        self.assertEqual(self.keys("root", "/d", "sorted=true"), ["/d/sub", "/d/x", "/d/y"])

    def test_long_listing_leaves_them_out(self) -> None:
        for number in range(2_000):
            self.replica.keyspace.apply(Set(f"/long/{number}", 0, "x" * 200))
        self.replica.set_auth(users(alice=("/long /long/1*", "")))
        body = self.ask("alice", "GET", "/long", "sorted=true").body
        assert isinstance(body, Iterator)
        found = [node["key"] for node in json.loads(b"".join(body))["node"]["nodes"]]
        self.assertEqual(found, [f"/long/{number}" for number in range(2_000) if str(number)[0] == "1"])

    def test_refusal_does_not_tell_whether_a_key_is_there(self) -> None:
        refusals = {
            (response.status, response.fields, response.body)
            for response in (self.ask("reader", "GET", key) for key in ("/other", "/none", "/other/below", "/a/b"))
        }
        self.assertEqual(len(refusals), 1)

    def test_head_tells_no_length(self) -> None:
        response = self.ask("reader", "HEAD", "/other")
        self.assertTrue(self.is_refused(response))


class WatchTests(AccessTest):
    """A watch ends when its right is revoked."""

    def watch(self, user: str | None, query: str = "wait=true", key: str = "/d") -> tuple[list[bytes], Watch]:
        """Returns what a watch sends. C{b"end"} comes last."""
        watch = self.ask(user, "GET", key, query).body
        assert isinstance(watch, Watch)
        sent: list[bytes] = []
        watch.begin(sent.append, lambda: sent.append(b"end"))
        return sent, watch

    STREAM = "wait=true&stream=true&recursive=true"

    def test_revoked_right_ends_watches(self) -> None:
        """Those of others go on, and those of the same user for other keys."""
        self.replica.set_auth(users(alice=("/d* /a", ""), bob=("/d*", "")))
        ending = [self.watch("alice", query) for query in ("wait=true", self.STREAM)]
        going_on = [self.watch("alice", key="/a"), self.watch("bob", self.STREAM)]
        self.replica.set_auth(users(alice=("/a", ""), bob=("/d*", "")))
        self.clock.advance(0)
        self.assertEqual([sent for sent, _ in ending], [[b"end"], [b"end"]])
        self.replica.put("/d/x", "new")
        self.replica.put("/a", "new")
        self.clock.advance(0)
        self.assertEqual([sent for sent, _ in ending], [[b"end"], [b"end"]])
        self.assertEqual([len(sent) for sent, _ in going_on], [1, 1])

    def test_recursive_right_counts(self) -> None:
        """A recursive watch needs a prefix, also later."""
        self.replica.set_auth(users(alice=("/d*", "")))
        (recursive, _), (single, _) = self.watch("alice", self.STREAM), self.watch("alice", key="/d")
        self.replica.set_auth(users(alice=("/d", "")))
        self.clock.advance(0)
        self.assertEqual((recursive, single), ([b"end"], []))

    def test_deleted_user_ends_watches(self) -> None:
        self.replica.set_auth(users(alice=("/d*", ""), guest="/*"))
        sent, _ = self.watch("alice")
        self.replica.set_auth(users(guest="/*"))
        self.clock.advance(0)
        self.assertEqual(sent, [b"end"])

    def test_enabled_authentication_ends_watches(self) -> None:
        """Unless guests may go on: nobody knows who watches."""
        for guest, expected in ((None, [b"end"]), ("/other", [b"end"]), ("/*", [])):
            self.replica.set_auth(users(guest=guest, enabled=False))
            sent, watch = self.watch("root", self.STREAM)
            self.replica.set_auth(users(guest=guest))
            self.clock.advance(0)
            self.assertEqual(sent, expected)
            watch.cancel()

    def test_events_before_the_change_are_sent(self) -> None:
        """And none after it, also to a client that does not read."""
        for pauses in (False, True):
            self.replica.set_auth(users(alice=("/d*", "")))
            sent, watch = self.watch("alice", self.STREAM)
            if pauses:
                watch.pause()
            self.replica.put("/d/x", "before")
            self.replica.set_auth(users())
            self.replica.put("/d/x", "after")
            self.clock.advance(0)
            watch.resume()
            self.clock.advance(0)
            self.assertEqual(sent[-1], b"end")
            self.assertEqual([b"before" in each for each in sent[:-1]], [] if pauses else [True])

    def test_watch_goes_on_over_other_changes_of_users(self) -> None:
        self.replica.set_auth(users(alice=("/d*", "")))
        sent, _ = self.watch("alice", self.STREAM)
        for state in (users(alice=("/d*", ""), bob=("/*", "/*")), users(alice=("/*", "")), users(enabled=False)):
            self.replica.set_auth(state)
            self.replica.put("/d/x", "new")
            self.clock.advance(0)
        self.assertEqual([b"new" in each for each in sent], [True] * 3)

    def snapshot_of(self, before: int, state: AuthState, capacity: int) -> None:
        """Has the replica take over a snapshot in which keys and users have changed."""
        other = FakeReplica(self.clock, capacity)
        self.addCleanup(other.stop)
        other.receive_snapshot_of(self.replica)
        for _ in range(before):
            other.put("/d/x", "of the snapshot")
        other.set_auth(state)
        self.replica.receive_snapshot_of(other)
        self.clock.advance(0)

    def test_snapshot_is_restored(self) -> None:
        """Watches go on, and end if it has other rights; and so they do from then on."""
        for state, goes_on in ((users(alice=("/*", "")), True), (users(), False)):
            self.replica.set_auth(users(alice=("/d*", "")))
            sent, _ = self.watch("alice", self.STREAM)
            self.snapshot_of(1, state, 1_000)
            self.assertEqual((b"of the snapshot" in sent[0], sent[1:]), (True, [] if goes_on else [b"end"]))
            self.replica.set_auth(users())
            self.clock.advance(0)
            self.assertEqual(sent[1:], [b"end"])

    def test_snapshot_without_the_events_is_restored(self) -> None:
        """All watches end, and those that come after it end when their right is revoked."""
        self.replica.set_auth(users(alice=("/d*", "")))
        sent, _ = self.watch("alice", self.STREAM)
        self.snapshot_of(10, users(alice=("/d*", "")), 3)
        self.assertEqual(sent, [b"end"])
        sent, _ = self.watch("alice", self.STREAM)
        self.replica.set_auth(users())
        self.clock.advance(0)
        self.assertEqual(sent, [b"end"])

    def test_machine_stands_by_and_comes_back(self) -> None:
        self.replica.set_auth(users(alice=("/d*", "")))
        sent, _ = self.watch("alice", self.STREAM)
        self.replica.stand_by()
        self.assertEqual(sent, [b"end"])
        self.replica.serve()
        self.replica.set_auth(users(alice=("/d*", "")))
        sent, _ = self.watch("alice", self.STREAM)
        self.replica.set_auth(users())
        self.clock.advance(0)
        self.assertEqual(sent, [b"end"])

    def test_many_watches_end_in_several_turns(self) -> None:
        """None of them gets an event in between."""
        self.replica.set_auth(users(alice=("/d*", "")))
        watches = [self.watch("alice", self.STREAM) for _ in range(300)]
        self.replica.set_auth(users())
        self.replica.put("/d/x", "after")
        ended = [0]
        while self.clock.calls:
            self.turn()
            ended.append(sum(len(sent) for sent, _ in watches))
            self.assertLessEqual(ended[-1] - ended[-2], 128)
        self.assertEqual([sent for sent, _ in watches], [[b"end"]] * 300)

    def turn(self) -> None:
        """Has one thing happen that is due, unlike L{Clock.advance}."""
        call = self.clock.calls.pop(0)
        call.called = 1
        call.func(*call.args, **call.kw)

    def test_client_goes_while_many_watches_end(self) -> None:
        self.replica.set_auth(users(alice=("/d*", "")))
        watches = [self.watch("alice", self.STREAM) for _ in range(300)]
        self.replica.set_auth(users())
        while all(not sent for sent, _ in watches):
            self.turn()
        waiting = [(sent, watch) for sent, watch in watches if not sent]
        waiting[0][1].cancel()
        self.clock.pump([0.0] * 5)
        self.assertEqual([sent for sent, _ in waiting], [[], *[[b"end"]] * (len(waiting) - 1)])

    def test_nothing_is_kept_of_watches_that_ended(self) -> None:
        """Neither their own watchers nor the one for the users."""
        self.replica.set_auth(users(guest="/*"))
        hub = self.replica.keyspace.hub
        for finish in ("event", "cancel", "revoke"):
            _, watch = self.watch(None)
            self.assertEqual((hub.count, len(hub.watched)), (1, 2))
            if finish == "event":
                self.replica.delete("/d")
                self.clock.advance(0)
            elif finish == "cancel":
                watch.cancel()
            else:
                self.replica.set_auth(users())
                self.clock.advance(0)
            self.assertEqual((hub.count, len(hub.watched)), (0, 0), finish)
            self.replica.put("/d/x", "secret")

    def test_head_waits_for_nothing(self) -> None:
        self.replica.set_auth(users(guest="/*"))
        self.assertEqual(self.ask(None, "HEAD", "/d", "wait=true").status, 200)
        self.assertFalse(self.replica.keyspace.hub.watched)


class DecisionTests(SynchronousTestCase):
    """The endpoint decides as the rules do, see L{tests.auth.test_checks}."""

    @settings(max_examples=examples(400))
    @given(
        states, names, all_keys, st.sampled_from([*READS, *RECURSIVE_READS, *WRITES, *RECURSIVE_WRITES]), st.booleans()
    )
    def test_endpoint_decides_by_the_rules(
        self, state: AuthState, user: str, key: str, asked: tuple[str, str], follows: bool
    ) -> None:
        method, query = asked
        clock = Clock()
        replica = FakeReplica(clock)
        endpoint = KeyEndpoint(replica, clock, forwards=True, access=access(replica, clock))
        replica.set_auth(state)
        if follows:
            replica.follow()
        form = parse(query.encode())
        try:
            if method in ("GET", "HEAD"):
                check_read(state, user, key, flag(form, "recursive"))
            else:
                make = {"PUT": writes.put, "POST": writes.post, "DELETE": writes.delete}[method]
                check_change(state, user, make(form, key, 0))
            expected = 0
        except EtcdError as error:
            expected = int(error.code)
        request = ParsedRequest(method.encode(), key.encode("utf-8"), query.encode())
        request.user = user
        answer = endpoint.handle(request)
        response = answer if isinstance(answer, Response) else self.successResultOf(as_deferred(answer))
        code = json.loads(response.body)["errorCode"] if response.status >= 400 else 0  # type: ignore[arg-type]
        if expected == 110:
            self.assertEqual(code, 110)
        elif expected == 106:
            self.assertEqual(code, 106)
        elif expected == 100:
            self.assertEqual(code, 100)
        else:
            self.assertNotIn(code, (106, 110))
        if isinstance(response.body, Watch):
            response.body.cancel()
        replica.stop()
