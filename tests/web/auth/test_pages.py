"""
The pages of users and roles, through the client port over a fake replica: changes at once, machines that do not lead,
and what is never shown. What they answer otherwise is in C{tests.conformance.test_auth}.
"""

import json
from base64 import b64encode
from typing import Any

from twisted.internet.defer import fail
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import AUTH_KEY, AuthState, Role, User
from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import CompareAndSwap, Create
from etcd_twisted.testing.replica import OTHER
from etcd_twisted.web.auth import document
from etcd_twisted.web.auth.failed_attempts import LONGEST_PAUSE_SECONDS
from etcd_twisted.web.auth.passwords import Passwords
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, READ_WAIT_SECONDS
from tests.logs.lines import Log
from tests.web.auth.test_authenticator import hashed
from tests.web.auth.threads import COST, Threads
from tests.wires import Answer, Transport, Wire, read_answers

AUTH = "/v2/auth/"
ROOT = {"root": User("root", hashed("rp"), ("root",)), "alice": User("alice", hashed("ap"))}
CREDENTIALS = "root:rp"


class AuthPagesTest(SynchronousTestCase):
    """
    A test of the pages.

    @ivar threads: where passwords are hashed: at once, unless the test sets C{waits}.
    """

    forwards = True

    def setUp(self) -> None:
        self.threads = Threads()
        self.wire = Wire(most_body=10_000, forwards=self.forwards, passwords=Passwords(self.threads.defer, COST))
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def enable(self, **roles: Role) -> None:
        """Has authentication enabled already."""
        self.replica.set_auth(AuthState(True, ROOT, roles))

    def begin(self, method: str, path: str, body: Any = None, user: str | None = None) -> Transport:
        channel, transport = self.wire.connect()
        content = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        fields = "" if user is None else f"Authorization: Basic {b64encode(user.encode()).decode()}\r\n"
        head = f"{method} {AUTH}{path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(content.encode())}\r\n\r\n"
        channel.dataReceived((head + content).encode())
        return transport

    def answer_to(self, transport: Transport, method: str = "PUT") -> Answer:
        self.threads.run()
        (answer,) = read_answers(transport.value(), method)
        return answer

    def ask(self, method: str, path: str, body: Any = None, user: str | None = None) -> Answer:
        return self.answer_to(self.begin(method, path, body, user), method)

    def put_user(self, name: str, user: str | None = None, **fields: Any) -> Answer:
        return self.ask("PUT", f"users/{name}", {"user": name, **fields}, user)

    def put_role(self, name: str, user: str | None = None, **fields: Any) -> Answer:
        return self.ask("PUT", f"roles/{name}", {"role": name, **fields}, user)

    def assert_refused(self, answer: Answer, status: int, message: str) -> None:
        self.assertEqual((answer.status, json.loads(answer.body)), (status, {"message": message}))
        self.assertEqual(answer.headers["Content-Type"], "application/json")


class EndpointTests(AuthPagesTest):
    """These tests are about what each page is for (spec, "Later additions")."""

    def assert_answer(self, answer: Answer, status: int, body: str) -> None:
        self.assertEqual((answer.status, answer.body.decode()), (status, body))
        self.assertEqual(answer.headers["Content-Type"], "application/json")

    def test_switch(self) -> None:
        """Authentication is enabled and disabled."""
        self.put_user("root", password="rp")
        self.assert_answer(self.ask("PUT", "enable"), 200, "")
        self.assert_answer(self.ask("GET", "enable"), 200, '{"enabled":true}\n')
        self.assert_answer(self.ask("DELETE", "enable", user=CREDENTIALS), 200, "")
        self.assert_answer(self.ask("GET", "enable"), 200, '{"enabled":false}\n')

    def test_user(self) -> None:
        """A user is created, changed, shown with its roles whole, and deleted."""
        self.put_role("r")
        self.assert_answer(self.put_user("a", password="x"), 201, '{"user":"a","roles":null}\n')
        self.assert_answer(self.put_user("a", grant=["r", "q"]), 200, '{"user":"a","roles":["q","r"]}\n')
        self.assert_answer(self.put_user("a", password="y", revoke=["q"]), 200, '{"user":"a","roles":["r"]}\n')
        shown = '{"user":"a","roles":[{"role":"r","permissions":{"kv":{"read":null,"write":null}}}]}\n'
        self.assert_answer(self.ask("GET", "users/a"), 200, shown)
        self.assert_answer(self.ask("DELETE", "users/a"), 200, "")
        self.assert_refused(self.ask("GET", "users/a"), 404, "auth: User a does not exist.")

    def test_role(self) -> None:
        """A role is created, changed, shown and deleted."""
        kv = {"kv": {"read": ["/b", "/a"]}}
        shown = '{"role":"r","permissions":{"kv":{"read":["/b","/a"],"write":null}}}\n'
        self.assert_answer(self.put_role("r", permissions=kv), 201, shown)
        self.assert_answer(self.ask("GET", "roles/r"), 200, shown)
        shown = '{"role":"r","permissions":{"kv":{"read":["/a"],"write":["/*"]}}}\n'
        changed = self.put_role("r", grant={"kv": {"write": ["/*"]}}, revoke={"kv": {"read": ["/b"]}})
        self.assert_answer(changed, 200, shown)
        self.assert_answer(self.ask("DELETE", "roles/r"), 200, "")
        self.assert_refused(self.ask("GET", "roles/r"), 404, "auth: Role r does not exist.")

    def test_listings(self) -> None:
        """All users and all roles are listed, sorted by their names."""
        self.assert_answer(self.ask("GET", "users"), 200, '{"users":null}\n')
        for name in ("b", "_a"):
            self.put_user(name, password="x", roles=["root"])
        root = '{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}'
        users = f'{{"users":[{{"user":"_a","roles":[{root}]}},{{"user":"b","roles":[{root}]}}]}}\n'
        self.assert_answer(self.ask("GET", "users"), 200, users)
        self.assert_answer(self.ask("GET", "roles"), 200, f'{{"roles":[{root}]}}\n')


class ChangeTests(AuthPagesTest):
    """These tests are about how the document is changed."""

    def test_each_change_is_one_swap_of_the_document(self) -> None:
        """The first one creates it."""
        self.assertEqual(self.put_user("alice", password="x").status, 201)
        self.assertEqual(self.put_role("r").status, 201)
        first, second = self.replica.proposed
        assert isinstance(first, Create)
        assert isinstance(second, CompareAndSwap)
        self.assertEqual((first.key, second.key, second.previous_index > 0), (AUTH_KEY, AUTH_KEY, True))
        self.assertEqual(set(self.replica.auth.users), {"alice"})

    def test_two_at_once_are_both_made(self) -> None:
        """The one that comes second is made again, whether or not there was a document before."""
        for rounds in range(2):
            self.replica.holding = True
            names = [f"{each}{rounds}" for each in "abcdefgh"]
            transports = [self.begin("PUT", f"roles/{each}", {"role": each}) for each in names]
            self.replica.release()
            self.assertEqual([self.answer_to(each).status for each in transports], [201] * 8)
            self.assertLessEqual(set(names), set(self.replica.auth.roles))
        self.assertEqual(len(self.replica.auth.roles), 16)

    def test_two_that_exclude_each_other(self) -> None:
        """One of them is refused, by the state that the other has made."""
        self.replica.holding = True
        transports = [self.begin("PUT", "roles/r", {"role": "r"}) for _ in range(2)]
        self.replica.release()
        first, second = (self.answer_to(each) for each in transports)
        self.assertEqual(first.status, 201)
        self.assert_refused(second, 409, "auth: Role r already exists.")

    def test_a_right_that_is_revoked_meanwhile(self) -> None:
        """The change is not made: the right to make it is that of the state that is replaced."""
        self.enable()
        self.ask("GET", "users", user=CREDENTIALS)
        self.replica.holding = True
        transport = self.begin("PUT", "roles/r", {"role": "r"}, CREDENTIALS)
        without = {"alice": ROOT["alice"]}
        self.replica.set_auth(AuthState(True, without))
        self.replica.release()
        self.assert_refused(self.answer_to(transport), 401, "Insufficient credentials")
        self.assertEqual(self.replica.auth.roles, {})

    def test_an_unknown_outcome_is_an_error(self) -> None:
        """Nothing is tried again."""
        self.replica.holding = True
        transport = self.begin("PUT", "roles/r", {"role": "r"})
        cause = "the outcome is unknown"
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, cause))
        self.assert_refused(self.answer_to(transport), 500, cause)
        self.assertEqual(len(self.replica.proposed), 1)

    def test_there_is_no_end_of_conflicts(self) -> None:
        self.patch(document, "_MOST_TRIES", 3)
        self.patch(self.replica, "_apply", lambda _: failing(ErrorCode.COMPARE_FAILED))
        self.assertEqual(self.put_role("r").status, 500)
        self.assertEqual(len(self.replica.proposed), 3)

    def test_the_document_has_a_bound(self) -> None:
        self.patch(document, "MOST_BYTES", 500)
        for pattern in ("/" + 500 * "x", "/" + 250 * "é"):
            answer = self.put_role("r", permissions={"kv": {"read": [pattern]}})
            self.assertEqual(answer.status, 400)
            self.assertIn("500 bytes", json.loads(answer.body)["message"])
        self.assertEqual(self.replica.proposed, [])

    def test_a_client_that_goes_away_while_its_password_is_hashed(self) -> None:
        """Nothing is changed."""
        transport = self.begin("PUT", "users/alice", {"user": "alice", "password": "x"})
        transport.client_goes()
        self.threads.run()
        self.assertEqual(self.replica.proposed, [])


class PasswordTests(AuthPagesTest):
    def test_a_password_of_72_bytes_is_the_longest(self) -> None:
        self.assertEqual(self.put_user("alice", password="é" * 36).status, 201)
        answer = self.put_user("bob", password="é" * 36 + "x")
        self.assert_refused(answer, 400, "auth: A password may have 72 bytes, and not 73")
        self.assertEqual(set(self.replica.auth.users), {"alice"})

    def test_a_new_password_counts_at_once(self) -> None:
        """The old one does not any more, although it was remembered."""
        self.enable()
        self.assertEqual(self.ask("GET", "users", user=CREDENTIALS).status, 200)
        self.assertEqual(self.put_user("root", CREDENTIALS, password="new").status, 200)
        self.assertEqual(self.ask("GET", "users", user=CREDENTIALS).status, 401)
        self.assertEqual(self.ask("GET", "users", user="root:new").status, 200)

    def test_no_answer_and_no_line_has_a_password_or_a_hash(self) -> None:
        log = Log(self)
        self.replica.clock.advance(1)
        answers = [self.put_user("root", password="secret"), self.put_user("alice", password="secret", roles=["r"])]
        answers += [self.put_role("r"), self.ask("PUT", "enable")]
        for path in ("users", "users/root", "users/alice", "roles", "roles/r", "enable"):
            answers.append(self.ask("GET", path, user="root:secret"))
        answers.append(self.put_user("alice", "root:secret", password="secret2"))
        answers.append(self.put_user("alice", "root:secret", password=7))
        answers.append(self.put_user("alice", "root:wrong secret", password="secret"))
        self.assertEqual([each.status for each in answers], [201, 200, 201, *[200] * 8, 400, 401])
        for text in [each.body.decode() for each in answers] + [repr(each) + formatEvent(each) for each in log.events]:
            self.assertNotIn("secret", text)
            self.assertNotIn("$2b$", text)


def failing(code: ErrorCode) -> Any:
    """Returns a Deferred that has failed with an error."""
    return fail(EtcdError(code, "x"))


class RightsTests(AuthPagesTest):
    """These tests are about who may use the pages while authentication is enabled."""

    def answer_to(self, transport: Transport, method: str = "PUT") -> Answer:
        """Waits as long as wrong credentials are slowed down."""
        self.threads.run()
        self.wire.clock.advance(LONGEST_PAUSE_SECONDS)
        return super().answer_to(transport, method)

    def test_only_root_may(self) -> None:
        """A role that may read and write all keys is not enough."""
        everything = ("/*", "/_etcd/*")
        self.enable(guest=Role("guest", everything, everything))
        requests = [("GET", "users"), ("GET", "users/alice"), ("GET", "roles"), ("GET", "roles/guest")]
        requests += [("PUT", "users/alice"), ("DELETE", "users/alice"), ("PUT", "roles/guest"), ("PUT", "enable")]
        requests += [("DELETE", "roles/guest"), ("DELETE", "enable"), ("DELETE", "users/nobody"), ("PUT", "roles/x")]
        for user in (None, "alice:ap", "alice:wrong", "nobody:rp", "root:wrong", "root:", ":rp"):
            for method, path in requests:
                self.assert_refused(self.ask(method, path, user=user), 401, "Insufficient credentials")
        self.assertEqual(self.replica.proposed, [])

    def test_everybody_may_know_whether_it_is_enabled(self) -> None:
        """Credentials are not even looked at."""
        self.assertEqual(self.ask("GET", "enable").body, b'{"enabled":false}\n')
        self.enable()
        for user in (None, "root:wrong"):
            self.assertEqual(self.ask("GET", "enable", user=user).body, b'{"enabled":true}\n')
        self.assertEqual(self.threads.calls, 0)

    def test_nobody_may_while_the_document_is_unreadable(self) -> None:
        self.replica.put(AUTH_KEY, "{")
        for user in (None, CREDENTIALS):
            self.assertEqual(self.ask("GET", "users", user=user).status, 401)
            self.assertEqual(self.ask("DELETE", "enable", user=user).status, 401)

    def test_disabling_opens_everything(self) -> None:
        self.enable()
        self.assertEqual(self.ask("DELETE", "enable", user=CREDENTIALS).status, 200)
        self.assertEqual(self.ask("GET", "users", user="root:wrong").status, 200)


class LogTests(AuthPagesTest):
    WARNING = "Authentication is enabled, and still everybody may read and write all keys"

    def warnings(self, log: Log) -> int:
        return sum(each.startswith(self.WARNING) for each in log.warnings)

    def test_open_doors_are_said_loudly(self) -> None:
        """That is when authentication is enabled, and when guests get the rights later."""
        log = Log(self)
        self.put_user("root", password="rp")
        self.assertEqual(self.warnings(log), 0)
        self.ask("PUT", "enable")
        self.assertEqual(self.warnings(log), 1)
        self.put_role("guest", CREDENTIALS, revoke={"kv": {"write": ["/*"]}})
        self.put_user("alice", CREDENTIALS, password="x")
        self.assertEqual(self.warnings(log), 1)
        self.put_role("guest", CREDENTIALS, grant={"kv": {"write": ["/*"]}})
        self.assertEqual(self.warnings(log), 2)

    def test_closed_doors_are_not(self) -> None:
        log = Log(self)
        self.put_user("root", password="rp")
        self.put_role("guest", permissions={"kv": {"read": ["/*"]}})
        self.ask("PUT", "enable")
        self.assertEqual(self.warnings(log), 0)

    def test_the_log_says_who_changed_what(self) -> None:
        log = Log(self)
        self.put_role("r")
        self.enable()
        self.ask("DELETE", "roles/r", user=CREDENTIALS)
        self.put_user("bob", CREDENTIALS, password="x")
        self.ask("GET", "users", user=CREDENTIALS)
        lines = [formatEvent(each) for each in log.events if "changed users and roles" in formatEvent(each)]
        who = ["A guest changed users and roles: 'PUT roles/r'", "'root' changed users and roles: 'PUT users/bob'"]
        self.assertEqual(lines, who)


class FollowerTests(AuthPagesTest):
    """These tests ask a machine that does not lead, and has the leader make changes."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.register(OTHER)
        self.replica.follow()

    def test_the_leader_makes_changes(self) -> None:
        self.assertEqual(self.put_user("root", password="rp").status, 201)
        self.assertEqual(self.ask("PUT", "enable").status, 200)
        self.assertEqual(len(self.replica.forwarded), 2)
        self.assertEqual(self.ask("GET", "users", user=CREDENTIALS).status, 200)

    def test_two_at_once_are_both_made(self) -> None:
        self.replica.holding = True
        transports = [self.begin("PUT", f"roles/{each}", {"role": each}) for each in "abc"]
        self.replica.release_once()  # the copies are confirmed
        self.replica.release()
        self.assertEqual([self.answer_to(each).status for each in transports], [201] * 3)
        self.assertEqual(set(self.replica.auth.roles), set("abc"))

    def test_a_change_is_not_refused_by_an_old_copy(self) -> None:
        """The copy is confirmed before the change is looked at."""
        self.replica.holding = True
        transport = self.begin("PUT", "roles/r", {"role": "r", "grant": {"kv": {"read": ["/a"]}}})
        self.replica.set_auth(AuthState(False, {}, {"r": Role("r")}))  # somebody has created the role meanwhile
        self.replica.release_once()
        self.replica.release()
        self.assertEqual(self.answer_to(transport).status, 200)

    def test_a_change_waits_for_a_leader(self) -> None:
        """One comes, and the change is made once; or none comes in time."""
        self.replica.lose_leader()
        transport = self.begin("PUT", "roles/r", {"role": "r"})
        self.assertEqual(transport.value(), b"")
        self.replica.follow()
        self.assertEqual(self.answer_to(transport).status, 201)
        self.replica.lose_leader()
        transport = self.begin("PUT", "roles/s", {"role": "s"})
        self.wire.clock.advance(MIN_LEADER_WAIT_SECONDS)
        self.assert_refused(self.answer_to(transport), 500, "no leader is known; try again")
        self.assertEqual(self.ask("GET", "roles/r", "GET").status, 200)

    def test_a_change_that_was_dropped_is_tried_again(self) -> None:
        self.replica.holding = True
        transport = self.begin("PUT", "roles/r", {"role": "r"})
        self.replica.release_once()
        self.replica.fail_held(RequestDroppedError("another machine leads"))
        self.wire.clock.advance(0.1)
        self.assertEqual(self.answer_to(transport).status, 201)
        self.assertEqual(set(self.replica.auth.roles), {"r"})

    def test_a_leader_that_takes_no_such_requests(self) -> None:
        """The client is sent there."""
        self.replica.unforwarded = CannotForwardError("an old version")
        answer = self.put_role("r")
        self.assertEqual((answer.status, answer.headers["Location"]), (307, f"{OTHER.client_url}{AUTH}roles/r"))
        self.assertEqual(self.ask("GET", "roles").status, 200)


class RedirectTests(AuthPagesTest):
    """These tests ask a machine that does not lead, and redirects changes."""

    forwards = False

    def test_changes_are_redirected(self) -> None:
        """Listings are not. While no leader is known, a change waits for one."""
        self.replica.register(OTHER)
        self.replica.follow()
        answer = self.ask("PUT", "users/a%20b?x=y", {"user": "a b", "password": "x"})
        location = f"{OTHER.client_url}{AUTH}users/a%20b?x=y"
        self.assertEqual((answer.status, answer.headers["Location"]), (307, location))
        self.assertEqual(self.ask("GET", "users").status, 200)
        self.replica.lose_leader()
        transport = self.begin("PUT", "roles/r", {"role": "r"})
        self.assertEqual(transport.value(), b"")
        self.replica.lead()
        self.assertEqual(self.answer_to(transport).status, 201)


class NotServingTests(AuthPagesTest):
    """These tests ask a machine whose copy can't be read, so that it does not know users and rights."""

    def test_a_request_waits_for_the_copy(self) -> None:
        """Authentication may be enabled, as it turns out."""
        self.replica.serving = False
        waiting = [self.begin("GET", "users"), self.begin("GET", "enable")]
        self.assertEqual([each.value() for each in waiting], [b"", b""])
        self.enable()
        self.replica.serve()
        self.assertEqual(self.answer_to(waiting[0], "GET").status, 401)
        self.assertEqual(self.answer_to(waiting[1], "GET").body, b'{"enabled":true}\n')

    def test_it_does_not_wait_for_ever(self) -> None:
        self.replica.serving = False
        transport = self.begin("GET", "users")
        self.wire.clock.advance(READ_WAIT_SECONDS)
        self.assertEqual(self.answer_to(transport, "GET").status, 500)

    def test_a_machine_that_becomes_a_standby_redirects(self) -> None:
        self.replica.serving = False
        transport = self.begin("GET", "users")
        self.replica.stand_by()
        self.assertEqual(self.answer_to(transport, "GET").headers["Location"], f"{OTHER.client_url}{AUTH}users")
        self.assertEqual(self.ask("GET", "users").status, 307)
