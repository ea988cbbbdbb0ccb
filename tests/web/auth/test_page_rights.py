"""
The pages beside the keys while authentication is enabled: which are open, and which need a right.
"""

import json
from typing import Any

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.checks import CAUSE
from etcd_twisted.auth.state import AuthState
from etcd_twisted.errors import RequestDroppedError
from etcd_twisted.httpd.limits import Limits
from etcd_twisted.httpd.ordinary.channel import Channel
from etcd_twisted.httpd.site import Site
from etcd_twisted.testing.replica import OTHER, FakeReplica
from etcd_twisted.web.admin import AdminPages
from etcd_twisted.web.admin_changes import Configure, RemoveMachine
from etcd_twisted.web.auth.passwords import Passwords
from etcd_twisted.web.member_changes import RemoveMember
from etcd_twisted.web.modules.leader_locks import LeaderLocks
from etcd_twisted.web.modules.lock_queue import PREFIX
from etcd_twisted.web.modules.locks import LockRequest
from tests.web.auth.threads import COST
from tests.web.auth.users import basic, users
from tests.wires import Answer, Transport, Wire, connect, read_answers

LOCK, ELECTION = "/mod/v2/lock/l", "/mod/v2/leader/l"
READ_LOCK = (("GET", LOCK), ("GET", LOCK + "?field=index"), ("GET", ELECTION))
WRITE_LOCK = (
    ("POST", LOCK + "?ttl=9&value=v"), ("PUT", LOCK + "?ttl=9&value=v"), ("DELETE", LOCK + "?value=v"),
    ("PUT", ELECTION + "?ttl=9&name=v"), ("DELETE", ELECTION + "?name=v"),
)  # fmt: skip
OPEN = (
    "/version", "/health", "/metrics", "/v2/machines", "/v2/peers", "/v2/members", "/v2/members/leader", "/v2/leader",
    "/v2/stats/self", "/v2/stats/store", "/v2/stats/leader", "/mod/dashboard/", "/mod/dashboard/app.js",
    "/mod/dashboard/status",
)  # fmt: skip


class PagesTest(SynchronousTestCase):
    """The pages of the client port, through the server."""

    def setUp(self) -> None:
        self.replica = FakeReplica()
        self.wire = Wire(self.replica, passwords=Passwords(maybeDeferred, COST))
        self.addCleanup(self.wire.stop)
        self.replica.register(OTHER)
        self.site: Site = self.wire.site

    def ask(self, user: str | None, method: str, target: str, body: str = "") -> Answer:
        """Sends a request as a user, whose password is its name."""
        transport = self.begin(user, method, target, body)
        self.replica.clock.advance(10.0)
        (answer,) = read_answers(transport.value(), method)
        return answer

    def begin(self, user: str | None, method: str, target: str, body: str = "") -> Transport:
        """Sends a request that may have to wait."""
        header = "" if user is None else f"Authorization: {basic(user, user).decode()}\r\n"
        channel, transport = connect(self.site)
        kind = "application/json" if "members" in target else "application/x-www-form-urlencoded"
        fields = f"Host: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{header}"
        channel.dataReceived(f"{method} {target} HTTP/1.1\r\n{fields}\r\n{body}".encode())
        self.replica.clock.pump([0.0] * 3)
        return transport

    def assert_open(self, state: AuthState, user: str | None, method: str, target: str, body: str = "") -> Answer:
        self.replica.set_auth(state)
        answer = self.ask(user, method, target, body)
        self.assertNotEqual(answer.status, 401, (user, method, target))
        return answer

    def assert_refused(self, state: AuthState, user: str | None, method: str, target: str, body: str = "") -> None:
        """Asserts that a page refuses a request, in the form that it has for errors."""
        self.replica.set_auth(state)
        before = self.replica.keyspace.root
        answer = self.ask(user, method, target, body)
        self.assertEqual(answer.status, 401, (user, method, target))
        found = json.loads(answer.body)
        if target.startswith("/v2/members"):
            self.assertEqual(found, {"message": CAUSE})
        else:
            self.assertEqual((found["errorCode"], found["cause"], found["index"]), (110, CAUSE, 0))
        self.assertIs(self.replica.keyspace.root, before)


class ClientPortTests(PagesTest):
    """The pages of the client port."""

    def test_open_pages(self) -> None:
        """Nobody looks at credentials there."""
        for target in OPEN:
            for user in (None, "root", "nobody"):
                self.assert_open(users(), user, "GET", target)

    def test_changes_of_members_need_root(self) -> None:
        changes = (
            ("POST", "/v2/members", '{"peerURLs":["http://127.0.0.1:7009"]}'),
            ("PUT", "/v2/members/0123", '{"peerURLs":["http://127.0.0.1:7009"]}'),
            ("DELETE", "/v2/members/0123", ""),
        )
        for method, target, body in changes:
            for user in (None, "alice", "nobody"):
                self.assert_refused(users(guest="/*", alice=("/*", "/*")), user, method, target, body)
            self.assert_open(users(), "root", method, target, body)
            self.assert_open(users(enabled=False), "nobody", method, target, body)

    def test_locks_need_the_right_to_their_queue(self) -> None:
        """To read or to write the directory of its keys."""
        key = f"{PREFIX}/l"
        for requests, reads in ((READ_LOCK, True), (WRITE_LOCK, False)):
            for method, target in requests:
                for pattern in (key, PREFIX + "/*", "/*", "/_etcd/mod*"):
                    self.assert_open(users(alice=(pattern, "") if reads else ("", pattern)), "alice", method, target)
                for pattern in ("/_etcd/mod/lock/", key + "/*", "/a*", ""):
                    grant = (pattern, "/*") if reads else ("/*", pattern)
                    self.assert_refused(users(alice=grant, guest="/*"), "alice", method, target)
                self.assert_refused(users(), None, method, target)
                self.assert_refused(users(guest="/*"), "nobody", method, target)
                self.assert_open(users(guest="/*"), None, method, target)

    def test_nobody_gets_a_lock_without_the_right_to_it(self) -> None:
        """Although the right was there when the client began to wait."""
        for kept, status in ((True, 200), (False, 401)):
            self.replica.set_auth(users(alice=("", "/*")))
            self.assertEqual(self.ask("root", "POST", LOCK + "?ttl=60&value=first").status, 200)
            waiting = self.begin("alice", "POST", LOCK + "?ttl=60&value=second")
            self.assertEqual(waiting.value(), b"")
            self.replica.set_auth(users(alice=("", "/*" if kept else "/a*")))
            self.assertEqual(self.ask("root", "DELETE", LOCK + "?value=first").status, 200)
            (answer,) = read_answers(waiting.value(), "POST")
            self.assertEqual(answer.status, status)
            self.replica.delete(f"{PREFIX}/l")

    def test_tokens_need_the_right_to_the_registry(self) -> None:
        for pattern, status in (("/_etcd/registry/*", 200), ("/*", 200), ("/a*", 401), ("/_etcd/registry", 401)):
            self.replica.set_auth(users(alice=("/*", pattern)))
            self.assertEqual(self.ask("alice", "GET", "/discovery/new").status, status)
        self.assert_refused(users(alice=("/*", "/*")), None, "GET", "/discovery/new")
        self.replica.set_auth(users(guest="/*"))
        token = self.ask(None, "GET", "/discovery/new?size=5").body.decode().removeprefix("http://localhost")
        self.assertEqual(self.ask(None, "GET", token + "/_config/size").status, 200)
        self.assert_refused(users(alice=("/a", "/a")), "alice", "GET", token + "/_config/size")
        self.assert_refused(users(alice=("/a", "/a")), "alice", "PUT", token + "/machine", "value=x")
        self.assert_open(users(alice=("/*", "/*")), "alice", "PUT", token + "/machine", "value=x")

    def test_machine_that_does_not_serve_asks_nobody(self) -> None:
        """It may not know the users yet: a request waits, here in vain."""
        self.replica.put("/d/x", "x")
        self.replica.serving = False
        for method, target in (("GET", "/mod/dashboard/count"), *WRITE_LOCK, ("DELETE", "/v2/members/0123")):
            before = self.replica.keyspace.root
            self.assertIn(b"no leader is known", self.ask("nobody", method, target).body, (method, target))
            self.assertIs(self.replica.keyspace.root, before)

    def test_counts_need_the_right_to_read_all(self) -> None:
        self.replica.put("/d/x", "x")
        target = "/mod/dashboard/count?key=/d"
        self.assert_open(users(alice=("/d*", "")), "alice", "GET", target)
        self.assert_refused(users(alice=("/d", "/*")), "alice", "GET", target)
        self.assert_refused(users(), None, "GET", target)
        self.assert_refused(users(alice=("/*", "/*")), "alice", "GET", "/mod/dashboard/count?key=/_etcd")
        self.assert_open(users(), "root", "GET", "/mod/dashboard/count")


class FollowerTests(PagesTest):
    """A follower asks for its clients by name, and the leader decides again."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[str] = []

    def question_of(self, *, writes: bool) -> bytes:
        """Returns what a follower asks."""
        questions: list[bytes] = []
        follower = FakeReplica()
        follower.follow()

        def answers(question: bytes, user: str) -> Any:
            questions.append(question)
            self.asked.append(user)
            raise RequestDroppedError("not now")

        follower.answers = answers
        locks = LeaderLocks(follower, "alice")
        coroutine = locks.acquire(LockRequest(f"{PREFIX}/l", 9, "v")) if writes else locks.holder(f"{PREFIX}/l")
        with self.assertRaises(RequestDroppedError):
            coroutine.send(None)
        return questions[0]

    def test_leader_checks_who_asks(self) -> None:
        answer = self.replica.answer_question
        assert answer is not None
        for writes in (True, False):
            question = self.question_of(writes=writes)
            self.assertEqual(self.asked.pop(), "alice")
            allowed = users(alice=("", f"{PREFIX}/l") if writes else (f"{PREFIX}/l", ""))
            refusing = users(alice=(f"{PREFIX}/l", "") if writes else ("", f"{PREFIX}/l"), guest="/*")
            for state, user, refused in (
                (allowed, "alice", False), (refusing, "alice", True), (refusing, "nobody", True),
                (refusing, "", False), (users(enabled=False), "nobody", False),
            ):  # fmt: skip
                self.replica.set_auth(state)
                answering = answer(question, user)
                self.replica.clock.pump([0.0] * 3)
                answered = self.successResultOf(answering)
                self.assertEqual(CAUSE.encode() in answered, refused, (writes, user))

    def test_leader_checks_who_changes_members(self) -> None:
        """The answer has the form of the page that was asked."""
        answer = self.replica.answer_question
        assert answer is not None
        for change, form in (
            (RemoveMachine("machine1", None), b'"errorCode":110'),
            (Configure(b'{"activeSize":5}'), b'"errorCode":110'),
            (RemoveMember("0123", "somewhere", None), b'{"message":"Insufficient credentials"}'),
        ):
            question = msgspec.msgpack.encode(change)
            self.replica.set_auth(users(alice=("/*", "/*"), guest="/*"))
            for user in ("alice", "", "nobody"):
                self.assertIn(form, self.successResultOf(answer(question, user)))
            self.assertEqual(self.replica.removed, [])
            self.assertNotIn(form, self.successResultOf(answer(question, "root")))
            self.replica.removed.clear()
            self.replica.register(OTHER)


class PeerPortTests(PagesTest):
    """The pages of the peer port."""

    def setUp(self) -> None:
        super().setUp()
        pages = AdminPages(self.replica, self.replica.clock)
        self.site = Site(self.replica.clock, pages, None, Limits(100, 1_000, 10.0, 10.0))

    def test_changes_need_root(self) -> None:
        for method, target, body in (
            ("DELETE", "/v2/admin/machines/machine1", ""),
            ("DELETE", "/v2/admin/machines/machine1?forbid=true", ""),
            ("PUT", "/v2/admin/machines/machine1?forbid=false", ""),
            ("PUT", "/v2/admin/config", '{"activeSize":5}'),
        ):
            for user in (None, "alice"):
                self.assert_refused(users(guest="/*", alice=("/*", "/*")), user, method, target, body)
            self.assert_open(users(), "root", method, target, body)
            self.assert_open(users(enabled=False), None, method, target, body)

    def test_reading_is_open(self) -> None:
        for target in ("/v2/admin/machines", "/v2/admin/machines/machine0", "/v2/admin/config", "/v2/admin/forbidden"):
            self.assert_open(users(), None, "GET", target)

    def test_certificates_are_those_of_machines(self) -> None:
        """Whatever their names are, they are no users."""
        self.patch(Channel, "common_name", "root")
        self.assert_refused(users(), None, "DELETE", "/v2/admin/machines/machine1")
        self.site = self.wire.site
        self.assert_open(users(), None, "DELETE", "/v2/members/0123")
