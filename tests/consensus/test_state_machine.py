"""
Tests of L{etcd_twisted.consensus.state_machine}: it does not matter to the key space whether anybody here waits for an
outcome.
"""

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.clocks.cluster_time import ClusterTime
from etcd_twisted.consensus.proposals.pending import Proposal, Proposals
from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, Member, SnapshotMetadata
from etcd_twisted.consensus.state_machine import StateMachine
from etcd_twisted.errors import ErrorCode, EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import Change, Command, Create, Delete, Set, encode_command
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState
from tests.keyspace.running import run, shown
from tests.keyspace.strategies import anything, plain_sets

GROUP = Configuration(("a" * 16,), (), {"a" * 16: Member("m0", "http://m0:4001", "http://m0:7001")})
NOTHING = SnapshotMetadata(0, 0, Configuration(()))
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

    @ivar told: the index of each outcome that was told, with the index that was applied by then, and the key space.
    """

    def __init__(self, size: int, *waits_at: int) -> None:
        """
        @param size: how many entries are in each batch.
        @param waits_at: the indexes for whose outcomes somebody waits.
        """
        clock = Clock()
        self.proposals = Proposals(clock, 3.0, RequestDroppedError)
        self.told: list[tuple[int, int, KeySpaceState]] = []
        for index in waits_at:
            self.proposals.add(index, Proposal(None, 1 + index // 4, 9, lambda _, index=index: self._told(index)))
        self.time = ClusterTime(clock, lambda: 0.0)
        self.machine = StateMachine(KeySpace(), self.time, self.proposals, NOTHING, 0, logs_changes=False)
        for start in range(0, len(ENTRIES), size):
            self.machine.apply(ENTRIES[start : start + size])

    def _told(self, index: int) -> None:
        self.told.append((index, self.machine.applied_index, self.machine.keyspace.state()))

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

    def test_those_who_wait_are_told_in_order(self) -> None:
        """
        When an outcome is told, everything up to its entry is applied, and the key space is as of the applied index.
        """
        one_by_one = {index: Machine(1, index).told[0][2] for index in range(1, len(ENTRIES) + 1)}
        for size in range(1, len(ENTRIES) + 1):
            told = Machine(size, 2, 3, 7).told
            self.assertEqual([index for index, _, _ in told], [2, 3, 7])
            for index, applied, seen in told:
                self.assertTrue(index <= applied <= -(-index // size) * size, (index, applied, size))
                self.assertEqual(seen, one_by_one[applied])
        self.assertEqual([told[:2] for told in Machine(1, 2, 3, 7).told], [(2, 2), (3, 3), (7, 7)])

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

    @given(
        st.lists(
            st.tuples(plain_sets | anything, st.sampled_from(["own", "placed", "replaced", "others"])), max_size=12
        ),
        st.lists(st.integers(1, 12), min_size=12, max_size=12),
    )
    def test_everybody_is_told_the_outcome_of_the_own_command(
        self, several: list[tuple[Command, str]], sizes: list[int]
    ) -> None:
        """However the entries are cut into batches, and whoever has proposed them."""
        alone, proposals = KeySpace(), Proposals(Clock(), 3.0, RequestDroppedError)
        machine = StateMachine(
            KeySpace(), ClusterTime(Clock(), lambda: 0.0), proposals, NOTHING, 0, logs_changes=False
        )
        wanted, told, entries = list[tuple[int, object]](), list[tuple[int, Any]](), list[Entry]()
        proposals.expect()
        for index, (command, whose) in enumerate(several, 1):
            entries.append(Entry(index, 2, EntryKind.COMMAND, encode_command(command)))
            outcome = run(alone, [command])[0]
            if whose == "others":
                continue
            change = command if whose == "own" and isinstance(command, Change) else None
            proposal = Proposal(
                change, 1 if whose == "replaced" else 2, 9, lambda result, index=index: told.append((index, result))
            )
            proposals.add(index, proposal)
            wanted.append((index, "dropped" if whose == "replaced" else outcome))
        while entries:
            size = sizes.pop()
            machine.apply(tuple(entries[:size]))
            del entries[:size]
        results = [(index, "dropped" if isinstance(o, RequestDroppedError) else shown(o)) for index, o in told]
        self.assertEqual(sorted(results, key=lambda each: each[0]), wanted)
        in_order = [index for index, outcome in results if outcome != "dropped"]
        self.assertEqual(in_order, sorted(in_order))
        self.assertEqual((machine.applied_index, proposals.count, proposals.size), (len(several), 0, 0))
        self.assertEqual(machine.keyspace.state(), alone.state())

    def test_an_exception_while_applying(self) -> None:
        """It ends the machine. Those whose commands were carried out before are told so; the others, that it ends."""
        proposals, told = Proposals(Clock(), 3.0, RequestDroppedError), dict[int, Any]()
        machine = StateMachine(
            KeySpace(), ClusterTime(Clock(), lambda: 0.0), proposals, NOTHING, 0, logs_changes=False
        )
        entries = [Entry(i, 1, EntryKind.COMMAND, encode_command(Set(f"/{i}", 0, ""))) for i in range(1, 5)]
        for index in (1, 2, 3, 4):
            command = cast(Change, "no command") if index == 3 else Set(f"/{index}", 0, "")
            told_to = lambda result, index=index: told.__setitem__(index, (machine.applied_index, result))  # noqa: E731
            proposals.add(index, Proposal(command, 1, 9, told_to))
        with self.assertRaises(TypeError):
            machine.apply(tuple(entries))
        self.assertEqual({index: applied for index, (applied, _) in told.items()}, dict.fromkeys((1, 2, 3, 4), 2))
        self.assertEqual([told[index][1].index for index in (1, 2)], [1, 2])
        for index in (3, 4):
            error = told[index][1]
            self.assertIn("this machine can't go on", error.cause)
            self.assertEqual((error.code, error.index), (ErrorCode.RAFT_INTERNAL, 2))

    def test_an_entry_that_can_not_be_read(self) -> None:
        """It ends the machine too, and nobody whose command came together with it waits for ever."""
        for change in (None, Set("/1", 0)):  # the entry of a placed proposal is read as well
            proposals, told = Proposals(Clock(), 3.0, RequestDroppedError), list[Any]()
            machine = StateMachine(
                KeySpace(), ClusterTime(Clock(), lambda: 0.0), proposals, NOTHING, 0, logs_changes=False
            )
            proposals.add(1, Proposal(change, 2, 9, told.append))
            entries = [
                Entry(1, 2, EntryKind.COMMAND, encode_command(Set("/1", 0))),
                Entry(2, 2, EntryKind.COMMAND, b""),
            ]
            self.assertRaises(ValueError, machine.apply, tuple(entries))
            self.assertEqual([type(each) for each in told], [EtcdError])
            self.assertEqual((machine.applied_index, machine.keyspace.index), (0, 0))
