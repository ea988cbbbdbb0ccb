"""
Tests of L{etcd_twisted.consensus.raft.core}: log compaction, and snapshots for other machines (Raft paper, section 7).
"""

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import encode_configuration
from etcd_twisted.consensus.raft.entries import Configuration, EntryKind, HardState, SnapshotMetadata
from etcd_twisted.consensus.raft.limits import RaftLimits
from etcd_twisted.consensus.raft.messages import Append, AppendReply, InstallSnapshot
from etcd_twisted.consensus.raft.state import Role
from tests.consensus.raft.group import (
    LONG,
    NONE_TRAILING,
    TIMING,
    Group,
    Machine,
    alone,
    elect,
    entries_of,
    entry,
    sent,
)

GROUP = Configuration(("a", "b", "c"))


class LeaderTests(SynchronousTestCase):
    """The leader sends a snapshot to followers that are too far behind."""

    def setUp(self) -> None:
        self.machine = alone("a", "abc", [1] * 5, limits=NONE_TRAILING)
        elect(self.machine)
        for _ in range(4):
            self.machine.core.propose(b"x")
        self.answer("c", AppendReply(2, 1, 6, 6))
        sent(self.machine)
        self.answer("c", AppendReply(2, 1, 10, 10))
        self.machine.apply()
        self.machine.take_snapshot()
        sent(self.machine)
        self.assertEqual(self.machine.core.log.first_index, 11)

    def answer(self, sender: str, reply: AppendReply, now: float = 0.0) -> None:
        self.machine.core.receive(sender, reply, now)

    def sent_to_b(self, now: float = 0.0) -> list[object]:
        return [message for receiver, message in sent(self.machine, now) if receiver == "b"]

    def heartbeat(self, number: int) -> Append:
        return Append(2, number, 0, 0, 10)

    def test_snapshot_is_sent_only_to_a_reachable_machine(self) -> None:
        """The machine is sent heartbeats until it answers, which also say how far the others are."""
        for beat in range(1, 5):
            self.assertEqual(self.sent_to_b(beat * TIMING.heartbeat_seconds), [self.heartbeat(1 + beat)])
        self.answer("b", AppendReply(2, 5, 0, 0))
        self.assertEqual(self.sent_to_b(), [InstallSnapshot(2)])

    def sending(self) -> None:
        self.answer("b", AppendReply(2, 1, 0, 5, True, 2, 1))
        self.assertEqual(self.sent_to_b(), [InstallSnapshot(2)])

    def test_rejection_before_the_beginning_of_the_log_leads_to_a_snapshot(self) -> None:
        self.sending()

    def test_machine_gets_only_heartbeats_during_a_snapshot(self) -> None:
        self.sending()
        for beat in range(1, 10):
            self.machine.core.propose(b"y")
            self.answer("b", AppendReply(2, beat, 0, 0))
            self.assertEqual(self.sent_to_b(beat * TIMING.heartbeat_seconds), [self.heartbeat(1 + beat)])
            self.answer("c", AppendReply(2, 1 + beat, 10, 10))
            self.assertEqual(self.sent_to_b(beat * TIMING.heartbeat_seconds), [])

    def test_late_rejections_change_nothing(self) -> None:
        self.sending()
        self.answer("b", AppendReply(2, 1, 0, 4, True, 2, 1))
        self.assertEqual(self.sent_to_b(), [])

    def test_entries_follow_an_installed_snapshot(self) -> None:
        self.sending()
        self.machine.core.propose(b"y")
        self.assertEqual(self.sent_to_b(), [])
        self.answer("b", AppendReply(2, 0, 10, 10))
        (append,) = self.sent_to_b()
        assert isinstance(append, Append)
        self.assertEqual((append.prev_index, append.prev_term, len(append.entries)), (10, 2, 1))

    def test_end_of_sending_a_snapshot_leads_to_a_probe(self) -> None:
        """The answer of the other machine may be lost, and may arrive first."""
        self.sending()
        self.machine.core.snapshot_ended("b")
        self.assertEqual(self.sent_to_b(), [])
        self.assertEqual(self.sent_to_b(TIMING.heartbeat_seconds), [self.heartbeat(2)])
        self.answer("b", AppendReply(2, 2, 10, 0))
        self.machine.core.propose(b"y")
        (append,) = self.sent_to_b(2 * TIMING.heartbeat_seconds)
        assert isinstance(append, Append)
        self.assertEqual(append.prev_index, 10)

    def test_cancelled_snapshot_is_sent_again(self) -> None:
        self.sending()
        for attempt in range(1, 4):
            self.machine.core.snapshot_ended("b")
            now = attempt * TIMING.heartbeat_seconds
            self.assertEqual(self.sent_to_b(now), [self.heartbeat(1 + attempt)])
            self.answer("b", AppendReply(2, 1 + attempt, 0, 0), now)
            self.assertEqual(self.sent_to_b(now), [InstallSnapshot(2)])

    def test_report_about_an_unknown_snapshot_changes_nothing(self) -> None:
        self.machine.core.snapshot_ended("c")
        self.machine.core.snapshot_ended("x")
        self.assertEqual(sent(self.machine), [])

    def test_unreachable_machine_gets_only_heartbeats(self) -> None:
        """The log may have been compacted past its position when it comes back."""
        self.answer("c", AppendReply(2, 1, 10, 10))
        self.machine.core.unreachable("c")
        self.machine.core.propose(b"y")
        self.answer("b", AppendReply(2, 1, 0, 5, True, 5, 1))
        self.assertEqual([type(message) for _, message in sent(self.machine)], [InstallSnapshot])


class FollowerTests(SynchronousTestCase):
    """Tests of a follower that receives a snapshot (figure 13)."""

    def following(self, terms: list[int], committed: int = 0) -> Machine:
        """Returns machine a, which b leads in term 5."""
        machine = alone("a", "abc", terms, HardState(5))
        term = terms[committed - 1] if committed else 0
        machine.core.receive("b", Append(5, 1, committed, term, committed), 0.0)
        sent(machine)
        machine.apply()
        return machine

    def test_wanted_snapshots_are_newer_than_the_log(self) -> None:
        for term, index, wanted in ((4, 9, False), (5, 2, False), (5, 3, True), (6, 3, True)):
            core = self.following([1, 1, 1], 2).core
            self.assertEqual(core.wants_snapshot("b", term, index, 3.0), wanted)
            self.assertEqual((core.term, core.leader), (max(5, term), "b"))
            heard = core.deadline >= 3.0 + TIMING.election_timeout_seconds
            self.assertEqual(heard, term >= 5)

    def test_candidate_follows_the_sender_of_a_snapshot(self) -> None:
        core = self.following([1, 1, 1]).core
        core.campaign(0.0)
        self.assertTrue(core.wants_snapshot("b", 5, 3, 0.0))
        self.assertEqual(core.role, Role.FOLLOWER)

    def test_log_that_conflicts_with_a_snapshot_is_dropped(self) -> None:
        for terms in ([], [1, 1], [1, 1, 1, 1, 1, 1]):
            machine = self.following(terms)
            machine.take_in(SnapshotMetadata(4, 3, GROUP), (b"state",))
            core = machine.core
            self.assertEqual((core.commit_index, core.last_index, core.log.last_term), (4, 4, 3))
            self.assertIsNone(core.to_persist())
            self.assertEqual(core.to_apply(9), ())
            self.assertEqual(core.to_send(0.0), [("b", AppendReply(5, 0, 4, 4))])
            self.assertEqual(machine.disk.entries, [])

    def test_entries_after_a_matching_one_stay(self) -> None:
        machine = self.following([1, 1, 1, 3, 3])
        machine.take_in(SnapshotMetadata(4, 3, GROUP), (b"state",))
        core = machine.core
        self.assertEqual((core.commit_index, core.last_index, core.log.snapshot_index), (4, 5, 4))
        self.assertEqual([each.index for each in machine.disk.entries], [5])
        core.receive("b", Append(5, 1, 5, 3, 5), 0.0)
        self.assertEqual([each.index for each in core.to_apply(9)], [5])

    def test_log_continues_after_a_snapshot(self) -> None:
        machine = self.following([1, 1])
        machine.take_in(SnapshotMetadata(4, 3, GROUP), (b"state",))
        machine.core.receive("b", Append(5, 1, 4, 3, 5, entries_of([3], 5)), 0.0)
        self.assertEqual(sent(machine)[-1], ("b", AppendReply(5, 1, 5, 5)))
        machine.apply()
        self.assertEqual(machine.state, [b"state", b"3.5"])

    def test_dropped_entries_that_are_being_written_do_not_count(self) -> None:
        machine = self.following([1, 1])
        core = machine.core
        core.receive("b", Append(5, 1, 2, 1, 0, entries_of([2, 2, 2, 2], 3)), 0.0)
        machine.write()
        machine.take_in(SnapshotMetadata(4, 3, GROUP), (b"state",))
        core.receive("b", Append(5, 1, 4, 3, 6, entries_of([3, 3], 5)), 0.0)
        machine.sync(0.0)
        self.assertEqual(core.to_apply(9), ())
        self.assertEqual(max(m.index for _, m in core.to_send(0.0) if isinstance(m, AppendReply)), 4)
        machine.save(0.0)
        self.assertEqual([each.term for each in core.to_apply(9)], [3, 3])
        self.assertEqual([each.term for each in machine.disk.entries], [3, 3])

    def test_matching_entries_that_are_being_written_count(self) -> None:
        """The snapshot is ahead of what is written, and behind what is known."""
        machine = self.following([1, 1])
        core = machine.core
        core.receive("b", Append(5, 1, 2, 1, 0, entries_of([2, 2], 3)), 0.0)
        machine.write()
        core.receive("b", Append(5, 1, 4, 2, 0, entries_of([2, 2, 2], 5)), 0.0)
        machine.take_in(SnapshotMetadata(6, 2, GROUP), (b"state",))
        machine.save(0.0)
        self.assertEqual([each.index for each in machine.disk.entries], [7])
        answers = [m.index for _, m in core.to_send(0.0) if isinstance(m, AppendReply)]
        self.assertEqual(answers[-1], 7)

    def test_nothing_that_the_snapshot_covers_waits_for_the_disk(self) -> None:
        machine = self.following([1, 1])
        core = machine.core
        core.receive("b", Append(5, 1, 2, 1, 0, entries_of([2, 2], 3)), 0.0)
        machine.write()
        machine.take_in(SnapshotMetadata(4, 2, GROUP), (b"state",))
        self.assertEqual(core.to_send(0.0), [("b", AppendReply(5, 0, 4, 4))])
        machine.sync(0.0)
        self.assertEqual(core.to_send(0.0), [])

    def test_configuration_of_a_snapshot_counts(self) -> None:
        machine = self.following([1, 1])
        group = Configuration(("a", "b", "c", "d"))
        machine.core.receive(
            "b",
            Append(5, 1, 2, 1, 0, (entry(3, 2, encode_configuration(GROUP), EntryKind.CONFIGURATION),)),
            0.0,
        )
        machine.take_in(SnapshotMetadata(4, 3, group), ())
        self.assertEqual(list(machine.core.log.configurations), [(4, group)])

    def test_configuration_after_a_snapshot_stays(self) -> None:
        group = Configuration(("a", "b", "c", "d"))
        machine = self.following([1, 1])
        new = entry(3, 2, encode_configuration(group), EntryKind.CONFIGURATION)
        machine.core.receive("b", Append(5, 1, 2, 1, 0, (new,)), 0.0)
        machine.take_in(SnapshotMetadata(2, 1, GROUP), ())
        self.assertEqual(list(machine.core.log.configurations), [(2, GROUP), (3, group)])

    def test_machine_that_leads_by_then_acknowledges_no_snapshot(self) -> None:
        """The machine was elected with what it had of the log, while the snapshot was read."""
        machine = alone("a", "abc", [1, 1, 1], HardState(1))
        elect(machine)
        self.assertTrue(machine.core.install(SnapshotMetadata(2, 1, GROUP)))
        self.assertEqual((machine.core.role, machine.core.commit_index), (Role.LEADER, 2))
        self.assertEqual(sent(machine), [])


class CompactionTests(SynchronousTestCase):
    def test_compacted_entries_are_not_probed(self) -> None:
        group = Group("a", limits=NONE_TRAILING)
        group.elect("a")
        group.propose(b"x")
        group.settle()
        group.machines["a"].take_snapshot()
        self.assertEqual(group.propose(b"y"), 3)
        group.settle()
        self.assertEqual(group.states(), {"a": [b"x", b"y"]})
        group.crash("a")
        group.start("a")
        self.assertEqual((group["a"].commit_index, group["a"].last_index), (2, 3))
        group.elect("a")
        self.assertEqual(group.states(), {"a": [b"x", b"y"]})

    def test_a_machine_a_little_behind_needs_no_snapshot(self) -> None:
        group = self.grown("c", 15, RaftLimits(trailing_entries=20))
        group.snapshots_pass = False
        group.start("c")
        group.advance(LONG)
        self.assertEqual(group.states()["c"], group.states()["a"])

    def grown(self, down: str, count: int, limits: RaftLimits) -> Group:
        """
        Returns a group of three in which one machine did not see the last entries, which the others have compacted.
        """
        group = Group("abc", limits=limits)
        group.elect("a")
        group.crash(down)
        for number in range(count):
            group.propose(b"%d" % number)
            group.settle()
        group.advance(2 * LONG)
        for machine in group.machines.values():
            machine.take_snapshot()
        return group

    def test_machine_further_behind_gets_a_snapshot(self) -> None:
        for down, count in (("c", 15), ("b", 100)):
            group = self.grown(down, count, RaftLimits(trailing_entries=10))
            group.start(down)
            group.advance(2 * LONG)
            self.assertEqual(group.disks[down].snapshot.index, count + 1)
            group.propose(b"after")
            group.advance(TIMING.heartbeat_seconds)
            self.assertEqual(group.states()[down], group.states()["a"])

    def test_machine_gets_the_entries_after_a_snapshot(self) -> None:
        """The leader compacts its log meanwhile, so the entries after the snapshot in flight have to stay."""
        group = self.grown("c", 20, RaftLimits(trailing_entries=5))
        group.snapshots_pass = False
        group.start("c")
        group.advance(LONG)
        self.assertEqual(len(group.snapshots), 1)
        for number in range(10):
            for _ in range(10):
                group.propose(b"more %d" % number)
            group.advance(TIMING.heartbeat_seconds)
            group.machines["a"].take_snapshot()
        group.snapshots_pass = True
        group.advance(2 * TIMING.heartbeat_seconds)
        self.assertEqual(group.disks["c"].snapshot.index, 21)
        self.assertEqual(group.states()["c"], group.states()["a"])

    def test_entries_are_not_kept_for_an_unreachable_machine(self) -> None:
        group = self.grown("c", 20, RaftLimits(trailing_entries=5))
        self.assertEqual(group["a"].log.first_index, 17)

    def test_entries_are_not_kept_for_too_long(self) -> None:
        group = self.grown("c", 20, RaftLimits(trailing_entries=5, needed_entries=50))
        group.snapshots_pass = False
        group.start("c")
        group.advance(LONG)
        for _ in range(100):
            group.propose(b"more")
        group.advance(TIMING.heartbeat_seconds)
        group.machines["a"].take_snapshot()
        self.assertEqual(group["a"].log.first_index, group["a"].last_index - 49)

    def test_machine_ahead_of_what_the_leader_knows_gets_no_snapshot_over_and_over(self) -> None:
        """
        The answers of the machine were lost, and it has forgotten what it has compared with this leader, because its
        own snapshot is newer than the leader's.
        """
        group = Group("abc", limits=NONE_TRAILING)
        group.elect("a")
        group.cut("c", "a")
        for number in range(10):
            group.propose(b"%d" % number)
            group.settle()
        group.advance(LONG)
        for machine in group.machines.values():
            machine.take_snapshot()
        group.propose(b"x")
        group.settle()
        group["a"].unreachable("c")
        group.advance(TIMING.heartbeat_seconds)
        group.machines["c"].take_snapshot()
        group.crash("c")
        group.start("c")
        group.heal()
        group.advance(2 * TIMING.heartbeat_seconds)
        group.propose(b"y")
        group.advance(TIMING.heartbeat_seconds)
        self.assertEqual(group.states()["c"], group.states()["a"])
        self.assertEqual(group.disks["c"].snapshot.index, 12)

    def test_superseded_snapshot_compacts_nothing(self) -> None:
        """The snapshot was begun before another machine's arrived, and is done after."""
        machine = alone("a", "abc", [1] * 5, HardState(1), limits=RaftLimits(trailing_bytes=10))
        machine.core.receive("b", Append(1, 1, 5, 1, 5), 0.0)
        machine.apply()
        machine.take_in(SnapshotMetadata(10, 1, GROUP), ())
        machine.core.receive("b", Append(1, 1, 10, 1, 10, entries_of([1] * 50, 11)), 0.0)
        machine.save(0.0)
        machine.core.compacted(5)
        log = machine.core.log
        self.assertEqual((log.first_index, log.last_index, log.snapshot_index), (11, 60, 10))

    def test_an_old_message_from_before_the_log_is_answered(self) -> None:
        """What is committed is the leader's, even if nobody can look it up any more."""
        machine = alone("a", "abc", [1] * 5, HardState(1), limits=NONE_TRAILING)
        machine.core.receive("b", Append(1, 1, 5, 1, 5), 0.0)
        machine.apply()
        machine.take_snapshot()
        sent(machine)
        machine.core.receive("b", Append(1, 2, 2, 1, 2, entries_of([1] * 5, 3)), 0.0)
        self.assertEqual(sent(machine), [("b", AppendReply(1, 2, 7, 7))])
        self.assertEqual(machine.core.last_index, 7)
