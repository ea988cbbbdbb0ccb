"""
Followers have the leader carry out what only the leader can, and answer as the leader would.
"""

from typing import Any, TypeVar
from unittest import mock

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.checks import CAUSE, check_change
from etcd_twisted.auth.state import AUTH_KEY, DISABLED, GUEST, AuthState, Role, User
from etcd_twisted.auth.state import encode as encode_auth
from etcd_twisted.consensus.forwarding.forwarded import MOST_LATE_MICROSECONDS
from etcd_twisted.consensus.forwarding.requests import (
    DROPPED,
    Answered,
    Ask,
    NotLeading,
    Placed,
    Propose,
    Refusal,
    decode_answer,
    decode_request,
    encode,
)
from etcd_twisted.consensus.raft.messages import Append, TimeoutNow
from etcd_twisted.errors import CannotForwardError, ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import (
    CompareAndSwap,
    CreateInOrder,
    Delete,
    Set,
    decode_command,
    encode_command,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import File
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase

_E = TypeVar("_E", bound=BaseException)

UNKNOWN = "whether the write was done is unknown"


class ForwardingTests(ClusterTestCase):
    """Three machines, of which two follow."""

    def setUp(self) -> None:
        self.group: Cluster = self.cluster()
        self.group.start(3)
        self.leader = self.group.leader
        self.follower, self.other = self.group.followers

    def set(self, key: str, value: str, machine: ClusterMachine | None = None) -> "Deferred[Event]":
        replica = (machine or self.follower).replica
        return replica.forward(Set(key, replica.now(), value))

    def value(self, key: str, machine: ClusterMachine | None = None) -> str:
        node = (machine or self.follower).replica.get(key)
        assert isinstance(node, File)
        return node.value

    def failure_of(self, deferred: "Deferred[Any]", kind: type[_E]) -> _E:
        """Advances until a Deferred has failed with an exception of this kind, and returns that."""
        with self.assertRaises(kind) as raised:
            self.group.result_of(deferred)
        return raised.exception

    def test_change_is_made_and_seen_where_it_was_asked_for(self) -> None:
        """Whoever is answered by a follower finds the change in its copy at once, with the leader's index."""
        event = self.group.result_of(self.set("/a", "one"))
        self.assertEqual(
            (event.result.action, self.value("/a"), event.index), ("set", "one", self.follower.replica.index)
        )
        self.assertSame(self.group)

    def test_leader_forwards_to_nobody(self) -> None:
        with mock.patch.object(self.leader.transport, "forward") as forward:
            event = self.group.result_of(self.set("/a", "one", self.leader))
            self.group.result_of(self.leader.replica.confirm_at_leader(recent=False))
            self.group.result_of(self.leader.replica.confirm_at_leader(recent=True))
        forward.assert_not_called()
        self.assertEqual(event.index, self.leader.replica.index)

    def test_errors_are_those_of_the_leader(self) -> None:
        """Their indexes too."""
        self.group.result_of(self.set("/a", "one"))
        errors = []
        for machine in (self.follower, self.leader):
            replica = machine.replica
            swap = replica.forward(CompareAndSwap("/a", replica.now(), "two", None, "other"))
            error = self.failure_of(swap, EtcdError)
            errors.append((error.code, error.cause, error.index))
            bad = replica.forward(Set("/a//b", replica.now(), ""))
            error = self.failure_of(bad, EtcdError)
            errors.append((error.code, error.cause, error.index))
        self.assertEqual(errors[:2], errors[2:])
        self.assertEqual([code for code, _, _ in errors[:2]], [ErrorCode.COMPARE_FAILED, ErrorCode.INVALID_FIELD])

    def test_changes_of_one_turn_are_one_request_in_order(self) -> None:
        with mock.patch.object(self.follower.transport, "forward", wraps=self.follower.transport.forward) as forward:
            replica = self.follower.replica
            made = [replica.forward(CreateInOrder("/q", replica.now(), f"{number}")) for number in range(100)]
            events = [self.group.result_of(each) for each in made]
        self.assertEqual(forward.call_count, 1)
        self.assertEqual([event.index for event in events], sorted(event.index for event in events))
        self.assertEqual([event.node.value for event in events], [f"{number}" for number in range(100)])

    def test_changes_of_one_request_are_logged_together(self) -> None:
        """Each has the index of its own entry, also after one that is refused, and after changes of the leader's."""
        own = self.set("/own", "x", self.leader)
        keys = ["/a", "/b", "/not//clean", "/c"]
        request = encode(Propose([encode_command(Set(key, self.leader.replica.now(), key)) for key in keys]))
        log = self.leader.raft.log
        with mock.patch.object(log, "append_commands", wraps=log.append_commands) as append:
            answer = decode_answer(self.group.result_of(self.leader.peer.forwarded(self.follower.id, request)))
        append.assert_called_once()
        assert isinstance(answer, Placed)
        first, second, refusal, third = answer.outcomes
        assert isinstance(refusal, Refusal)
        self.assertEqual((refusal.code, refusal.index), (ErrorCode.INVALID_FIELD, self.leader.replica.index))
        for index, key in ((first, "/a"), (second, "/b"), (third, "/c")):
            assert isinstance(index, int)
            (entry,) = log.between(index, index + 1)
            self.assertEqual((decode_command(entry.data).key, entry.term), (key, answer.term))
        self.group.result_of(own)

    def test_index_is_the_changes_if_it_is_logged_at_once(self) -> None:
        """As for a lone writer, whose change may have others follow it before the request is answered."""
        leader, proposed = self.leader, self.leader.node.proposed

        def log_at_once() -> None:
            leader.node.propose(encode_command(Set("/other", leader.replica.now(), "x")))
            proposed()

        with mock.patch.object(leader.node, "proposed", log_at_once):
            index = leader.member.proposer.place(Set("/a", leader.replica.now(), "x"))
        (entry,) = leader.raft.log.between(index, index + 1)
        self.assertEqual(decode_command(entry.data).key, "/a")
        self.group.advance_until(lambda: leader.replica.raft_index > index)

    def test_changes_beyond_the_room_wait_for_it(self) -> None:
        """They go into the log in order, as soon as there is room."""
        self.patch(self.leader.member.proposer._throttle, "unapplied_bytes", 200)
        made = [self.set("/a", f"{number}" * 100) for number in range(9)]
        events = [self.group.result_of(each) for each in made]
        self.assertEqual([event.node.value for event in events], [f"{number}" * 100 for number in range(9)])
        self.assertEqual([event.index for event in events], sorted(event.index for event in events))

    def waiting(self) -> "Deferred[bytes]":
        """Forwards nine changes, of which seven wait for room. Returns the answer."""
        self.patch(self.leader.member.proposer._throttle, "unapplied_bytes", 200)
        now = self.leader.replica.now()
        request = encode(Propose([encode_command(Set(f"/{number}", now, "x" * 100)) for number in range(9)]))
        answered = self.leader.peer.forwarded(self.follower.id, request)
        self.assertNoResult(answered)
        return answered

    def assert_two_are_made(self, answered: "Deferred[bytes]", term: int) -> None:
        """Asserts that two changes were put into the log by the answer, and that these alone are made."""
        answer = decode_answer(self.group.result_of(answered))
        assert isinstance(answer, Placed)
        self.assertEqual((answer.term, answer.outcomes.count(DROPPED), answer.outcomes[2:]), (term, 7, 7 * [DROPPED]))
        self.assertSame(self.group)
        made = {name for name in self.leader.replica.keyspace.root.children if not name.startswith("_")}
        self.assertEqual(made, {"0", "1"})

    def test_changes_that_wait_are_dropped_when_the_leader_hands_over(self) -> None:
        """The answer says so of these alone: whoever asked may ask the next leader for them again."""
        term, answered = self.leader.raft.term, self.waiting()
        self.assertTrue(self.leader.node.transfer())
        self.leader.member.proposer._throttle.unapplied_bytes = 10_000  # as if there was room in the same turn
        self.assert_two_are_made(answered, term)

    def test_changes_that_wait_are_dropped_at_once_when_another_machine_leads(self) -> None:
        """Although there is no room yet: or their outcome would be unknown if whoever asked waits no longer."""
        leader, answered = self.leader, self.waiting()
        leader.node.receive(self.other.id, [Append(leader.raft.term + 1, 1, 0, 0, 0)])
        self.assertGreater(leader.replica.measurements().proposals_pending, 0)
        answer = decode_answer(self.successResultOf(answered))
        assert isinstance(answer, Placed)
        self.assertEqual(answer.outcomes[2:], 7 * [DROPPED])

    def test_changes_that_wait_are_dropped_although_the_leader_leads_again(self) -> None:
        """The answer has one term for all of them, so that an entry of a later one would be taken for another's."""
        leader, term, answered = self.leader, self.leader.raft.term, self.waiting()
        leader.node.receive(self.other.id, [Append(term + 1, 1, 0, 0, 0)])
        leader.node.receive(self.other.id, [TimeoutNow(term + 1)])
        self.group.advance_until(lambda: leader.raft.accepts_proposals)
        self.assert_two_are_made(answered, term)

    def test_many_and_long_changes(self) -> None:
        made = [self.set(f"/many/{number}", "x" * 100_000) for number in range(60)]
        made += [self.set(f"/few/{number}", "x") for number in range(3_000)]
        made.append(self.set("/long", "y" * 3_000_000))
        for each in made:
            self.group.result_of(each)
        self.assertEqual(len(self.value("/long")), 3_000_000)
        self.assertSame(self.group)

    def test_reads_see_what_was_acknowledged_elsewhere(self) -> None:
        """Both kinds of reads do."""
        for recent in (False, True):
            self.group.result_of(self.set("/a", f"{recent}", self.leader))
            confirmed = self.follower.replica.confirm_at_leader(recent)
            self.assertNoResult(confirmed)
            self.group.result_of(confirmed)
            self.assertEqual(self.value("/a"), f"{recent}")

    def submit_read(self, machine: ClusterMachine, recent: bool) -> "Deferred[None]":
        """Submits a read, and returns a Deferred that its callback fires, or fails."""
        told: Deferred[None] = Deferred()
        submitted = machine.replica.submit_read(
            recent, lambda error: told.callback(None) if error is None else told.errback(error)
        )
        self.assertTrue(submitted)
        return told

    def test_submitted_reads_see_what_was_acknowledged_elsewhere(self) -> None:
        """They do on a follower and on the leader."""
        for machine in (self.follower, self.leader):
            for recent in (False, True):
                value = f"{machine.name} {recent}"
                self.group.result_of(self.set("/a", value, self.leader))
                self.group.result_of(self.submit_read(machine, recent))
                self.assertEqual(self.value("/a", machine), value)

    def test_submitted_read_fails_when_the_leader_is_lost(self) -> None:
        self.group.network.isolate(self.leader.name)
        self.failure_of(self.submit_read(self.follower, recent=False), RequestDroppedError)

    def test_reads_are_asked_for_again_when_the_leader_is_lost(self) -> None:
        self.group.network.isolate(self.leader.name)
        dropped = self.follower.replica.confirm_at_leader(recent=False)
        self.failure_of(dropped, RequestDroppedError)

    def test_nothing_is_sent_without_a_connection(self) -> None:
        """The change was certainly not made."""
        self.group.network.isolate(self.leader.name)
        error = self.failure_of(self.set("/a", "one"), RequestDroppedError)
        self.assertNotIsInstance(error, CannotForwardError)

    def test_outcome_is_unknown_if_the_connection_is_lost(self) -> None:
        """It may have been made all the same."""
        changed = self.set("/a", "one")
        self.follower.clock.callLater(0, self.group.network.break_connections, self.leader.name)
        error = self.failure_of(changed, EtcdError)
        self.assertEqual(error.code, ErrorCode.RAFT_INTERNAL)
        self.assertIn(UNKNOWN, error.cause)

    def test_outcome_of_what_a_lost_leader_has_placed(self) -> None:
        """
        If its entry is in no other log, it is known not to be made as soon as another leader's entry is there.
        """
        self.group.network.cut |= {(self.leader.name, each.name) for each in (self.follower, self.other)}
        placed = Failure(RequestDroppedError("another machine leads"))
        with mock.patch.object(self.follower.transport, "forward", self._placing):
            changed = self.set("/a", "one")
            self.group.advance(0.001)
        self.lose_leader(self.group)
        error = self.failure_of(changed, Exception)
        if isinstance(error, EtcdError):
            self.assertIn(UNKNOWN, error.cause)
        else:
            self.assertIsInstance(error, placed.type)
        self.group.network.heal()
        self.group.settle()
        with self.assertRaises(EtcdError):
            self.follower.replica.get("/a")

    def _placing(self, machine_id: str, request: bytes) -> "Deferred[bytes]":
        assert machine_id == self.leader.id
        return self.leader.peer.forwarded(self.follower.id, request)

    def grant(self, *written: str) -> None:
        """Have alice write keys with these patterns, and nobody else anything."""
        state = AuthState(True, {"alice": User("alice", "", ("r",))}, {"r": Role("r", (), written)})
        self.group.result_of(self.set(AUTH_KEY, encode_auth(state), self.leader))

    def test_leader_refuses_what_the_user_may_not_do(self) -> None:
        """Each command has its own user, and a machine may do everything for itself."""
        self.grant("/a")
        self.group.settle()
        replica = self.follower.replica
        made = [(user, key, replica.forward(Set(key, replica.now(), "x"), user)) for user, key in (
            ("alice", "/a"), ("alice", "/b"), (GUEST, "/a"), (None, "/b"), ("bob", "/a"), ("alice", "/a")
        )]  # fmt: skip
        for user, key, each in made:
            if user is None or (user, key) == ("alice", "/a"):
                self.group.result_of(each)
            else:
                error = self.failure_of(each, EtcdError)
                self.assertEqual((error.code, error.cause, error.index), (ErrorCode.UNAUTHORIZED, CAUSE, 0))

    def test_right_is_revoked_that_the_follower_still_knows(self) -> None:
        """And so is everybody's when authentication is enabled."""
        for before in (("/a",), None):
            if before is not None:
                self.grant(*before)
            else:
                self.group.result_of(self.set(AUTH_KEY, encode_auth(DISABLED), self.leader))
            self.group.settle()
            self.group.network.cut.add((self.leader.name, self.follower.name))
            self.grant()
            known = self.follower.replica.auth
            check_change(known, "alice", Set("/a", 0))
            with mock.patch.object(self.follower.transport, "forward", self._placing):
                changed = self.follower.replica.forward(Set("/a", self.leader.replica.now()), "alice")
                error = self.failure_of(changed, EtcdError)
            self.assertEqual(error.code, ErrorCode.UNAUTHORIZED)
            self.assertIs(self.follower.replica.auth, known)
            self.group.network.heal()

    def test_earlier_version_reaches_no_users(self) -> None:
        """It knows nothing of them, so its clients could ask for anything."""
        for command in (Set(AUTH_KEY, 0, "{}"), Delete("/_etcd", 0, recursive=True)):
            request = encode(_EarlierPropose([encode_command(command)]))
            answer = decode_answer(self.group.result_of(self.leader.peer.forwarded(self.follower.id, request)))
            assert isinstance(answer, Placed)
            (refusal,) = answer.outcomes
            assert isinstance(refusal, Refusal)
            self.assertEqual(refusal.code, ErrorCode.KEY_IS_PRESERVED)

    def test_leader_stops(self) -> None:
        """What is under way when the leader is stopped is made, or is not; the next leader takes what comes then."""
        made = [self.set(f"/{number}", "x") for number in range(10)]
        self.group.advance(0.001)
        self.leader.stop()
        outcomes: list[object] = []
        for each in made:
            each.addBoth(outcomes.append)
        self.group.advance_until(lambda: len(outcomes) == len(made))
        self.assertTrue(all(isinstance(each, Event) for each in outcomes), outcomes)
        self.group.await_leader()
        self.group.result_of(self.set("/after", "x", self.group.followers[0]))

    def test_earlier_version_takes_no_requests(self) -> None:
        """The client has to be redirected."""
        self.group.network.older.add(self.leader.name)
        self.failure_of(self.set("/a", "one"), CannotForwardError)
        self.failure_of(self.follower.replica.confirm_at_leader(recent=True), CannotForwardError)
        self.failure_of(self.follower.replica.ask_leader(b"", ""), CannotForwardError)

    def test_follower_passes_nothing_on(self) -> None:
        """Machines that disagree about who leads do not send a request to and fro."""
        request = encode(Propose([encode_command(Delete("/a", 0))]))
        with mock.patch.object(self.other.transport, "forward") as forward:
            answer = self.group.result_of(self.other.peer.forwarded(self.follower.id, request))
        forward.assert_not_called()
        self.assertIsInstance(decode_answer(answer), NotLeading)

    def test_stranger_is_not_served(self) -> None:
        request = encode(Propose([encode_command(Set("/a", 0, "x"))]))
        answer = self.group.result_of(self.leader.peer.forwarded("f" * 16, request))
        self.assertIsInstance(decode_answer(answer), NotLeading)

    def test_what_is_no_request_is_refused(self) -> None:
        self.failure_of(self.leader.peer.forwarded(self.follower.id, b"\xc1"), ValueError)

    def test_ttl_is_the_leaders(self) -> None:
        """A machine that does not know the cluster time well makes no key that expires at another time."""
        now = self.leader.replica.now()
        for ahead in (-3_600_000_000, 3_600_000_000, -2 * MOST_LATE_MICROSECONDS, 1_000):
            command = Set("/a", now + ahead, "x", False, now + ahead + 10_000_000)
            self.group.result_of(self.follower.replica.forward(command))
            node = self.follower.replica.get("/a")
            assert node.expires is not None
            self.assertLess(abs(node.expires - now - 10_000_000), 500_000)
        self.assertLess(abs(self.follower.replica.now() - self.leader.replica.now()), 500_000)

    def test_questions(self) -> None:
        """The leader's doors answer them, and the follower has applied by then what the leader had."""

        def answer(question: bytes, user: str) -> "Deferred[bytes]":
            made = self.set("/asked", question.decode(), self.leader)
            return made.addCallback(lambda _: question[::-1] + user.encode())

        self.leader.replica.answer_questions(answer)
        self.assertEqual(
            self.group.result_of(self.follower.replica.ask_leader(b"abc", "u\u00e9")), "cbau\u00e9".encode()
        )
        self.assertEqual(self.value("/asked"), "abc")
        self.leader.replica.answer_questions(None)
        self.failure_of(self.follower.replica.ask_leader(b"abc", "u"), RequestDroppedError)

    def test_answer_counts_although_the_follower_does_not_apply_what_the_leader_had(self) -> None:
        """The leader has done it, so whoever asked must not take it for dropped and ask the next leader again."""
        self.leader.replica.answer_questions(lambda question, _: succeed(question))
        answered = encode(Answered(self.leader.replica.raft_index + 1, b"done"))
        with mock.patch.object(self.follower.transport, "forward", return_value=succeed(answered)):
            asked = self.follower.replica.ask_leader(b"", "u")
        self.assertNoResult(asked)
        self.group.network.isolate(self.leader.name)
        self.assertEqual(self.group.result_of(asked), b"done")

    def test_question_is_withdrawn(self) -> None:
        """When the client does not wait any more, and when the connection is lost."""
        asked: list[Deferred[bytes]] = []
        ended: list[Failure] = []

        def answer(_question: bytes, _user: str) -> "Deferred[bytes]":
            asked.append(Deferred())
            return asked[-1].addErrback(lambda failure: ended.append(failure) or failure)

        self.leader.replica.answer_questions(answer)
        for number, withdraw in enumerate((Deferred.cancel, self._lose_connections)):
            waiting = self.follower.replica.ask_leader(b"", "")
            self.group.advance_until(lambda number=number: len(asked) > number)  # type: ignore[misc]
            withdraw(waiting)
            self.failure_of(waiting, Exception)
            self.group.advance_until(lambda number=number: len(ended) > number)  # type: ignore[misc]
            self.assertIs(ended[-1].type, CancelledError)

    def _lose_connections(self, _: object) -> None:
        self.group.network.break_connections(self.follower.name)

    def test_answered_in_the_same_turn(self) -> None:
        """An answer that is there at once is as good as a later one."""
        self.leader.replica.answer_questions(lambda question, _: succeed(question))
        self.assertEqual(self.group.result_of(self.follower.replica.ask_leader(b"abc", "u")), b"abc")


class _EarlierPropose(msgspec.Struct, array_like=True, frozen=True, tag="propose"):
    """L{Propose} as versions have it that know no users."""

    commands: list[bytes]


class _EarlierAsk(msgspec.Struct, array_like=True, frozen=True, tag="ask"):
    """L{Ask} as versions have it that know no users."""

    question: bytes


class EarlierVersionTests(SynchronousTestCase):
    """What is sent to machines of versions that know no users, and what they send."""

    def test_their_clients_are_guests(self) -> None:
        found = decode_request(encode(_EarlierPropose([b"a", b"b"])))
        assert isinstance(found, Propose)
        self.assertEqual(found.wanted(), [(b"a", GUEST), (b"b", GUEST)])
        self.assertEqual(decode_request(encode(_EarlierAsk(b"a"))), Ask(b"a", GUEST))

    def test_they_pass_over_users(self) -> None:
        sent = encode(Propose([b"a", b"b"], ["u", None]))
        self.assertEqual(msgspec.msgpack.decode(sent, type=_EarlierPropose), _EarlierPropose([b"a", b"b"]))
        self.assertEqual(msgspec.msgpack.decode(encode(Ask(b"a", "u")), type=_EarlierAsk), _EarlierAsk(b"a"))

    @given(st.lists(st.tuples(st.binary(), st.none() | st.text())))
    def test_each_command_has_its_user(self, wanted: list[tuple[bytes, str | None]]) -> None:
        sent = decode_request(encode(Propose([data for data, _ in wanted], [user for _, user in wanted])))
        assert isinstance(sent, Propose)
        self.assertEqual(sent.wanted(), wanted)
