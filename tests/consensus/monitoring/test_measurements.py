"""
Tests of a machine's measurements, against what it was made to do.
"""

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.consensus.storage.disk_thread import SLOW_APPEND_SECONDS
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces.statistics import PeerTraffic
from tests.consensus.cluster import LATENCY, Cluster, ClusterMachine, ClusterTestCase
from tests.consensus.raft.group import NONE_TRAILING
from tests.logs.lines import Log


class MeasurementsTest(ClusterTestCase):
    """The base class of tests with three machines."""

    def setUp(self) -> None:
        self.group = self.three()

    def three(self, **settings: Any) -> Cluster:
        group = self.cluster(**settings)
        group.start(3)
        return group

    @property
    def leader(self) -> ClusterMachine:
        return self.group.leader

    def write(self, count: int) -> None:
        """Writes one key after the other."""
        for number in range(count):
            self.group.result_of(self.leader.set(f"/k{number}", "v"))


class LogTests(MeasurementsTest):
    """Tests of the log, on the disk and in the group."""

    def test_indexes_are_measured(self) -> None:
        before = self.leader.replica.measurements().commit_index
        self.write(10)
        self.group.settle()
        for machine in self.group.running:
            self.assertEqual(machine.replica.measurements().commit_index, before + 10)
            self.assertEqual(machine.replica.raft_index, before + 10)

    def test_syncs_are_counted(self) -> None:
        """
        Each machine counts one sync for each batch; what comes while the disk is busy is one batch. The first of many
        changes is a batch of its own, as all those before came from a lone writer.
        """
        before = [sum(machine.replica.measurements().syncs.counts) for machine in self.group.running]
        self.write(5)
        many = [self.leader.set(f"/m{number}") for number in range(100)]
        for each in many:
            self.group.result_of(each)
        self.group.settle()
        for machine, earlier in zip(self.group.running, before, strict=True):
            syncs = machine.replica.measurements().syncs
            self.assertEqual(sum(syncs.counts), earlier + 5 + 2)
            self.assertGreater(syncs.total_seconds, 0)

    def test_commits_are_measured(self) -> None:
        """A commit lasts from the leader's write to the answer of the first follower; followers measure nothing."""
        before = self.leader.replica.measurements().commits
        earlier, total = sum(before.counts), before.total_seconds
        self.write(5)
        commits = self.leader.replica.measurements().commits
        self.assertEqual(sum(commits.counts), earlier + 5)
        self.assertAlmostEqual(commits.total_seconds - total, 5 * 2 * LATENCY, places=4)
        for follower in self.group.followers:
            self.assertEqual(sum(follower.replica.measurements().commits.counts), 0)

    def test_commits_of_a_deposed_leader_are_not_measured(self) -> None:
        """Entries that a deposed leader could not commit are never measured."""
        old = self.leader
        counted = sum(old.replica.measurements().commits.counts)
        self.group.network.isolate(old.name)
        lost = old.set("/lost").addErrback(lambda failure: failure.trap(EtcdError, RequestDroppedError))
        self.group.advance_until(lambda: any(each.leads for each in self.group.running if each is not old))
        self.group.network.heal()
        self.group.result_of(lost)
        self.group.settle()
        self.assertEqual(sum(old.replica.measurements().commits.counts), counted)
        self.assertEqual(len(old.node._uncommitted), 0)

    def test_size_of_the_log(self) -> None:
        """The size is that of the files, without what is allocated ahead, across segments and a restart."""
        machine = self.leader
        log = machine.storage.log
        log.segment_bytes = 10_000
        for number in range(40):
            self.group.result_of(machine.set(f"/k{number}", "x" * 1_000))
        self.group.result_of(ensureDeferred(machine.participation.hand_over()))  # its stop writes nothing then
        self.group.settle()
        measured = machine.replica.measurements().log_bytes
        self.assertGreater(len(log._segments), 3)
        machine.stop()
        files = list(machine.storage.directory.log_directory.iterdir())
        self.assertEqual(measured, sum(path.stat().st_size for path in files))
        self.group.result_of(machine.launch())
        self.group.settle()
        again = machine.replica.measurements().log_bytes
        machine.stop()
        self.assertEqual(again, sum(path.stat().st_size for path in files))
        self.assertGreaterEqual(again, measured)

    def test_slow_disk_is_logged(self) -> None:
        """A slow sync is logged when it is over."""
        log = Log(self)
        self.leader.disk_thread.held = True
        done = self.leader.set("/k")
        self.group.advance(SLOW_APPEND_SECONDS + 0.5)
        self.leader.disk_thread.held = False
        self.group.result_of(done)
        self.assertEqual(log.warnings, ["The disk is slow: it took 1.5 s to make a part of the log durable"])


class SnapshotTests(MeasurementsTest):
    """Tests of snapshots, on disk and in transfer."""

    def setUp(self) -> None:
        self.group = self.three(snapshot_count=20, raft_limits=NONE_TRAILING)

    def size_on_disk(self, machine: ClusterMachine) -> int:
        (path,) = machine.storage.directory.snapshot_directory.iterdir()
        return path.stat().st_size

    def test_size_of_the_snapshot(self) -> None:
        """There is none at first; then the size is that of the newest one, after a restart too."""
        self.assertEqual(self.leader.replica.measurements().snapshot_bytes, 0)
        self.write(50)
        self.group.settle()
        machine = self.leader
        size = machine.replica.measurements().snapshot_bytes
        self.assertEqual(size, self.size_on_disk(machine))
        machine.stop()
        self.group.result_of(machine.launch())
        self.assertEqual(machine.replica.measurements().snapshot_bytes, size)

    def test_sent_and_received_bytes_of_a_snapshot(self) -> None:
        """The leader has sent all of the snapshot, and the follower has received as much, and has it."""
        away = self.group.followers[0]
        away.crash()
        self.group.advance(1.0)  # nothing is kept for an unreachable machine
        for number in range(60):
            self.group.result_of(self.leader.set(f"/k{number}", "x" * 4_000))
        self.group.settle()
        pieces: list[int] = []

        def note(data: bytes) -> bytes:
            pieces.append(len(data))
            return data

        self.group.network.on_the_way = note
        sent = self.leader.replica.traffic.peers[away.id].sent
        self.group.result_of(away.launch())
        self.group.settle()
        self.assertEqual(away.replica.measurements().snapshot_bytes, self.size_on_disk(away))
        self.assertGreater(sum(pieces), 100_000)
        self.assertGreaterEqual(self.leader.replica.traffic.peers[away.id].sent - sent, sum(pieces))
        self.assertGreaterEqual(away.replica.traffic.peers[self.leader.id].received, sum(pieces))


class ProposalTests(MeasurementsTest):
    """Tests of proposals."""

    def test_pending_and_failed_proposals(self) -> None:
        """The proposals that wait for a quorum are pending, and those that will never be answered have failed."""
        leader = self.leader
        for follower in self.group.followers:
            self.group.network.isolate(follower.name)
        failed: list[object] = []
        waiting: list[Deferred[object]] = [leader.set(f"/k{number}").addErrback(failed.append) for number in range(3)]
        self.group.advance(0.01)
        self.assertEqual(leader.replica.measurements().proposals_pending, 3)
        self.group.advance_until(lambda: len(failed) == len(waiting))
        measured = leader.replica.measurements()
        self.assertEqual((measured.proposals_pending, measured.proposals_failed), (0, 3))
        self.group.network.heal()
        self.group.await_leader()

    def test_refused_command_has_not_failed(self) -> None:
        """The command was applied, although it changed nothing."""
        with self.assertRaises(EtcdError):
            self.group.result_of(self.leader.set("/"))
        self.assertEqual(self.leader.replica.measurements().proposals_failed, 0)

    def test_standby_has_no_proposals(self) -> None:
        machine = self.group.add()
        measured = machine.replica.measurements()
        self.assertEqual((measured.commit_index, measured.log_bytes, sum(measured.syncs.counts)), (0, 0, 0))


class LeaderTests(MeasurementsTest):
    """Tests of changes of leader."""

    def changes(self) -> list[int]:
        return [machine.replica.measurements().leader_changes for machine in self.group.running]

    def test_changes_of_leader_are_counted(self) -> None:
        """Each machine counts each change once, however much is written meanwhile."""
        before = self.changes()
        self.write(10)
        self.assertEqual(self.changes(), before)
        old = self.leader
        self.group.result_of(old.member.node.transfer() and old.replica.when_led())
        self.group.advance_until(lambda: self.group.has_leader and self.leader is not old)
        self.write(3)
        self.group.settle()
        self.assertEqual(self.changes(), [count + 1 for count in before])

    def test_same_leader_in_a_new_term_is_counted(self) -> None:
        """The same leader in a new term counts as another change."""
        group = self.cluster()
        (alone,) = group.start(1)
        counted = alone.replica.measurements().leader_changes
        alone.raft.campaign(group.clock.seconds())
        alone.node._wake()
        group.settle()
        self.assertEqual(alone.replica.measurements().leader_changes, counted + 1)

    def test_count_begins_anew_after_a_restart(self) -> None:
        """A machine counts from its own start."""
        machine = self.group.followers[0]
        machine.stop()
        self.group.result_of(machine.launch())
        self.assertEqual(machine.replica.measurements().leader_changes, 1)


class BytesTests(MeasurementsTest):
    """Tests of the bytes between machines."""

    def test_both_ends_count_the_same_bytes(self) -> None:
        self.wait_for_quiet()
        before = self.counted()
        self.write(20)
        self.group.advance(1.0)
        self.wait_for_quiet()
        after = self.counted()
        for pair, (sent, received) in after.items():
            earlier_sent, earlier_received = before[pair]
            self.assertEqual(sent - earlier_sent, received - earlier_received)
            if self.leader.id in pair:
                self.assertGreater(sent - earlier_sent, 200)

    def wait_for_quiet(self) -> None:
        """Waits until nothing is in flight, which is a moment after a heartbeat was answered."""
        traffic = self.leader.replica.traffic
        sent = traffic.sent.count
        self.group.advance_until(lambda: traffic.sent.count > sent)
        self.group.advance(10 * LATENCY)

    def counted(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Returns what each machine has sent to each other one, as both have counted it."""
        none = PeerTraffic()
        return {
            (one.id, other.id): (
                one.replica.traffic.peers.get(other.id, none).sent,
                other.replica.traffic.peers.get(one.id, none).received,
            )
            for one in self.group.running
            for other in self.group.running
            if one is not other
        }

    def test_removed_machines_are_forgotten(self) -> None:
        gone = self.group.followers[0]
        self.group.result_of(self.leader.replica.remove(gone.machine.name))
        self.group.advance(1.0)
        self.assertNotIn(gone.id, self.leader.replica.traffic.peers)
