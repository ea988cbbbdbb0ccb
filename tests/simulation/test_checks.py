"""
Tests that the checks find what they look for: each is shown a violation.
"""

from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.clocks.cluster_time import Inheritance
from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.core import Raft
from etcd_twisted.consensus.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Member,
)
from etcd_twisted.consensus.raft.leader import Timing
from etcd_twisted.consensus.raft.log import RaftLog
from etcd_twisted.consensus.raft.messages import Append, VoteReply, encode_messages
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import (
    Change,
    Command,
    Create,
    CreateInOrder,
    Delete,
    Expire,
    Set,
    encode_command,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import File
from tests.simulation.history import Operation, Outcome, Read
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.leases import Leases
from tests.simulation.reference import Reference
from tests.simulation.verdicts import check_history, check_watching

_MEMBERS = {name: Member(name, "", "") for name in "abc"}
_GROUP = Configuration(tuple(_MEMBERS), (), _MEMBERS)


def command(index: int, term: int, change: Command) -> Entry:
    """Returns a log entry that holds a change."""
    return Entry(index, term, EntryKind.COMMAND, encode_command(change))


class InvariantsTests(SynchronousTestCase):
    """L{Invariants} finds violations in bare cores that the test has manipulated."""

    def setUp(self) -> None:
        self.invariants = Invariants(Reference(), leases_hold=True)
        self.a, self.b, self.c = (self._core(name) for name in _MEMBERS)

    def _core(self, name: str) -> Raft:
        log = RaftLog()
        log.extend([Entry(1, 1, EntryKind.CONFIGURATION, encode_configuration(_GROUP))])
        core = Raft(name, HardState(1, ""), log, Timing(), 0, 0.0)
        self.invariants.check_core(core)
        return core

    def _append(self, core: Raft, *entries: Entry, commit: int = 0, term: int = 2) -> None:
        before = entries[0].index - 1 if entries else core.last_index
        core.receive("x", Append(term, 1, before, core.log.term(before), commit, entries), 0.0)
        self.invariants.check_core(core)

    def _violates(self, words: str, core: Raft) -> None:
        error = self.assertRaises(Violation, self.invariants.check_core, core)
        self.assertIn(words, str(error))

    def _lead(self, core: Raft, term: int) -> None:
        core._enter(term, core.machine_id)
        core._lead(0.0)

    def test_two_leaders_are_found(self) -> None:
        """A term has one leader."""
        self._lead(self.a, 2)
        self.invariants.check_core(self.a)
        self._lead(self.b, 2)
        self._violates("both lead in term 2", self.b)

    def test_decreasing_term_is_found(self) -> None:
        """Terms only grow."""
        self._lead(self.a, 5)
        self.invariants.check_core(self.a)
        self.a.term = 4
        self._violates("went back from term 5", self.a)

    def test_logs_that_do_not_match_are_found(self) -> None:
        """There is one entry for an index and a term."""
        self._append(self.a, command(2, 2, Set("/k", 0, "one")))
        self.b._enter(2)
        self.b.log.extend([command(2, 2, Set("/k", 0, "other"))])
        self._violates("another machine has", self.b)

    def test_earlier_entries_that_do_not_match_are_found(self) -> None:
        """The entries before a matching entry match too."""
        self._append(self.a, command(2, 2, Set("/k", 0)), command(3, 3, Set("/k", 0)), term=3)
        self.b._enter(3)
        self.b.log.extend([command(2, 3, Set("/k", 0)), command(3, 3, Set("/k", 0))])
        self._violates("another machine has", self.b)

    def test_leader_that_replaces_entries_is_found(self) -> None:
        """A leader replaces nothing in its log."""
        self._lead(self.a, 2)
        self.invariants.check_core(self.a)
        self.a.log.extend([Entry(1, 2, EntryKind.EMPTY, b"")])
        self._violates("leads in term 2 and replaced", self.a)

    def test_replaced_committed_entry_is_found(self) -> None:
        """No machine replaces what is committed."""
        self._append(self.a, command(2, 2, Set("/k", 0)), commit=2)
        self.a._enter(3)
        self.a.log.extend([command(2, 3, Set("/k", 0))])
        self._violates("replaced entry 2", self.a)

    def test_decreasing_commit_index_is_found(self) -> None:
        """A commit index never goes back."""
        self._append(self.a, command(2, 2, Set("/k", 0)), commit=2)
        self.a.log.commit_index = 1
        self._violates("went back from commit index 2", self.a)

    def test_two_committed_entries_at_one_index_are_found(self) -> None:
        """One entry is committed at each index."""
        self._append(self.a, command(2, 2, Set("/k", 0)), commit=2)
        self.b._enter(3)
        self.b.log.extend([command(2, 3, Set("/k", 0))])
        self.b.log.commit_index = 2
        self._violates("was committed there", self.b)

    def test_leader_without_committed_entries_is_found(self) -> None:
        """A leader has all that was committed in earlier terms."""
        self._append(self.a, command(2, 2, Set("/k", 0)), commit=2)
        self._lead(self.b, 3)
        self._violates("leads in term 3 without", self.b)

    def test_change_by_two_voters_is_found(self) -> None:
        """A group changes by one voter at a time."""
        alone = encode_configuration(Configuration(("a",), (), _MEMBERS))
        entry = Entry(2, 2, EntryKind.CONFIGURATION, alone)
        self.a._enter(2)
        self.a.log.extend([entry])
        self._violates("makes ('a',)", self.a)

    def test_two_votes_in_a_term_are_found(self) -> None:
        """A term has one vote: the same vote may be repeated, and a pre-vote is not a vote."""
        votes = [("b", VoteReply(2, True)), ("b", VoteReply(2, True)), ("c", VoteReply(2, True, pre=True))]
        for receiver, vote in [*votes, ("c", VoteReply(2, False)), ("c", VoteReply(3, True))]:
            self.invariants.check_sent("a", receiver, encode_messages([vote]))
        other = encode_messages([VoteReply(2, True)])
        error = self.assertRaises(Violation, self.invariants.check_sent, "a", "c", other)
        self.assertIn("votes for b and c in term 2", str(error))


@attrs.define
class _Watching:
    """The part of L{tests.simulation.clients.Watching} that is checked."""

    seen: list[Event]
    key: str = "/"
    name: str = "watcher"
    gaps: list[tuple[int, int]] = attrs.field(factory=list)


class VerdictsTests(SynchronousTestCase):
    """L{check_history} and L{check_watching} find wrong answers."""

    def setUp(self) -> None:
        self.reference = Reference()
        self.clock = Clock()
        self.operations: list[Operation] = []

    def _log(self, change: Change) -> Event:
        """Adds a change to the log."""
        self.reference.commit(command(self.reference.length + 1, 1, change))
        result = self.reference.commands[self.reference.length][1]
        assert isinstance(result, Event)
        return result

    def _told(self, request: Change | Read, outcome: Outcome = Outcome.DONE, **what: Any) -> Operation:
        """Adds an operation whose answer comes a second later, after which the client rests for another second."""
        called = self.clock.seconds()
        self.clock.advance(1.0)
        operation = Operation(len(self.operations), "client", request, called, self.clock.seconds(), outcome, **what)
        self.operations.append(operation)
        self.clock.advance(1.0)
        return operation

    def _set(self, value: str) -> Event:
        change = Set("/k", len(self.operations), value)
        event = self._log(change)
        self._told(change, event=event, index=event.index)
        return event

    def _read(self, value: str, index: int) -> None:
        """Adds a read of what was written at an index."""
        self._told(Read("/k", lease=True), node=File(value, index, index), index=index)

    def _check(self, leases_hold: bool = True) -> None:
        check_history(self.reference, self.operations, leases_hold)

    def _violates(self, words: str) -> None:
        error = self.assertRaises(Violation, self._check)
        self.assertIn(words, str(error))

    def test_correct_history_passes(self) -> None:
        """A correct history passes."""
        self._read_nothing()
        event = self._set("a")
        self._read("a", event.index)
        change = CreateInOrder("/q", 100, "b")
        self._told(change, event=self._log(change), index=2)
        self._told(Delete("/none", 101), Outcome.NOT_DONE)
        self._told(Delete("/none", 102), Outcome.UNKNOWN).answered = float("inf")
        self._check()

    def _read_nothing(self) -> None:
        self._told(Read("/k", lease=False), node=None, index=0)

    def test_lost_write_is_found(self) -> None:
        """What was done is in the log."""
        event = self._set("a")
        change = Set("/k", 100, "b")
        self._told(change, event=event, index=event.index)
        self._violates("in the log: []")

    def test_write_that_is_done_twice_is_found(self) -> None:
        """What was done is in the log only once."""
        self._set("a")
        self._log(Set("/k", 0, "a"))
        self._violates("done 2 times")

    def test_wrong_outcome_is_found(self) -> None:
        """What was done has the outcome that the client got."""
        change = Set("/k", 0, "a")
        event = self._log(change)
        self._log(Set("/k", 1, "b"))
        other = Event(self._log(Set("/k", 2, "c")).result)
        self._told(change, event=other, index=event.index)
        self._violates("in the log:")

    def test_write_that_was_reported_as_not_done_is_found(self) -> None:
        """What was reported as not done is never done."""
        change = Set("/k", 0, "a")
        self._told(change, Outcome.NOT_DONE)
        self._log(change)
        self._violates("and it was done")

    def test_wrong_refusal_is_found(self) -> None:
        """What was refused was refused in the log."""
        change = Set("/k", 0, "a")
        self._log(change)
        error = EtcdError(ErrorCode.KEY_NOT_FOUND, "/k", 1)
        self._told(change, Outcome.REFUSED, error=error, index=1)
        self._violates("in the log:")

    def test_wrong_read_is_found(self) -> None:
        """A read returns what was there."""
        self._set("a")
        self._read("b", 1)
        self._violates("at index 1 there is")

    def test_index_that_does_not_exist_is_found(self) -> None:
        """The index of a read exists."""
        self._set("a")
        self._read("a", 7)
        self._violates("was never seen")

    def test_stale_read_is_found(self) -> None:
        """A read returns what was still there when it was called."""
        first = self._set("a")
        self._set("b")
        self._read("a", first.index)
        self._violates("comes after it")

    def test_leases_do_not_hold(self) -> None:
        """If clocks are too far apart, reads by leases are not checked."""
        first = self._set("a")
        self._set("b")
        self._read("a", first.index)
        self._check(leases_hold=False)

    def test_order_of_changes(self) -> None:
        """The order of the log is an order in time."""
        early, late = Set("/k", 0, "early"), Set("/k", 1, "late")
        event = self._log(late)
        self._told(early, event=self._log(early), index=2)
        self._told(late, event=event, index=1)
        self._violates("comes after it")

    def test_log_that_lies(self) -> None:
        """A key's history has to be linearizable, whatever indexes say."""
        event = self._set("a")
        self._read("a", event.index)
        self._told(Read("/k", lease=False), node=None, index=event.index)
        self.patch(self.reference, "roots", _Lying(self.reference.roots, self.operations))
        self._violates("is not linearizable")

    def test_watcher_that_misses_or_repeats_events_is_found(self) -> None:
        """A watcher sees everything, once, in order, and nothing else."""
        events = [self._log(Set(key, 0)) for key in ("/a", "/b", "/c")]
        check_watching(self.reference, _Watching(events), 1_000)
        check_watching(self.reference, _Watching(events[1:2], key="/b"), 1_000)
        for seen in ([], events[:2], events[1:], [events[0], events[2]], [*events, events[2]], events[::-1]):
            self.assertRaises(Violation, check_watching, self.reference, _Watching(seen), 1_000)
        self.assertRaises(Violation, check_watching, self.reference, _Watching(events, key="/b"), 1_000)

    def test_gap_without_a_reason_is_found(self) -> None:
        """A watcher may miss only what it was notified of missing, and only if that is possible."""
        events = [self._log(Set("/a", number)) for number in range(3)]
        gap = _Watching(events[2:], gaps=[(1, 2)])
        check_watching(self.reference, gap, 2)
        self.assertRaises(Violation, check_watching, self.reference, gap, 1_000)


class LeasesTests(SynchronousTestCase):
    """L{Leases} finds keys that end when they should not."""

    def setUp(self) -> None:
        self.reference = Reference()
        self.leases = Leases(self.reference, 1.0)

    def _log(self, change: Command, now: float, term: int = 1) -> None:
        """Adds a change at that time."""
        self.reference.commit(command(self.reference.length + 1, term, change))
        self.leases.look(now)

    def _grant(self, now: float, ttl: int = 10) -> None:
        """Grants a key with that TTL."""
        self.leases.granted("/leases/1", ttl, now)
        self._log(Create("/leases/1", 0, "", False, int((now + ttl) * 1e6)), now)

    def _end(self, now: float, term: int = 1) -> None:
        self._log(Expire(1 << 60, 1_000), now, term)

    def _violates(self, words: str, now: float, term: int = 1) -> None:
        self.assertIn(words, str(self.assertRaises(Violation, self._end, now, term)))

    def test_key_that_ends_in_time_passes(self) -> None:
        """A key that ends in time passes, and is counted once."""
        self.leases.taken_over(1, Inheritance(), 0.0)
        self._grant(1.0)
        self.assertEqual(self.leases.waiting, ["/leases/1"])
        self.leases.check_none_left(0.0, 12.0)
        self._end(11.1)
        self.assertEqual((self.leases.waiting, self.leases.judged), ([], 1))
        self._end(20.0)

    def test_key_that_ends_early_is_found(self) -> None:
        """A key must not end early."""
        self.leases.taken_over(1, Inheritance(), 0.0)
        self._grant(1.0)
        self._violates("ends too early", 10.0)

    def test_key_that_ends_late_is_found(self) -> None:
        """A key must not end much later while there is a leader."""
        self.leases.taken_over(1, Inheritance(), 0.0)
        self._grant(1.0)
        self._violates("ends too late", 20.0)

    def test_key_that_never_ends_is_found(self) -> None:
        """A key must not stay forever."""
        self._grant(1.0)
        self.assertRaises(Violation, self.leases.check_none_left, 0.0, 30.0)
        self.leases.check_none_left(29.0, 30.0)

    def test_late_leader_may_end_a_key_late(self) -> None:
        """A leader that takes over late can't end a key in time."""
        self.leases.taken_over(1, Inheritance(), 0.0)
        self._grant(1.0)
        self.leases.taken_over(2, Inheritance(1, 0.1), 30.0)
        self._end(31.0, term=2)

    def test_error_of_readings_is_tolerated(self) -> None:
        """The error of a leader's readings is tolerated, and no more than that."""
        self.leases.taken_over(1, Inheritance(), 0.0)
        self._grant(1.0)
        self.leases.taken_over(2, Inheritance(1, 1.0), 2.0)
        self._violates("ends too early", 9.0, term=2)
        self.setUp()
        self.leases.taken_over(1, Inheritance(), 0.0)
        self._grant(1.0)
        self.leases.taken_over(2, Inheritance(1, 1.0), 2.0)
        self._end(10.0, term=2)
        self.assertEqual(self.leases.judged, 1)

    def test_age_of_a_reading_is_tolerated(self) -> None:
        """A key may end early by as much as clocks drift apart while a reading ages, and by no more."""
        for age_seconds, is_too_early in ((9.0, True), (11.0, False)):
            self.setUp()
            self.leases = Leases(self.reference, 1.3)
            self.leases.taken_over(1, Inheritance(), 0.0)
            self._grant(1.0)
            self.leases.taken_over(2, Inheritance(1, 0.0, age_seconds), 2.0)
            if is_too_early:
                self._violates("ends too early", 5.5, term=2)
            else:
                self._end(5.5, term=2)

    def test_leader_without_the_time_may_end_keys_early(self) -> None:
        """A leader that did not know the time may end early what was granted before, but not what it grants itself."""
        for inherited in (Inheritance(), Inheritance(1, 0.001)):
            self.setUp()
            self.leases.taken_over(1, Inheritance(), 0.0)
            self.leases.taken_over(2, Inheritance(), 0.5)
            self._grant(1.0)
            self.leases.taken_over(3, inherited, 2.0)
            self._end(3.0, term=3)
            self.assertEqual(self.leases.judged, 0)
            self._grant(4.0)
            self._violates("ends too early", 5.0, term=3)


class _Lying(dict[int, Any]):
    """Trees by index that always hold what was read."""

    def __init__(self, roots: dict[int, Any], operations: list[Operation]) -> None:
        super().__init__(roots)
        self._reads = iter([each for each in operations if isinstance(each.request, Read)])

    def get(self, index: int, default: Any = None) -> Any:  # noqa: ARG002
        root = self[index]
        read = next(self._reads)
        children = root.children.delete("k") if read.node is None else root.children.set("k", read.node)
        return type(root)(children)
