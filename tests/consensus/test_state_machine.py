"""
Tests of L{etcd_twisted.consensus.state_machine}: it does not matter to the key space whether anybody here waits for an
outcome.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.proposals.pending import Proposal, Proposals
from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, Member, SnapshotMetadata
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import RequestDroppedError
from etcd_twisted.keyspace.commands import Create, Delete, Set, encode_command
from etcd_twisted.keyspace.space import KeySpace

GROUP = Configuration(("a" * 16,), (), {"a" * 16: Member("m0", "http://m0:4001", "http://m0:7001")})
DATA = [
    (EntryKind.EMPTY, b""),
    (EntryKind.COMMAND, encode_command(Set("/a", 5_000_000, "x"))),
    (EntryKind.COMMAND, encode_command(Create("/a", 9_000_000, "y"))),  # which fails
    (EntryKind.CONFIGURATION, encode_configuration(GROUP)),
    (EntryKind.COMMAND, encode_command(Set("/a/b", 6_000_000, "z"))),  # which fails too
    (EntryKind.COMMAND, encode_command(Set("/b", 6_000_000, "z"))),
    (EntryKind.COMMAND, encode_command(Delete("/a", 7_000_000))),
]
ENTRIES = tuple(Entry(index, 1 + index // 4, kind, data) for index, (kind, data) in enumerate(DATA, 1))


class Machine:
    """
    A state machine that has applied L{ENTRIES}, in several batches.

    @ivar told: the index of each outcome that was told, with what was applied by then.
    """

    def __init__(self, size: int, *waits_at: int) -> None:
        """
        @param size: how many entries are in each batch.
        @param waits_at: the indexes for whose outcomes somebody waits.
        """
        clock = Clock()
        self.proposals = Proposals(clock, 3.0, RequestDroppedError)
        self.told: list[tuple[int, int]] = []
        for index in waits_at:
            self.proposals.add(index, Proposal(None, 1 + index // 4, 9, lambda _, index=index: self._told(index)))
        self.time = ClusterTime(clock, lambda: 0.0)
        self.machine = StateMachine(
            KeySpace(), self.time, self.proposals, SnapshotMetadata(0, 0, Configuration(())), 0, logs_changes=False
        )
        for start in range(0, len(ENTRIES), size):
            self.machine.apply(ENTRIES[start : start + size])

    def _told(self, index: int) -> None:
        self.told.append((index, self.machine.applied_index))

    def seen(self) -> tuple[object, ...]:
        """Returns all that applying the entries has changed."""
        machine = self.machine
        return machine.view(), machine.bytes_since_snapshot, machine.has_all_from_before


class StateMachineTests(SynchronousTestCase):
    def test_entries_that_nobody_waits_for(self) -> None:
        """They are applied in one go, and do the same as one by one, with somebody who waits for a later one."""
        one_by_one = Machine(1, 100)
        for size in range(1, len(ENTRIES) + 1):
            self.assertEqual(Machine(size).seen(), one_by_one.seen(), size)
            self.assertEqual(Machine(size, 100).seen(), one_by_one.seen(), size)
        state = one_by_one.machine.keyspace
        self.assertEqual((state.get("/b").modified, one_by_one.machine.applied_index), (state.index - 1, len(ENTRIES)))
        self.assertEqual(one_by_one.time.least, 9_000_000)

    def test_those_who_wait_are_told_between_the_entries(self) -> None:
        """Who is told an outcome sees everything up to that entry applied, and nothing after it."""
        for size in range(1, len(ENTRIES) + 1):
            self.assertEqual(Machine(size, 2, 3, 7).told, [(2, 2), (3, 3), (7, 7)])

    def test_what_others_have_put_into_the_log_calls_for_another_check_of_the_room(self) -> None:
        """Nothing was known of it when the room was checked. What this machine itself has proposed is counted."""
        for waits_at in ((), (100,)):
            machine = Machine(len(ENTRIES), *waits_at)
            for kind, data in DATA:
                machine.proposals.unchecked_bytes = 9
                machine.machine.apply((Entry(8, 2, kind, data),))
                self.assertEqual(machine.proposals.unchecked_bytes, 0, (kind, waits_at))
        own = Set("/a", 5_000_000, "x")
        machine.proposals.add(8, Proposal(own, 2, 9, lambda _: None))
        machine.proposals.unchecked_bytes = 9
        machine.machine.apply((Entry(8, 2, EntryKind.COMMAND, encode_command(own)),))
        self.assertEqual(machine.proposals.unchecked_bytes, 9)
