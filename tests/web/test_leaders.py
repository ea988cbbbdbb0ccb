"""
The key endpoint on machines that do not lead: followers, standbys, and machines that know no leader.
"""

import itertools

from twisted.internet.defer import Deferred, fail

from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.httpd.responses import Response
from etcd_twisted.keyspace import commands
from etcd_twisted.keyspace.commands import Change
from etcd_twisted.keyspace.events import Event
from etcd_twisted.testing.replica import MACHINE, OTHER
from etcd_twisted.web.keys import KeyEndpoint
from etcd_twisted.web.redirects import MIN_LEADER_WAIT_SECONDS, READ_WAIT_SECONDS, RETRY_PAUSE_SECONDS
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
        """Asserts that nothing was proposed and that nothing is scheduled."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.replica.proposed, [])

    def begin(self, method: str, path: str, query: str = "", value: str = "v") -> "Deferred[Response]":
        """Sends a request that cannot be answered at once."""
        answer = self.start(method, path, query, value=value)
        self.assertIsInstance(answer, Deferred)
        self.assertNoResult(answer)
        return answer


class FollowerTests(LeaderTest):
    """These tests are about a machine that follows another."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/a b", value="v")
        self.replica.proposed.clear()
        self.replica.follow()

    def test_requests_for_the_leader_are_redirected(self) -> None:
        """
        Writes and reads that only the leader answers go there with path and query kept, and none waits (api, "Read
        from the Master"; spec, "Redirects").
        """
        for method, query in FOR_THE_LEADER:
            self.assert_redirected(self.ask(method, "/a%20b", query), query)
        self.assert_quiet()

    def test_redirected_requests_are_not_examined(self) -> None:
        """The leader decides whether a write makes sense."""
        self.assert_redirected(self.ask("PUT", "/%zz", "ttl=x"), "ttl=x", "/%zz")

    def test_plain_reads_are_answered(self) -> None:
        """Plain reads and watches are answered from this machine's copy (api, "Read from the Master")."""
        for method, query in FOR_ANYBODY:
            self.assertEqual(self.ask(method, "/a%20b", query).status, 200)

    def test_redirect_is_one_line(self) -> None:
        """A registered URL cannot put headers of its own into a response."""
        self.replica.follow(type(MACHINE)("evil", "http://x\r\nSet-Cookie: y", "http://x"))
        response = self.ask("PUT", "/k", value="v")
        self.assertIn(b"Location: http://x%0D%0ASet-Cookie:%20y/v2/keys/k\r\n", response.fields)


class LeaderlessTests(LeaderTest):
    """These tests are about a machine that knows no leader."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/a b", value="v")
        self.replica.proposed.clear()
        self.replica.lose_leader()

    def test_request_waits_for_another_leader(self) -> None:
        """The client is then redirected to it."""
        answers = [(query, self.begin(method, "/a%20b", query)) for method, query in FOR_THE_LEADER]
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.replica.follow()
        for query, answer in answers:
            self.assert_redirected(self.successResultOf(answer), query)
        self.assert_quiet()

    def test_request_waits_for_this_machine_to_lead(self) -> None:
        """The machine then does what was asked."""
        write = self.begin("PUT", "/k", "", "new")
        read = self.begin("GET", "/a%20b", "quorum=true")
        self.replica.lead()
        self.assertEqual(self.successResultOf(write).status, 201)
        self.assertEqual(self.json(self.successResultOf(read))["node"]["value"], "v")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wait_is_bounded(self) -> None:
        """Any request gets error 300 with the reason, and nothing is proposed later (spec, "Redirects")."""
        answers = [self.begin(method, "/a%20b", query) for method, query in FOR_THE_LEADER]
        self.clock.advance(MIN_LEADER_WAIT_SECONDS - 0.01)
        for answer in answers:
            self.assertNoResult(answer)
        self.clock.advance(0.01)
        for answer in answers:
            self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.replica.lead()
        self.assert_quiet()

    def test_wait_is_as_long_as_given(self) -> None:
        """The length depends on how long this cluster's elections take."""
        self.endpoint = KeyEndpoint(self.replica, self.clock, 12.5)
        answer = self.begin("PUT", "/k")
        self.clock.advance(12.4)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)

    def test_request_of_a_client_that_goes_is_dropped(self) -> None:
        """Nothing is logged."""
        for method, query in FOR_THE_LEADER:
            answer = self.begin(method, "/k", query)
            answer.cancel()
            self.successResultOf(answer)
            self.assert_quiet()
        self.replica.lead()
        self.assert_quiet()

    def test_waiting_requests_are_answered_at_the_stop(self) -> None:
        """The error is the replica's own."""
        answer = self.begin("PUT", "/k")
        self.replica.stop_serving(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping"))
        self.assert_error(self.successResultOf(answer), 300, "this machine is stopping", 500)
        self.assert_quiet()

    def test_plain_reads_need_no_leader(self) -> None:
        """Plain reads and watches are answered as ever, as are requests that are not about a key."""
        for method, query in FOR_ANYBODY:
            self.assertEqual(self.ask(method, "/a%20b", query).status, 200)
        self.assertEqual(self.ask("OPTIONS", "/k").status, 200)
        self.assertEqual(self.ask("PATCH", "/k").status, 405)


class LostTests(LeaderTest):
    """These tests are about a leader that loses its leadership before it has answered."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/k", value="v")
        self.replica.proposed.clear()
        self.replica.holding = True
        self.replica.leased = False

    def test_reads_go_to_the_new_leader(self) -> None:
        """They go there as soon as it is known."""
        for query in ("quorum=true", "consistent=true"):
            self.replica.lead()
            self.replica.holding = True
            answer = self.begin("GET", "/k", query)
            self.replica.lose_leader()
            self.replica.fail_held(RequestDroppedError("this machine no longer leads"))
            self.assertNoResult(answer)
            self.replica.follow()
            self.assert_redirected(self.successResultOf(answer), query, "/k")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reads_are_confirmed_again(self) -> None:
        """If this machine leads again it confirms the read first."""
        answer = self.begin("GET", "/k", "quorum=true")
        self.replica.fail_held(RequestDroppedError())
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual(self.json(self.successResultOf(answer))["node"]["value"], "v")
        self.replica.holding = True
        answer = self.begin("GET", "/k", "quorum=true")
        self.replica.lose_leader()
        self.replica.fail_held(RequestDroppedError())
        self.replica.holding = True
        self.replica.lead()
        self.assertNoResult(answer)
        self.replica.keyspace.apply(commands.Set("/k", self.replica.now(), "new"))
        self.replica.release()
        self.assertEqual(self.json(self.successResultOf(answer))["node"]["value"], "new")

    def test_writes_that_were_not_done_go_to_the_new_leader(self) -> None:
        """The client repeats them there."""
        answer = self.begin("PUT", "/k", "prevIndex=2")
        self.replica.follow()
        self.replica.fail_held(RequestDroppedError())
        self.assert_redirected(self.successResultOf(answer), "prevIndex=2", "/k")

    def test_writes_that_were_not_done_wait_for_a_leader(self) -> None:
        """The wait is bounded."""
        answer = self.begin("PUT", "/k")
        other = self.begin("PUT", "/k")
        self.replica.lose_leader()
        self.replica.fail_held(RequestDroppedError())
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.assertNoResult(answer)
        answer.cancel()
        self.clock.advance(MIN_LEADER_WAIT_SECONDS / 2)
        self.assert_error(self.successResultOf(other), 300, NOBODY, 500)
        self.replica.lead()
        self.assertEqual(len(self.replica.proposed), 2)

    def test_writes_that_were_not_done_are_proposed_again(self) -> None:
        """If this machine leads again it proposes them once more, with the same meaning."""
        answer = self.begin("POST", "/q")
        self.replica.lose_leader()
        self.replica.fail_held(RequestDroppedError())
        self.replica.lead()
        self.assertEqual(self.successResultOf(answer).status, 201)
        first, second = self.replica.proposed
        self.assertEqual(first, second)

    def test_writes_of_clients_that_went_are_not_repeated(self) -> None:
        """A repetition could undo what their clients have done since."""
        answer = self.begin("PUT", "/k")
        answer.cancel()
        self.replica.lose_leader()
        self.replica.fail_held(RequestDroppedError())
        self.replica.lead()
        self.clock.advance(MIN_LEADER_WAIT_SECONDS)
        self.assertEqual(len(self.replica.proposed), 1)

    def test_writes_that_may_have_been_done_are_not_repeated(self) -> None:
        """The client learns that the outcome is unknown (spec, "Redirects")."""
        answer = self.begin("PUT", "/k")
        self.replica.follow()
        cause = "this machine no longer leads; whether the write was done is unknown"
        self.replica.fail_held(EtcdError(ErrorCode.RAFT_INTERNAL, cause))
        self.assert_error(self.successResultOf(answer), 300, cause, 500)
        self.assertEqual(len(self.replica.proposed), 1)

    def test_one_deadline_holds_for_all_leaders(self) -> None:
        """A cluster whose leaders come and go cannot hold a request for longer."""
        answer = self.begin("GET", "/k", "quorum=true")
        waited = 0.0
        while waited < MIN_LEADER_WAIT_SECONDS:
            self.assertNoResult(answer)
            self.replica.lose_leader()
            self.replica.fail_held(RequestDroppedError())
            self.clock.advance(MIN_LEADER_WAIT_SECONDS / 4)
            waited += MIN_LEADER_WAIT_SECONDS / 4
            self.replica.holding = True
            self.replica.lead()
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leader_without_a_quorum_keeps_nobody_for_ever(self) -> None:
        """It does not take the time of others either."""
        proposed: list[Change] = []

        def nothing(command: Change) -> "Deferred[Event]":
            proposed.append(command)
            return fail(RequestDroppedError())

        self.patch(self.replica, "propose", nothing)
        answer = self.begin("PUT", "/k")
        self.clock.advance(RETRY_PAUSE_SECONDS)
        self.assertEqual(len(proposed), 2)
        self.clock.pump(itertools.repeat(RETRY_PAUSE_SECONDS, round(MIN_LEADER_WAIT_SECONDS / RETRY_PAUSE_SECONDS)))
        self.assert_error(self.successResultOf(answer), 300, NOBODY, 500)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LostWhileFullTests(LostTests):
    """These tests are about a leader whose proposals wait for room."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.full = True


class LeaseTests(LeaderTest):
    """These tests send C{consistent=true} to the leader."""

    def setUp(self) -> None:
        super().setUp()
        self.put("/k", value="v")
        self.replica.holding = True

    def test_read_with_a_lease_is_answered_at_once(self) -> None:
        """The lease replaces the confirmation (spec, "Reads")."""
        self.assertEqual(self.ask("GET", "/k", "consistent=true").status, 200)

    def test_read_without_a_lease_is_confirmed(self) -> None:
        """
        Nothing is read before the leadership is confirmed, and a watch begins then (api, "Using a directory TTL").
        """
        self.replica.leased = False
        read = self.begin("GET", "/k", "consistent=true")
        watch = self.begin("GET", "/k", "consistent=true&wait=true")
        self.replica.keyspace.apply(commands.Set("/k", self.replica.now(), "new"))
        self.assertEqual(self.replica.keyspace.hub.count, 0)
        self.replica.release()
        self.assertEqual(self.json(self.successResultOf(read))["node"]["value"], "new")
        self.assertIsInstance(self.successResultOf(watch).body, Watch)

    def test_quorum_read_needs_more_than_a_lease(self) -> None:
        """A lease is not enough for a linearizable read, whatever else is asked for."""
        answer = self.begin("GET", "/k", "consistent=true&quorum=true")
        self.replica.release()
        self.assertEqual(self.successResultOf(answer).status, 200)


class StartingTests(LeaderTest):
    """These tests are about a machine that has no copy to read yet."""

    def setUp(self) -> None:
        super().setUp()
        self.replica.serving = False

    def test_reads_wait_for_a_copy(self) -> None:
        """They are then answered as if they had just come."""
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

    def test_wait_for_a_copy_is_bounded(self) -> None:
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

    def test_requests_for_the_leader_need_no_copy(self) -> None:
        """They go to the leader."""
        self.replica.follow()
        for method, query in FOR_THE_LEADER:
            self.assert_redirected(self.ask(method, "/a%20b", query), query)

    def test_leader_reads_its_copy(self) -> None:
        """A leader reads its copy like any other machine, and takes writes at once."""
        read = self.begin("GET", "/k", "consistent=true")
        self.assertEqual(self.ask("PUT", "/k", value="v").status, 201)
        self.replica.serve()
        self.assertEqual(self.json(self.successResultOf(read))["node"]["value"], "v")

    def test_request_of_a_client_that_goes_is_dropped(self) -> None:
        """Nothing is logged."""
        answer = self.begin("GET", "/k")
        answer.cancel()
        self.successResultOf(answer)
        self.assert_quiet()
        self.replica.serve()

    def test_waiting_reads_are_answered_at_the_stop(self) -> None:
        answer = self.begin("GET", "/k")
        self.replica.stop_serving(EtcdError(ErrorCode.RAFT_INTERNAL, "this machine is stopping"))
        self.assert_error(self.successResultOf(answer), 300, "this machine is stopping", 500)
        self.assert_quiet()

    def test_waiting_reads_are_redirected_by_a_new_standby(self) -> None:
        """A standby has no copy, so the client goes to the leader."""
        answer = self.begin("GET", "/k")
        self.replica.stand_by()
        self.clock.advance(READ_WAIT_SECONDS)
        self.assert_redirected(self.successResultOf(answer), "", "/k")

    def test_bad_parameters_are_refused_everywhere(self) -> None:
        self.replica.follow()
        self.assert_error(self.ask("GET", "/k", "quorum=2"), 209, "quorum")


class StandbyTests(LeaderTest):
    """These tests are about a machine that has no copy and will not get one."""

    def test_standby_redirects_everything(self) -> None:
        """This holds whatever is asked for, and however (spec, "Standby")."""
        self.replica.stand_by()
        for method, query in (*FOR_THE_LEADER, *FOR_ANYBODY, ("PATCH", "x=y"), ("GET", "wait=1")):
            self.assert_redirected(self.ask(method, "/a%20b", query), query)
        self.assert_quiet()

    def test_standby_without_a_leader_waits(self) -> None:
        """The wait is bounded, as on any other machine."""
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
