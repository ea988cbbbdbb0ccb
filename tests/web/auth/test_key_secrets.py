"""
The key endpoint while authentication is enabled: nobody learns what it may not read, also later.
"""

import itertools
import json
from collections.abc import Iterator

from etcd_twisted.auth.checks import CAUSE
from etcd_twisted.auth.state import AuthState
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.redirects import RETRY_PAUSE_SECONDS
from etcd_twisted.web.watches import Watch
from tests.web.auth.access import AccessTest
from tests.web.auth.users import access, basic, users


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
        """Make one call that is due, unlike L{Clock.advance}."""
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
