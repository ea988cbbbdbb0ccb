"""How a request gets its answer from a cluster, with machines that do what a test says and on a clock that it sets."""

from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL.SSL import Error as TlsError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IResponse

from etcd_twisted.client import (
    ClientClosed,
    ClientError,
    ClusterChanged,
    CompareFailed,
    ConnectionFailed,
    OutcomeUnknown,
    RaftFailed,
    RedirectRefused,
    RequestTimedOut,
    Timeouts,
)
from etcd_twisted.client.exchange import Answer, Request
from etcd_twisted.client.sender import MAX_REDIRECTS
from tests.client.stubs import (
    EVENT,
    REFUSED,
    A,
    B,
    C,
    Hang,
    NoConnection,
    Outcome,
    Reply,
    Sent,
    StubAgent,
    error,
    redirect,
    sender_of,
)

READ = Request("GET", "/v2/keys/key")
WRITE = Request("PUT", "/v2/keys/key", {"value": "a&b"}, changes=True, for_leader=True)

BROKEN = ResponseFailed([Failure(ConnectionLost())])
NO_LEADER = error(300, "no leader is known; try again", 500)
UNKNOWN = error(300, "this machine no longer leads; whether the write was done is unknown", 500)
TOO_MUCH = error(300, "the cluster does not keep up with the writes: this one was not made; try again later", 500)


class SenderTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def begin(self, agent: StubAgent, request: Request, **settings: Any) -> "Deferred[Answer]":
        self.sender = sender_of(agent, self.clock, **settings)
        return self.sender.send(request)

    def result(self, agent: StubAgent, request: Request, **settings: Any) -> Answer:
        """Returns the answer to a request that needs no time."""
        answer = self.successResultOf(self.begin(agent, request, **settings))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return answer

    def failure(self, kind: type[Exception], agent: StubAgent, request: Request, **settings: Any) -> str:
        """Returns the text of an exception that needs no time."""
        failed = self.failureResultOf(self.begin(agent, request, **settings))
        self.assertIs(failed.type, kind, failed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return failed.getErrorMessage()

    def finish(self, deferred: "Deferred[Answer]") -> "Answer | Failure":
        """Let the time pass that a request needs."""
        results: list[Answer | Failure] = []
        deferred.addBoth(results.append)
        for _ in range(10_000):
            if results:
                self.assertEqual(self.clock.getDelayedCalls(), [])
                return results[0]
            self.clock.advance(0.01)
        raise AssertionError("the request has not ended")


class AnswerTests(SenderTestCase):
    def test_success(self) -> None:
        agent = StubAgent(a=Reply())
        answer = self.result(agent, READ)
        self.assertEqual((answer.machine, answer.status, answer.body), (A, 200, EVENT))
        self.assertEqual(agent.asked(), [A])

    def test_an_answer_of_the_cluster_is_final(self) -> None:
        for request in (READ, WRITE):
            agent = StubAgent(a=error(101, "[1 != 2]", 412), b=Reply())
            self.assertIn("[1 != 2]", self.failure(CompareFailed, agent, request))
            self.assertEqual(agent.asked(), [A])

    def test_a_status_that_the_request_accepts(self) -> None:
        agent = StubAgent(a=Reply(503, b"down"), b=Reply())
        self.assertEqual(self.result(agent, attrs.evolve(READ, accepted=frozenset((503,)))).body, b"down")

    def test_what_is_read_of_an_answer_is_returned(self) -> None:
        async def read(machine: str, response: IResponse) -> tuple[str, int]:
            return machine, response.code

        sender = sender_of(StubAgent(a=error(100, status=404), b=Reply()), self.clock)
        opened = sender.open(READ, read)
        self.assertIs(self.failureResultOf(opened).value.__class__.__name__, "KeyNotFound")
        sender = sender_of(StubAgent(b=Reply(201)), self.clock)
        self.assertEqual(self.successResultOf(sender.open(READ, read)), (B, 201))


class FailoverTests(SenderTestCase):
    def test_what_has_not_reached_a_machine_goes_to_the_next_one(self) -> None:
        for problem in (REFUSED, DNSLookupError("no such host")):
            for request in (READ, WRITE):
                agent = StubAgent(a=problem, b=Reply())
                self.assertEqual(self.result(agent, request).machine, B)
                self.assertEqual([each.body for each in agent.sent], [agent.sent[0].body] * 2)

    def test_a_read_that_breaks_goes_to_the_next_machine(self) -> None:
        broken_body = Reply(end=BROKEN)
        for outcome in (BROKEN, broken_body, Reply(500, b"<html>"), Reply(502, b""), Reply(503, b""), Reply(504, b"")):
            agent = StubAgent(a=outcome, b=Reply())
            self.assertEqual(self.result(agent, READ).machine, B)

    def test_a_write_that_breaks_is_not_sent_again(self) -> None:
        broken_body = Reply(end=BROKEN)
        for outcome in (BROKEN, broken_body, Reply(500, b"<html>"), Reply(502, b""), Reply(503, b""), Reply(504, b"")):
            agent = StubAgent(a=outcome, b=Reply())
            self.assertIn(A, self.failure(OutcomeUnknown, agent, WRITE))
            self.assertEqual(agent.asked(), [A])

    def test_the_next_request_begins_with_the_machine_that_has_answered(self) -> None:
        agent = StubAgent(b=Reply())
        self.result(agent, READ)
        self.successResultOf(self.sender.send(READ))
        self.assertEqual(agent.asked(), [A, B, B])

    def test_an_outcome_that_the_server_does_not_know(self) -> None:
        for outcome in (UNKNOWN, error(300, "etcdserver: request timed out", 500)):
            agent = StubAgent(a=outcome, b=Reply())
            self.failure(OutcomeUnknown, agent, WRITE)
            self.assertEqual(agent.asked(), [A])
            self.assertEqual(self.result(StubAgent(a=outcome, b=Reply()), READ).machine, B)

    def test_a_write_that_was_not_made(self) -> None:
        for outcome in (TOO_MUCH, error(300, "nodePath /1/a b : Not a file ()", 500)):
            agent = StubAgent(a=outcome, b=Reply())
            self.failure(RaftFailed, agent, WRITE)
            self.assertEqual(agent.asked(), [A])

    def test_waits_for_a_leader(self) -> None:
        for request in (READ, WRITE):
            elected = self.clock.seconds() + 2
            agent = StubAgent(a=lambda _, elected=elected: NO_LEADER if self.clock.seconds() < elected else Reply())
            answer = self.finish(self.begin(agent, request, endpoints=A))
            self.assertIsInstance(answer, Answer)
            self.assertLess(len(agent.sent), 20)  # it has paused, for longer and longer

    def test_gives_up_in_time(self) -> None:
        for request in (READ, WRITE):
            agent = StubAgent(a=NO_LEADER, b=REFUSED)
            begun = self.clock.seconds()
            failed = self.finish(self.begin(agent, request))
            assert isinstance(failed, Failure)
            self.assertIs(failed.type, ConnectionFailed)
            for text in (A, "no leader is known", B, "refused", C):
                self.assertIn(text, failed.getErrorMessage())
            self.assertLessEqual(self.clock.seconds() - begun, 5.0)

    def test_a_request_may_have_a_time_of_its_own(self) -> None:
        sender = sender_of(StubAgent(), self.clock)
        self.finish(sender.send(READ, 1.0))
        self.assertLessEqual(self.clock.seconds(), 1.0)


class TimeTests(SenderTestCase):
    def test_a_silent_machine_is_left_for_another_one(self) -> None:
        agent = StubAgent(a=Hang(), b=Reply())
        reading = self.begin(agent, READ, timeouts=Timeouts(5.0, 2.0))
        self.clock.advance(1.9)
        self.assertNoResult(reading)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(reading).machine, B)
        self.assertTrue(agent.sent[0].cancelled)

    def test_a_machine_may_take_longer_over_some_requests(self) -> None:
        agent = StubAgent(a=Hang(), b=Reply())

        async def read(machine: str, _: IResponse) -> str:
            return machine

        reading = sender_of(agent, self.clock).open(READ, read, 10.0, 6.0)
        self.clock.advance(5.9)
        self.assertNoResult(reading)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(reading), B)

    def test_a_read_that_no_machine_answers(self) -> None:
        agent = StubAgent(a=Hang(), b=Hang(), c=Hang())
        failed = self.finish(self.begin(agent, READ))
        assert isinstance(failed, Failure)
        self.assertIs(failed.type, RequestTimedOut)
        self.assertAlmostEqual(self.clock.seconds(), 5.0, 1)
        self.assertTrue(all(each.cancelled for each in agent.sent))

    def test_a_write_for_which_there_was_no_connection(self) -> None:
        writing = self.begin(StubAgent(a=NoConnection(), b=Reply()), WRITE)
        self.clock.advance(5)
        self.assertIn("no connection", self.failureResultOf(writing, ConnectionFailed).getErrorMessage())

    def test_what_the_deadline_cuts_short_hides_no_reason(self) -> None:
        """Connections are refused, until there is less time left for one than it may take."""
        agent = StubAgent(a=lambda _: REFUSED if self.clock.seconds() < 4 else NoConnection())
        reading = sender_of(agent, self.clock, A).send(READ)
        self.clock.pump([0.01] * 501)
        message = self.failureResultOf(reading, ConnectionFailed).getErrorMessage()
        self.assertTrue(agent.sent[-1].cancelled)
        self.assertEqual(message, f"no machine has answered: {A}: Connection was refused by other side.")

    def test_no_request_is_sent_just_before_the_deadline(self) -> None:
        """Why machines have not answered says more than that one of them had no time."""
        for total_seconds in (1.0 + number / 100 for number in range(50)):
            last = self.clock.seconds() + total_seconds - 0.05
            agent = StubAgent(a=lambda _, last=last: REFUSED if self.clock.seconds() < last else Hang())
            reading = sender_of(agent, self.clock, A).send(READ, total_seconds)
            self.clock.pump([0.01] * 151)
            message = self.failureResultOf(reading, ConnectionFailed).getErrorMessage()
            self.assertEqual(message, f"no machine has answered: {A}: Connection was refused by other side.")

    def test_a_write_is_not_taken_away_from_a_machine(self) -> None:
        agent = StubAgent(a=Hang(), b=Reply())
        writing = self.begin(agent, WRITE)
        self.clock.advance(4.9)
        self.assertNoResult(writing)
        self.clock.advance(0.1)
        self.assertIn("5 seconds", self.failureResultOf(writing, OutcomeUnknown).getErrorMessage())
        self.assertEqual(agent.asked(), [A])

    def test_the_time_covers_the_body(self) -> None:
        agent = StubAgent(a=Reply(body=b"{", end=None), b=Reply())
        reading = self.begin(agent, READ)
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(reading).machine, B)
        response = agent.sent[0].response
        self.assertTrue(response is not None and response.closed)
        writing = self.begin(StubAgent(a=Reply(body=b"{", end=None), b=Reply()), WRITE)
        self.clock.advance(5)
        self.failureResultOf(writing, OutcomeUnknown)

    def test_there_is_no_time(self) -> None:
        agent = StubAgent(a=Reply())
        self.failureResultOf(sender_of(agent, self.clock).send(WRITE, 0), RequestTimedOut)
        self.assertEqual(agent.sent, [])


class CancelTests(SenderTestCase):
    def test_while_a_machine_thinks_or_is_connected_to(self) -> None:
        for request, outcome in ((READ, Hang()), (WRITE, Hang()), (READ, NoConnection()), (WRITE, NoConnection())):
            agent = StubAgent(a=outcome, b=Reply())
            deferred = self.begin(agent, request)
            deferred.cancel()
            self.failureResultOf(deferred, CancelledError)
            self.assertTrue(agent.sent[0].cancelled)
            self.assertEqual((agent.asked(), self.clock.getDelayedCalls()), ([A], []))

    def test_while_the_body_comes(self) -> None:
        for request in (READ, WRITE):
            agent = StubAgent(a=Reply(end=None), b=Reply())
            deferred = self.begin(agent, request)
            deferred.cancel()
            self.failureResultOf(deferred, CancelledError)
            response = agent.sent[0].response
            self.assertTrue(response is not None and response.closed)
            self.assertEqual((agent.asked(), self.clock.getDelayedCalls()), ([A], []))

    def test_in_a_pause(self) -> None:
        deferred = self.begin(StubAgent(), WRITE)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_the_list_of_machines_is_asked_for(self) -> None:
        agent = StubAgent(a=[redirect(B), Hang()], b=Reply())
        deferred = self.begin(agent, WRITE, endpoints=A)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.assertEqual((len(agent.sent), self.clock.getDelayedCalls()), (2, []))

    def test_a_cancelled_request_says_nothing_of_its_machine(self) -> None:
        deferred = self.begin(StubAgent(a=Hang()), READ)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.assertEqual(self.sender.machines.order(False)[0], A)


class CloseTests(SenderTestCase):
    def close(self, agent: StubAgent, request: Request) -> type[BaseException]:
        """Returns how a request ends when the client is closed."""
        deferred = self.begin(agent, request, endpoints=A)
        self.assertNoResult(deferred)
        self.sender.close()
        kind = self.failureResultOf(deferred).type
        self.assertEqual(self.clock.getDelayedCalls(), [])
        assert issubclass(kind, BaseException)
        return kind

    def test_a_read(self) -> None:
        for outcome in (Hang(), NoConnection(), Reply(end=None), REFUSED):
            self.assertIs(self.close(StubAgent(a=outcome), READ), ClientClosed)

    def test_a_write_that_may_have_happened(self) -> None:
        for outcome in (Hang(), Reply(end=None)):
            self.assertIs(self.close(StubAgent(a=outcome), WRITE), OutcomeUnknown)

    def test_a_write_that_has_not_happened(self) -> None:
        self.assertIs(self.close(StubAgent(a=REFUSED), WRITE), ClientClosed)
        self.assertIs(self.close(StubAgent(a=NoConnection()), WRITE), ClientClosed)
        self.assertIs(self.close(StubAgent(a=[redirect(B), Hang()]), WRITE), ClientClosed)

    def test_later_requests(self) -> None:
        agent = StubAgent(a=Reply())
        sender = sender_of(agent, self.clock, refresh_seconds=1.0)
        sender.close()
        sender.close()
        for request in (READ, WRITE):
            self.failureResultOf(sender.send(request), ClientClosed)
        sender.refresh_if_due()
        self.assertEqual((agent.sent, self.clock.getDelayedCalls()), ([], []))

    def test_what_goes_on_for_longer(self) -> None:
        sender = sender_of(StubAgent(), self.clock)
        watching: Deferred[None] = sender.run(Deferred())
        ended = sender.run(Deferred[int]())
        ended.callback(3)
        sender.close()
        self.failureResultOf(watching, ClientClosed)
        self.assertEqual(self.successResultOf(ended), 3)

    def test_the_list_of_machines_that_is_on_its_way(self) -> None:
        agent = StubAgent(a=Hang())
        sender = sender_of(agent, self.clock, refresh_seconds=1.0)
        sender.refresh_if_due()
        sender.close()
        self.assertEqual((agent.sent[0].cancelled, self.clock.getDelayedCalls()), (True, []))


class RedirectTests(SenderTestCase):
    def test_keeps_all_that_a_request_has(self) -> None:
        agent = StubAgent(a=redirect(B), b=Reply())
        request = Request("DELETE", "/v2/keys/a%20b?prevValue=%26", {"x": "&="}, changes=True)
        self.assertEqual(self.result(agent, request, credentials=("root", "pä:ss")).machine, B)
        first, second = agent.sent
        self.assertEqual(
            (second.method, second.target, second.body), ("DELETE", "/v2/keys/a%20b?prevValue=%26", b"x=%26%3D")
        )
        self.assertEqual(second.headers, first.headers)
        self.assertEqual(second.header("Authorization"), "Basic cm9vdDpww6Q6c3M=")
        self.assertEqual(second.header("Content-Type"), "application/x-www-form-urlencoded")

    def test_every_status_of_a_redirect(self) -> None:
        for status in (301, 302, 307, 308):
            agent = StubAgent(a=Reply(status, b"", {"Location": B + "/elsewhere"}), b=Reply())
            self.assertEqual(self.result(agent, WRITE).machine, B)
            self.assertEqual(agent.sent[1].target, WRITE.target)

    def test_the_leader_is_remembered(self) -> None:
        agent = StubAgent(a=redirect(C), c=Reply())
        self.result(agent, WRITE)
        self.successResultOf(self.sender.send(WRITE))
        self.successResultOf(self.sender.send(attrs.evolve(READ, for_leader=True)))
        self.assertEqual(agent.asked(), [A, C, C, C])

    def test_asks_for_the_list_once_if_the_target_is_unknown(self) -> None:
        def follower(sent: Sent) -> Outcome:
            return Reply(200, f"{B}, {A}".encode()) if sent.target == "/v2/machines" else redirect(B)

        agent = StubAgent(a=follower, b=Reply())
        self.assertEqual(self.result(agent, WRITE, endpoints=A, credentials=("u", "p")).machine, B)
        self.assertEqual([each.target for each in agent.sent], [WRITE.target, "/v2/machines", WRITE.target])
        self.successResultOf(self.sender.send(WRITE))
        self.assertEqual([each.machine for each in agent.sent[3:]], [B])

    def test_goes_to_no_stranger(self) -> None:
        for listed in (
            Reply(200, A.encode()),
            Reply(200, b"<html>"),
            Reply(404, b"http://b:4001"),
            Reply(200, B.encode(), end=BROKEN),
            BROKEN,
        ):

            def follower(sent: Sent, listed: Outcome = listed) -> Outcome:
                return listed if sent.target == "/v2/machines" else redirect(B)

            agent = StubAgent(a=follower, b=Reply())
            text = self.failure(RedirectRefused, agent, WRITE, endpoints=A, credentials=("u", "p"))
            self.assertIn(B, text)
            self.assertEqual({each.machine for each in agent.sent}, {A})
            self.assertEqual(len(agent.sent), 2)

    def test_goes_from_encrypted_to_plain_never(self) -> None:
        def follower(sent: Sent) -> Outcome:
            return Reply(200, B.encode()) if sent.target == "/v2/machines" else redirect(B)

        agent = StubAgent(b=Reply())
        agent.machines["https://a:4001"] = follower
        self.failure(RedirectRefused, agent, WRITE, endpoints="https://a:4001", credentials=("u", "p"))
        self.assertNotIn(B, [each.machine for each in agent.sent])

    def test_what_is_no_url(self) -> None:
        for location in ("", "/v2/keys/key", "http://", "http://[::1", "ftp://b:4001/", "http://u:p@b:4001/v2"):
            agent = StubAgent(a=Reply(307, b"", {"Location": location}), b=Reply())
            self.failure(RedirectRefused, agent, WRITE)
            self.assertEqual(agent.asked(), [A])

    def test_a_redirect_to_a_machine_that_is_gone(self) -> None:
        agent = StubAgent(a=[redirect(B), redirect(C)], c=Reply())
        self.assertEqual(self.finish(self.begin(agent, WRITE, endpoints=f"{A},{B},{C}")).machine, C)  # type: ignore[union-attr]
        self.assertEqual(agent.asked(), [A, B, C])

    def test_machines_that_redirect_to_each_other(self) -> None:
        agent = StubAgent(a=redirect(B), b=redirect(A))
        failed = self.finish(self.begin(agent, WRITE, endpoints=f"{A},{B}"))
        assert isinstance(failed, Failure)
        self.assertIs(failed.type, ConnectionFailed)
        self.assertIn("redirect to each other", failed.getErrorMessage())
        self.assertLess(len(agent.sent), 50 * MAX_REDIRECTS)

    def test_the_list_is_waited_for_no_longer_than_the_request(self) -> None:
        def follower(sent: Sent) -> Outcome:
            return Hang() if sent.target == "/v2/machines" else redirect(B)

        deferred = sender_of(StubAgent(a=follower), self.clock, A).send(WRITE, 1.0)
        self.clock.advance(1.0)
        self.failureResultOf(deferred, RedirectRefused)


class RefreshTests(SenderTestCase):
    def test_the_list_is_refreshed_when_it_is_old(self) -> None:
        agent = StubAgent(a=Reply(200, f"{A}, {B}".encode()))
        sender = sender_of(agent, self.clock, A, refresh_seconds=60)
        sender.refresh_if_due()
        self.assertEqual(sender.machines.known(), (A, B))
        sender.refresh_if_due()
        self.assertEqual(len(agent.sent), 1)
        self.clock.advance(60)
        agent.machines[A] = [Reply(200, f"{A}, {C}".encode())]
        sender.refresh_if_due()
        self.assertEqual(sender.machines.known(), (A, C))

    def test_a_list_that_can_not_be_had_changes_nothing(self) -> None:
        sender = sender_of(StubAgent(a=error(300, "x", 500)), self.clock, A, refresh_seconds=60)
        sender.refresh_if_due()
        self.clock.pump([0.1] * 100)
        self.assertEqual((sender.machines.known(), self.clock.getDelayedCalls()), ((A,), []))

    def test_only_the_endpoints(self) -> None:
        agent = StubAgent(a=Reply())
        sender_of(agent, self.clock, A).refresh_if_due()
        self.assertEqual(agent.sent, [])


class ClusterIdTests(SenderTestCase):
    def test_another_cluster_answers(self) -> None:
        for request in (READ, WRITE):
            agent = StubAgent(a=[Reply(headers={"X-Etcd-Cluster-Id": "1"}), Reply(headers={"X-Etcd-Cluster-Id": "2"})])
            self.result(agent, request)
            self.assertEqual(self.sender.cluster_id, "1")
            changed = self.failureResultOf(self.sender.send(request), ClusterChanged).value
            assert isinstance(changed, ClusterChanged)
            self.assertEqual((changed.expected, changed.found), ("1", "2"))
            self.assertEqual(len(agent.sent), 2)

    def test_the_connection_of_such_an_answer_is_closed(self) -> None:
        agent = StubAgent(
            a=[Reply(headers={"X-Etcd-Cluster-Id": "1"}), Reply(headers={"X-Etcd-Cluster-Id": "2"}, end=None)]
        )
        self.result(agent, READ)
        self.failureResultOf(self.sender.send(READ), ClusterChanged)
        response = agent.sent[1].response
        self.assertTrue(response is not None and response.closed)

    def test_a_machine_that_does_not_tell(self) -> None:
        agent = StubAgent(a=[Reply(headers={"X-Etcd-Cluster-Id": "1"}), Reply()])
        self.result(agent, READ)
        self.successResultOf(self.sender.send(READ))


@attrs.frozen
class Step:
    """
    What happens to a request.

    @ivar outcome: what the client sees; C{None} for nothing.
    @ivar carried_out: whether the machine does what it is asked for.
    """

    name: str
    outcome: Outcome
    carried_out: bool


def _steps() -> list[Step]:
    done = [
        Step("success", Reply(), True),
        Step("success of a creation", Reply(201), True),
        Step("broken body", Reply(end=ResponseFailed([Failure(ConnectionDone())])), True),
        Step("body without an end", Reply(end=None), True),
    ]
    not_done = [
        Step("refused", REFUSED, False),
        Step("no connection", NoConnection(), False),
        Step("no such host", DNSLookupError("x"), False),
        Step("no leader", NO_LEADER, False),
        Step("too much", TOO_MUCH, False),
        Step("compare failed", error(101, "", 412), False),
        Step("election", error(301, "", 500), False),
        Step("not found by a stranger", Reply(404, b"<html>"), False),
        Step("stranger", redirect("http://stranger:1"), False),
        *(Step(f"redirect to {machine}", redirect(machine), False) for machine in (A, B, C)),
    ]
    either = [
        Step(f"{name}, {'carried out' if carried_out else 'dropped'}", outcome, carried_out)
        for carried_out in (False, True)
        for name, outcome in (
            ("silence", Hang()),
            ("broken", BROKEN),
            ("unknown", UNKNOWN),
            ("timed out", error(300, "etcdserver: request timed out", 500)),
            ("fault", error(300, "an error in the server; its log says more", 500)),
            ("bad gateway", Reply(502, b"")),
            ("unavailable", Reply(503, b"")),
            ("page of a proxy", Reply(500, b"<html>")),
        )
    ]
    return [*done, *not_done, *either]


STEPS = _steps()

MAY_HAVE_HAPPENED = (OutcomeUnknown, CancelledError)


class OnceProperties(SynchronousTestCase):
    """A write is carried out once at most, and nobody is told that it was not if it was."""

    def run_request(
        self, request: Request, steps: list[Step], end_at: float | None, end: str
    ) -> "tuple[list[Step], Answer | Failure]":
        """Returns what has happened to a request, and its result."""
        clock = Clock()
        happened: list[Step] = []
        left = list(steps)

        def machine(sent: Sent) -> Outcome:
            if sent.target == "/v2/machines":
                return Reply(200, f"{A}, {B}, {C}".encode())
            step = left.pop(0) if left else STEPS[0]
            happened.append(step)
            return step.outcome

        sender = sender_of(StubAgent(a=machine, b=machine, c=machine), clock, A)
        results: list[Any] = []
        deferred = sender.send(request)
        deferred.addBoth(results.append)
        ends: dict[str, Callable[[], None]] = {"cancel": deferred.cancel, "close": sender.close}
        if end_at is not None and not results:
            clock.callLater(end_at, ends[end])
        while not results:
            clock.advance(0.05)
            self.assertLess(clock.seconds(), 6)
        sender.close()
        left_over = [call for call in clock.getDelayedCalls() if call.func not in ends.values()]
        self.assertEqual(left_over, [])
        return happened, results[0]

    @given(
        st.lists(st.sampled_from(STEPS), max_size=30),
        st.none() | st.floats(0, 5),
        st.sampled_from(["cancel", "close"]),
    )
    def test_writes(self, steps: list[Step], end_at: float | None, end: str) -> None:
        happened, result = self.run_request(WRITE, steps, end_at, end)
        times = sum(step.carried_out for step in happened)
        self.assertLessEqual(times, 1, happened)
        if isinstance(result, Answer):
            self.assertEqual(times, 1)
            return
        self.assertTrue(result.check(ClientError, CancelledError), result)
        if times:
            self.assertTrue(result.check(*MAY_HAVE_HAPPENED), result)

    @given(
        st.lists(st.sampled_from(STEPS), max_size=30),
        st.none() | st.floats(0, 5),
        st.sampled_from(["cancel", "close"]),
    )
    def test_reads(self, steps: list[Step], end_at: float | None, end: str) -> None:
        happened, result = self.run_request(READ, steps, end_at, end)
        if isinstance(result, Answer):
            self.assertIn("success", happened[-1].name)
            return
        self.assertTrue(result.check(ClientError, CancelledError), result)
        self.assertFalse(result.check(OutcomeUnknown), result)


class HopelessTests(SenderTestCase):
    """What can't get better is not waited for."""

    def test_certificates_that_are_not_trusted_fail_at_once(self) -> None:
        untrusted = ResponseFailed([Failure(TlsError([("SSL routines", "", "certificate verify failed")]))])
        agent = StubAgent(a=untrusted, b=untrusted)
        failed = self.failureResultOf(sender_of(agent, self.clock, f"{A},{B}").send(WRITE), ConnectionFailed)
        self.assertIn("certificate verify failed", str(failed.value))
        self.assertEqual(agent.asked(), [A, B])

    def test_a_machine_that_may_come_back_is_waited_for(self) -> None:
        """One machine is not trusted, and the other one does not run just now."""
        untrusted = ResponseFailed([Failure(TlsError([("SSL routines", "", "certificate verify failed")]))])
        agent = StubAgent(a=untrusted, b=[REFUSED, Reply()])
        sent = sender_of(agent, self.clock, f"{A},{B}").send(WRITE)
        self.assertNoResult(sent)
        self.clock.advance(1)
        self.successResultOf(sent)

    def test_a_write_is_not_begun_when_there_is_no_time_for_an_answer(self) -> None:
        """Its outcome would be unknown without need."""

        def refuse_late(_: Sent) -> Outcome:
            self.clock.advance(0.97)
            return REFUSED

        agent = StubAgent(a=refuse_late, b=Hang())
        sent = sender_of(agent, self.clock, f"{A},{B}").send(WRITE, timeout_seconds=1.0)
        self.failureResultOf(sent, ConnectionFailed)
        self.assertEqual(agent.asked(), [A])

    def test_a_write_is_not_begun_when_a_machine_would_refuse_it_too_late(self) -> None:
        """A machine says after a while that it knows no leader. Nothing was done, and so it is told."""

        def refuse_late(_: Sent) -> Outcome:
            self.clock.advance(2.0)
            return NO_LEADER

        agent = StubAgent(a=refuse_late, b=refuse_late, c=Hang())
        sent = sender_of(agent, self.clock).send(WRITE)
        self.assertIn("no leader is known", str(self.failureResultOf(sent, ConnectionFailed).value))
        self.assertEqual(agent.asked(), [A, B])
        sent = sender_of(StubAgent(a=refuse_late, b=refuse_late, c=Reply()), self.clock).send(READ)
        self.assertEqual(self.successResultOf(sent).machine, C)  # a read harms nobody
