"""
The key endpoint while authentication is enabled: who may do what.
"""

import json
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.checks import check_change, check_read
from etcd_twisted.auth.state import AUTH_KEY, AuthState
from etcd_twisted.errors import EtcdError
from etcd_twisted.httpd.handler import ParsedRequest
from etcd_twisted.httpd.responses import Response, as_deferred
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web import writes
from etcd_twisted.web.access import Access
from etcd_twisted.web.auth.passwords import Passwords
from etcd_twisted.web.forms import flag, parse
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.watches import Watch
from tests import examples
from tests.auth.strategies import all_keys, names, states
from tests.web.auth.access import AccessTest
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
