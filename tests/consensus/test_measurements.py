"""
What a machine measures of itself, against what it was made to do.
"""

from twisted.internet.defer import Deferred

from etcd_twisted.consensus.raft import log as raft_log
from etcd_twisted.consensus.storage.disk_thread import SLOW_APPEND_SECONDS
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.interfaces.statistics import PeerTraffic
from tests.consensus.cluster import LATENCY, Cluster, ClusterMachine, ClusterTestCase
from tests.logs.lines import Log


class MeasurementsTest(ClusterTestCase):
    """Three machines."""

    def setUp(self) -> None:
        self.group = self.three()

    def three(self, snapshot_count: int | None = None) -> Cluster:
        group = self.cluster(snapshot_count=snapshot_count)
        group.start(3)
        return group

    @property
    def leader(self) -> ClusterMachine:
        return self.group.leader

    def write(self, count: int) -> None:
        """Write, one key after the other."""
        for number in range(count):
            self.group.finish(self.leader.set(f"/k{number}", "v"))


class LogTests(MeasurementsTest):
    """The log, on the disk and in the group."""

    def test_indexes(self) -> None:
        before = self.leader.replica.measurements().commit_index
        self.write(10)
        self.group.settle()
        for machine in self.group.up:
            self.assertEqual(machine.replica.measurements().commit_index, before + 10)
            self.assertEqual(machine.replica.raft_index, before + 10)

    def test_syncs(self) -> None:
        """One for each batch, on each machine; what comes while the disk is busy is one batch."""
        before = [sum(machine.replica.measurements().syncs.counts) for machine in self.group.up]
        self.write(5)
        many = [self.leader.set(f"/m{number}") for number in range(100)]
        for each in many:
            self.group.finish(each)
        self.group.settle()
        for machine, earlier in zip(self.group.up, before, strict=True):
            syncs = machine.replica.measurements().syncs
            self.assertEqual(sum(syncs.counts), earlier + 6)
            self.assertGreater(syncs.total, 0)

    def test_commits(self) -> None:
        """From the leader's disk to the answer of the first follower; followers measure nothing."""
        before = self.leader.replica.measurements().commits
        earlier, total = sum(before.counts), before.total
        self.write(5)
        commits = self.leader.replica.measurements().commits
        self.assertEqual(sum(commits.counts), earlier + 5)
        self.assertAlmostEqual(commits.total - total, 5 * 2 * LATENCY, places=4)
        for follower in self.group.followers:
            self.assertEqual(sum(follower.replica.measurements().commits.counts), 0)

    def test_commits_of_one_who_is_deposed(self) -> None:
        """What it could not commit is never measured."""
        old = self.leader
        counted = sum(old.replica.measurements().commits.counts)
        self.group.network.isolate(old.url)
        lost = old.set("/lost").addErrback(lambda failure: failure.trap(EtcdError, RequestDroppedError))
        self.group.run_until(lambda: any(each.leads for each in self.group.up if each is not old))
        self.group.network.heal()
        self.group.finish(lost)
        self.group.settle()
        self.assertEqual(sum(old.replica.measurements().commits.counts), counted)
        self.assertEqual(len(old.node._uncommitted), 0)

    def test_log_size(self) -> None:
        """That of the files, without what is allocated ahead; across segments and a restart."""
        machine = self.leader
        log = machine.storage.log
        log._segment_bytes = 10_000
        for number in range(40):
            self.group.finish(machine.set(f"/k{number}", "x" * 1_000))
        measured = machine.replica.measurements().log_bytes
        self.assertGreater(len(log._segments), 3)
        machine.stop()
        files = list(machine.storage.directory.log_directory.iterdir())
        self.assertEqual(measured, sum(path.stat().st_size for path in files))
        self.group.finish(machine.restart())
        self.group.settle()
        again = machine.replica.measurements().log_bytes
        machine.stop()
        self.assertEqual(again, sum(path.stat().st_size for path in files))
        self.assertGreaterEqual(again, measured)

    def test_slow_disk(self) -> None:
        """It is complained about when it is over."""
        log = Log(self)
        self.leader.disk.held = True
        done = self.leader.set("/k")
        self.group.run(SLOW_APPEND_SECONDS + 0.5)
        self.leader.disk.held = False
        self.group.finish(done)
        self.assertEqual(log.warnings, ["The disk is slow: it took 1.5 s to make a part of the log durable"])


class SnapshotTests(MeasurementsTest):
    """The snapshot on disk, and on its way."""

    def setUp(self) -> None:
        self.patch(raft_log, "TRAILING_ENTRIES", 0)
        self.group = self.three(snapshot_count=20)

    def size_on_disk(self, machine: ClusterMachine) -> int:
        (path,) = machine.storage.directory.snapshot_directory.iterdir()
        return path.stat().st_size

    def test_size(self) -> None:
        """None at first, then that of the newest, after a restart too."""
        self.assertEqual(self.leader.replica.measurements().snapshot_bytes, 0)
        self.write(50)
        self.group.settle()
        machine = self.leader
        size = machine.replica.measurements().snapshot_bytes
        self.assertEqual(size, self.size_on_disk(machine))
        machine.stop()
        self.group.finish(machine.restart())
        self.assertEqual(machine.replica.measurements().snapshot_bytes, size)

    def test_sent(self) -> None:
        """The leader has sent all of it, and the follower has received as much, and has it."""
        away = self.group.followers[0]
        away.crash()
        self.group.run(1.0)  # nothing is kept for a machine that is not heard
        for number in range(60):
            self.group.finish(self.leader.set(f"/k{number}", "x" * 4_000))
        self.group.settle()
        pieces: list[int] = []

        def note(data: bytes) -> bytes:
            pieces.append(len(data))
            return data

        self.group.network.on_the_way = note
        sent = self.leader.replica.traffic.peers[away.id].sent
        self.group.finish(away.restart())
        self.group.settle()
        self.assertEqual(away.replica.measurements().snapshot_bytes, self.size_on_disk(away))
        self.assertGreater(sum(pieces), 100_000)
        self.assertGreaterEqual(self.leader.replica.traffic.peers[away.id].sent - sent, sum(pieces))
        self.assertGreaterEqual(away.replica.traffic.peers[self.leader.id].received, sum(pieces))


class ProposalTests(MeasurementsTest):
    """Changes on their way."""

    def test_pending_and_failed(self) -> None:
        """Those that wait for a quorum, and those that will never be told."""
        leader = self.leader
        for follower in self.group.followers:
            self.group.network.isolate(follower.url)
        failed: list[object] = []
        waiting: list[Deferred[object]] = [leader.set(f"/k{number}").addErrback(failed.append) for number in range(3)]
        self.group.run(0.01)
        self.assertEqual(leader.replica.measurements().proposals_pending, 3)
        self.group.run_until(lambda: len(failed) == len(waiting))
        measured = leader.replica.measurements()
        self.assertEqual((measured.proposals_pending, measured.proposals_failed), (0, 3))
        self.group.network.heal()
        self.group.await_leader()

    def test_a_refused_command(self) -> None:
        """It was made, though it changed nothing."""
        with self.assertRaises(EtcdError):
            self.group.finish(self.leader.set("/"))
        self.assertEqual(self.leader.replica.measurements().proposals_failed, 0)

    def test_a_machine_that_takes_no_part(self) -> None:
        machine = self.group.add()
        measured = machine.replica.measurements()
        self.assertEqual((measured.commit_index, measured.log_bytes, sum(measured.syncs.counts)), (0, 0, 0))


class LeaderTests(MeasurementsTest):
    """Who leads."""

    def changes(self) -> list[int]:
        return [machine.replica.measurements().leader_changes for machine in self.group.up]

    def test_changes(self) -> None:
        """Each is counted once by each machine, however much is written meanwhile."""
        before = self.changes()
        self.write(10)
        self.assertEqual(self.changes(), before)
        old = self.leader
        self.group.finish(old.member._node.transfer() and old.replica.when_led())
        self.group.run_until(lambda: self.group.has_leader and self.leader is not old)
        self.write(3)
        self.group.settle()
        self.assertEqual(self.changes(), [count + 1 for count in before])

    def test_the_same_leader_in_a_new_term(self) -> None:
        """Is one more."""
        group = self.cluster()
        (alone,) = group.start(1)
        counted = alone.replica.measurements().leader_changes
        alone.raft.campaign(group.clock.seconds())
        alone.node._wake()
        group.settle()
        self.assertEqual(alone.replica.measurements().leader_changes, counted + 1)

    def test_after_a_restart(self) -> None:
        """A machine counts from its own start."""
        machine = self.group.followers[0]
        machine.stop()
        self.group.finish(machine.restart())
        self.assertEqual(machine.replica.measurements().leader_changes, 1)


class BytesTests(MeasurementsTest):
    """What goes between machines."""

    def test_both_ends_count_the_same(self) -> None:
        self.wait_for_quiet()
        before = self.counted()
        self.write(20)
        self.group.run(1.0)
        self.wait_for_quiet()
        after = self.counted()
        for pair, (sent, received) in after.items():
            earlier_sent, earlier_received = before[pair]
            self.assertEqual(sent - earlier_sent, received - earlier_received)
            if self.leader.id in pair:
                self.assertGreater(sent - earlier_sent, 200)

    def wait_for_quiet(self) -> None:
        """Until nothing is on its way: a moment after a heartbeat was answered."""
        traffic = self.leader.replica.traffic
        sent = traffic.sent.count
        self.group.run_until(lambda: traffic.sent.count > sent)
        self.group.run(10 * LATENCY)

    def counted(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What each machine has sent to each other one, as both have counted it."""
        none = PeerTraffic()
        return {
            (one.id, other.id): (
                one.replica.traffic.peers.get(other.id, none).sent,
                other.replica.traffic.peers.get(one.id, none).received,
            )
            for one in self.group.up
            for other in self.group.up
            if one is not other
        }

    def test_those_that_have_gone_are_forgotten(self) -> None:
        gone = self.group.followers[0]
        self.group.finish(self.leader.replica.remove(gone.machine.name))
        self.group.run(1.0)
        self.assertNotIn(gone.id, self.leader.replica.traffic.peers)
