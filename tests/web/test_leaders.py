"""
The key endpoint on machines that do not lead: followers, standbys, and those that know of no leader.
"""

import itertools

from twisted.internet.defer import Deferred, fail

from etcd_twisted.errors import ErrorCode, EtcdError, NotDoneError
from etcd_twisted.httpd.responses import Response
from etcd_twisted.keyspace import commands
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.testing.replica import MACHINE, OTHER
from etcd_twisted.web.keys import READ_WAIT_SECONDS, KeyEndpoint
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, RETRY_PAUSE_SECONDS
from etcd_twisted.web.watches import Watch
from tests.web.test_keys import EndpointTest

NOBODY = "no leader is known; try again"

FOR_THE_LEADER = (
    ("PUT", "prevExist=true"),
    ("POST", ""),
    ("DELETE", ""),
    ("GET", "quorum=true"),
    ("HEAD", "consistent=true"),
    ("GET", "quorum=true&consistent=false"),
    ("GET", "consistent=true&wait=true"),
    ("GET", "quorum=true&wait=true&stream=true&recursive=true"),
)
"""Methods and query strings."""

FOR_ANYBODY = (
    ("GET", ""),
    ("HEAD", "sorted=true"),
    ("GET", "quorum=false&consistent=false"),
    ("GET", "wait=true"),
    ("GET", "wait=true&stream=true"),
)


class LeaderTest(EndpointTest):
    """An endpoint whose replica is not always the leader."""

    def assert_redirected(self, response: Response, query: str = "", path: str = "/a%20b") -> None:
        target = f"http://127.0.0.1:4002/v2/keys{path}{'?' if query else ''}{query}"
        self.assertEqual((response.status, response.body), (307, b"307 the leader is elsewhere\n"))
        self.assertIn(b"Location: %s\r\n" % target.encode(), response.fields)

    def assert_quiet(self) -> None:
        """Nothing is left to be done, and nothing was."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.replica.proposed, [])

    def begin(self, method: str, path: str, query: str = "", value: str = "v") -> "Deferred[Response]":
        """Ask for what can't be answered at once."""
        answer = self.start(method, path, query, value=value)
        self.assertIsInstance(answer, Deferred)
        self.assertNoResult(answer)
        return answer


class FollowerTests(LeaderTest):
    """A machine that follows another."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/a b", value="v")
        self.replica.proposed.clear()
        self.replica.follow()

    def test_redirects(self) -> None:
        """
        Writes and reads that only the leader answers go there, path and query kept; nobody waits (api, "Read from the
        Master"; spec, "Redirects").
        """
        for method, query in FOR_THE_LEADER:
            self.assert_redirected(self.ask(method, "/a%20b", query), query)
        self.assert_quiet()

    def test_nothing_is_looked_at(self) -> None:
        """Whether a write makes sense is the leader's to say."""
        self.assert_redirected(self.ask("PUT", "/%zz", "ttl=x"), "ttl=x", "/%zz")

    def test_reads_stay(self) -> None:
        """Plain reads and watches are answered from this machine's copy (api, "Read from the Master")."""
        for method, query in FOR_ANYBODY:
            self.assertEqual(self.ask(method, "/a%20b", query).status, 200)

    def test_redirect_is_one_line(self) -> None:
        """A registered URL can't put headers of its own into an answer."""
        self.replica.follow(type(MACHINE)("evil", "http://x\r\nSet-Cookie: y", "http://x"))
        response = self.ask("PUT", "/k", value="v")
        self.assertIn(b"Location: http://x%0D%0ASet-Cookie:%20y/v2/keys/k\r\n", response.fields)


class LeaderlessTests(LeaderTest):
    """A machine that knows of no leader."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/a b", value="v")
        self.replica.proposed.clear()
        self.replica.lose_leader()

    def test_waits_for_another(self) -> None:
        """And sends the client there."""
        answers = [(query, self.begin(method, "/a%20b", query)) for method, query in FOR_THE_LEADER]
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.replica.follow()
        for query, answer in answers:
            self.assert_redirected(self.successResultOf(answer), query)
        self.assert_quiet()

    def test_waits_for_itself(self) -> None:
        """And does what was asked."""
        write = self.begin("PUT", "/k", "", "new")
        read = self.begin("GET", "/a%20b", "quorum=true")
        self.replica.lead()
        self.assertEqual(self.successResultOf(write).status, 201)
        self.assertEqual(self.json(self.successResultOf(read))["node"]["value"], "v")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_does_not_wait_for_ever(self) -> None:
        """300 that says why, whatever was asked, and nothing proposed later (spec, "Redirects")."""
        answers = [self.begin(method, "/a%20b", query) for method, query in FOR_THE_LEADER]
        self.clock.advance(MIN_LEADER_WAIT_SECONDS - 0.01)
        for answer in answers:
            self.assertNoResult(answer)
        self.clock.advance(0.01)
        for answer in answers:
            self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.replica.lead()
        self.assert_quiet()

    def test_waits_as_long_as_it_is_told(self) -> None:
        """What the elections of this cluster take."""
        self.endpoint = KeyEndpoint(self.replica, self.clock, 12.5)
        answer = self.begin("PUT", "/k")
        self.clock.advance(12.4)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)

    def test_nobody_waits_any_more(self) -> None:
        """A request whose client has gone is forgotten, quietly."""
        for method, query in FOR_THE_LEADER:
            answer = self.begin(method, "/k", query)
            answer.cancel()
            self.successResultOf(answer)
            self.assert_quiet()
        self.replica.lead()
        self.assert_quiet()

    def test_stops(self) -> None:
        """Who waits is told, and no other error is made up."""
        answer = self.begin("PUT", "/k")
        self.replica.stop_serving(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping"))
        self.assert_error(self.successResultOf(answer), 300, "this machine is stopping", 500)
        self.assert_quiet()

    def test_reads_need_none(self) -> None:
        """Plain reads and watches are answered as ever; so is what is no request about a key."""
        for method, query in FOR_ANYBODY:
            self.assertEqual(self.ask(method, "/a%20b", query).status, 200)
        self.assertEqual(self.ask("OPTIONS", "/k").status, 200)
        self.assertEqual(self.ask("PATCH", "/k").status, 405)


class LostTests(LeaderTest):
    """A leader that is one no longer before it has answered."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/k", value="v")
        self.replica.proposed.clear()
        self.replica.holding = True
        self.replica.leased = False

    def test_reads_go_to_the_new_one(self) -> None:
        """As soon as it is known."""
        for query in ("quorum=true", "consistent=true"):
            self.replica.lead()
            self.replica.holding = True
            answer = self.begin("GET", "/k", query)
            self.replica.lose_leader()
            self.replica.fail_held(NotDoneError("this machine no longer leads"))
            self.assertNoResult(answer)
            self.replica.follow()
            self.assert_redirected(self.successResultOf(answer), query, "/k")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reads_are_confirmed_again(self) -> None:
        """If this machine leads again; nothing is read before."""
        answer = self.begin("GET", "/k", "quorum=true")
        self.replica.fail_held(NotDoneError())
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual(self.json(self.successResultOf(answer))["node"]["value"], "v")
        self.replica.holding = True
        answer = self.begin("GET", "/k", "quorum=true")
        self.replica.lose_leader()
        self.replica.fail_held(NotDoneError())
        self.replica.holding = True
        self.replica.lead()
        self.assertNoResult(answer)
        self.replica.keyspace.apply(commands.Set("/k", self.replica.now(), "new"))
        self.replica.release()
        self.assertEqual(self.json(self.successResultOf(answer))["node"]["value"], "new")

    def test_writes_that_were_not_done(self) -> None:
        """The client repeats them at the new leader."""
        answer = self.begin("PUT", "/k", "prevIndex=2")
        self.replica.follow()
        self.replica.fail_held(NotDoneError())
        self.assert_redirected(self.successResultOf(answer), "prevIndex=2", "/k")

    def test_writes_that_were_not_done_and_no_leader(self) -> None:
        """They wait for one, and are given up in time."""
        answer = self.begin("PUT", "/k")
        other = self.begin("PUT", "/k")
        self.replica.lose_leader()
        self.replica.fail_held(NotDoneError())
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.assertNoResult(answer)
        answer.cancel()
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.assert_error(self.successResultOf(other), 300, NOBODY, 500)
        self.replica.lead()
        self.assertEqual(len(self.replica.proposed), 2)

    def test_writes_that_were_not_done_and_lead_again(self) -> None:
        """They are proposed once more, with the same meaning."""
        answer = self.begin("POST", "/q")
        self.replica.lose_leader()
        self.replica.fail_held(NotDoneError())
        self.replica.lead()
        self.assertEqual(self.successResultOf(answer).status, 201)
        first, second = self.replica.proposed
        self.assertEqual(first, second)

    def test_writes_that_nobody_waits_for(self) -> None:
        """They are not repeated: what their clients have done since must stand."""
        answer = self.begin("PUT", "/k")
        answer.cancel()
        self.replica.lose_leader()
        self.replica.fail_held(NotDoneError())
        self.replica.lead()
        self.clock.advance(MIN_LEADER_WAIT_SECONDS)
        self.assertEqual(len(self.replica.proposed), 1)

    def test_writes_that_may_have_been_done(self) -> None:
        """The client is told just that, and they are not repeated (spec, "Redirects")."""
        answer = self.begin("PUT", "/k")
        self.replica.follow()
        cause = "this machine no longer leads; whether the write was done is unknown"
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, cause))
        self.assert_error(self.successResultOf(answer), 300, cause, 500)
        self.assertEqual(len(self.replica.proposed), 1)

    def test_one_deadline_for_all_leaders(self) -> None:
        """A cluster whose leaders come and go can't hold a request for longer."""
        answer = self.begin("GET", "/k", "quorum=true")
        waited = 0.0
        while waited < MIN_LEADER_WAIT_SECONDS:
            self.assertNoResult(answer)
            self.replica.lose_leader()
            self.replica.fail_held(NotDoneError())
            self.clock.advance(MIN_LEADER_WAIT_SECONDS / 4)
            waited += MIN_LEADER_WAIT_SECONDS / 4
            self.replica.holding = True
            self.replica.lead()
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leader_that_can_do_nothing(self) -> None:
        """Not even that can make a request wait for ever, nor take the time of others."""
        proposed: list[Change] = []

        def nothing(command: Change) -> "Deferred[Event]":
            proposed.append(command)
            return fail(NotDoneError())

        self.patch(self.replica, "propose", nothing)
        answer = self.begin("PUT", "/k")
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual(len(proposed), 2)
        self.clock.pump(itertools.repeat(RETRY_PAUSE_SECONDS, round(MIN_LEADER_WAIT_SECONDS / RETRY_PAUSE_SECONDS)))
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LostWhileFullTests(LostTests):
    """The same of a leader whose changes have to wait for room."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.full = True


class LeaseTests(LeaderTest):
    """C{consistent=true} on the leader."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/k", value="v")
        self.replica.holding = True

    def test_with_a_lease(self) -> None:
        """Answered at once (spec, "Reads")."""
        self.assertEqual(self.ask("GET", "/k", "consistent=true").status, 200)

    def test_without_one(self) -> None:
        """Nothing is read before the lead is confirmed; a watch begins then (api, "Using a directory TTL")."""
        self.replica.leased = False
        read = self.begin("GET", "/k", "consistent=true")
        watch = self.begin("GET", "/k", "consistent=true&wait=true")
        self.replica.keyspace.apply(commands.Set("/k", self.replica.now(), "new"))
        self.assertEqual(self.replica.keyspace.hub.count, 0)
        self.replica.release()
        self.assertEqual(self.json(self.successResultOf(read))["node"]["value"], "new")
        self.assertIsInstance(self.successResultOf(watch).body, Watch)

    def test_quorum_needs_more(self) -> None:
        """A lease is not enough for a linearizable read, whatever else is asked for."""
        answer = self.begin("GET", "/k", "consistent=true&quorum=true")
        self.replica.release()
        self.assertEqual(self.successResultOf(answer).status, 200)


class StartingTests(LeaderTest):
    """A machine that has no copy to read yet."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.serving = False

    def test_reads_wait(self) -> None:
        """And are answered as if they came then."""
        self.replica.follow()
        self.replica.register(OTHER)
        answers = [self.begin("GET", "/_etcd/machines", query) for query in ("", "recursive=true", "wait=true")]
        self.clock.advance(READ_WAIT_SECONDS / 2)
        for answer in answers:
            self.assertNoResult(answer)
        self.replica.serve()
        for answer in answers:
            self.assertEqual(self.successResultOf(answer).status, 200)
        self.assert_quiet()

    def test_reads_do_not_wait_for_ever(self) -> None:
        """The cause says what is missing."""
        for follow, cause in (
            (self.replica.lose_leader, NOBODY),
            (self.replica.follow, "this machine is catching up with the others; try again"),
        ):
            follow()
            answer = self.begin("GET", "/k")
            self.clock.advance(READ_WAIT_SECONDS)
            self.assert_error(self.successResultOf(answer), 300, cause, 500)
        self.assert_quiet()

    def test_what_is_for_the_leader_goes_there(self) -> None:
        """This machine's copy is not needed for that."""
        self.replica.follow()
        for method, query in FOR_THE_LEADER:
            self.assert_redirected(self.ask(method, "/a%20b", query), query)

    def test_leader(self) -> None:
        """It reads from its copy like any other, and takes changes at once."""
        read = self.begin("GET", "/k", "consistent=true")
        self.assertEqual(self.ask("PUT", "/k", value="v").status, 201)
        self.replica.serve()
        self.assertEqual(self.json(self.successResultOf(read))["node"]["value"], "v")

    def test_nobody_waits_any_more(self) -> None:
        """A request whose client has gone is forgotten, quietly."""
        answer = self.begin("GET", "/k")
        answer.cancel()
        self.successResultOf(answer)
        self.assert_quiet()
        self.replica.serve()

    def test_stops(self) -> None:
        """Who waits is told."""
        answer = self.begin("GET", "/k")
        self.replica.stop_serving(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping"))
        self.assert_error(self.successResultOf(answer), 300, "this machine is stopping", 500)
        self.assert_quiet()

    def test_becomes_a_standby(self) -> None:
        """There is no place for it: the client is sent to the leader."""
        answer = self.begin("GET", "/k")
        self.replica.stand_by()
        self.clock.advance(READ_WAIT_SECONDS)
        self.assert_redirected(self.successResultOf(answer), "", "/k")

    def test_bad_parameters(self) -> None:
        """They are bad on every machine."""
        self.replica.follow()
        self.assert_error(self.ask("GET", "/k", "quorum=2"), 209, "quorum")


class StandbyTests(LeaderTest):
    """A machine that has no copy and shall have none."""

    def test_sends_everyone_away(self) -> None:
        """Whatever is asked, and however (spec, "Standby")."""
        self.replica.stand_by()
        for method, query in (*FOR_THE_LEADER, *FOR_ANYBODY, ("PATCH", "x=y"), ("GET", "wait=1")):
            self.assert_redirected(self.ask(method, "/a%20b", query), query)
        self.assert_quiet()

    def test_no_leader(self) -> None:
        """As with any other machine: requests wait, but not for ever."""
        self.replica.stand_by(leader=None)
        self.assertEqual(self.ask("OPTIONS", "/k").status, 200)
        for method in ("PUT", "GET"):
            answer = self.begin(method, "/k")
            self.clock.advance(MIN_LEADER_WAIT_SECONDS)
            self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
            answer = self.begin(method, "/k")
            self.replica.stand_by()
            self.assert_redirected(self.successResultOf(answer), "", "/k")
            self.replica.stand_by(leader=None)
        self.assert_quiet()
