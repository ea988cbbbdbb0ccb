"""
Tests of L{etcd_twisted.consensus.snapshots.receiving}, in a cluster whose machines compact their logs.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, ensureDeferred

from etcd_twisted.consensus.raft.entries import Configuration, Entry, EntryKind, HardState, Record, SnapshotMetadata
from etcd_twisted.consensus.recovery import come_back, recover
from etcd_twisted.consensus.snapshots.sending import PAUSE_SECONDS
from etcd_twisted.consensus.storage import removed_files
from etcd_twisted.consensus.storage.snapshot_files import IncomingSnapshot, SnapshotWriter
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.errors import EtcdError, RequestDroppedError
from etcd_twisted.keyspace.commands import Set, encode_command
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.testing.simulation.machine import SimulatedMachine
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase
from tests.consensus.machine import IDENTITY
from tests.consensus.raft.group import NONE_TRAILING
from tests.consensus.storage.logs import ready

COUNT = 20


class TransferTestCase(ClusterTestCase):
    def setUp(self) -> None:
        self.offsets: list[int] = []

    def behind(self, **settings: Any) -> tuple[Cluster, ClusterMachine]:
        """Returns a cluster of three, and one of its machines that is down and needs a snapshot."""
        cluster = self.cluster(snapshot_count=COUNT, raft_limits=NONE_TRAILING, **settings)
        cluster.start(3)
        late = cluster.followers[0]
        late.crash()
        cluster.advance(1.0)  # nothing is kept for an unreachable machine
        self.write(cluster, 3 * COUNT)
        cluster.network.on_piece = self.offsets.append
        return cluster, late

    def write(self, cluster: Cluster, count: int) -> None:
        for number in range(count):
            cluster.result_of(cluster.leader.set(f"/k{number}", str(os.urandom(40).hex())))
        cluster.advance(0.05)

    def files(self, machine: ClusterMachine) -> list[str]:
        return sorted(path.name for path in (machine.path / "snapshots").iterdir())

    def finish_snapshot(self, writer: SnapshotWriter, keyspace: KeySpace) -> None:
        for chunk in dump(keyspace.state()):
            writer.write(chunk)
        writer.finish()

    def part(self, machine: ClusterMachine) -> int:
        """Returns how much of a snapshot is there."""
        incoming = machine.member.receiver.incoming
        return 0 if incoming is None else incoming.file.length

    def await_member(self, cluster: Cluster, late: ClusterMachine) -> None:
        """Waits until the machine takes part."""
        cluster.advance_until(lambda: late.replica._member is not None)

    def await_file(self, cluster: Cluster, late: ClusterMachine) -> IncomingSnapshot:
        """Waits until the first part of a file arrives."""
        self.await_member(cluster, late)
        receiver = late.member.receiver
        cluster.advance_until(lambda: receiver.incoming is not None)
        assert receiver.incoming is not None
        return receiver.incoming.file

    def assertCaughtUp(self, cluster: Cluster, late: ClusterMachine) -> None:
        cluster.advance_until(lambda: late.replica.serving)
        cluster.settle()
        self.assertEqual(late.dumped(), cluster.leader.dumped())
        self.assertEqual(late.replica.machines(), cluster.leader.replica.machines())
        self.assertEqual([name for name in self.files(late) if name.endswith(".tmp")], [])


class CatchingUpTests(TransferTestCase):
    def test_machine_gets_the_whole_file(self) -> None:
        cluster, late = self.behind()
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertEqual(self.offsets, list(range(0, self.offsets[-1] + 1, 1_000)))
        late.stop()
        cluster.result_of(late.launch())
        self.assertCaughtUp(cluster, late)

    def test_new_machine_gets_a_snapshot(self) -> None:
        cluster = self.cluster(snapshot_count=COUNT, raft_limits=NONE_TRAILING)
        cluster.start(1)
        self.write(cluster, 3 * COUNT)
        new = cluster.start_one()
        self.assertCaughtUp(cluster, new)
        self.assertGreater(cluster.leader.raft.configuration.voters.count(new.id), 0)

    def test_heartbeats_go_on_during_a_snapshot(self) -> None:
        cluster, late = self.behind()
        cluster.network.weather.piece = 10
        term = cluster.leader.replica.term
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertGreater(len(self.offsets), 100)
        self.assertEqual(cluster.leader.replica.term, term)

    def test_writes_go_on_during_a_snapshot(self) -> None:
        cluster, late = self.behind()
        cluster.network.weather.piece = 100
        late.launch()
        while not late.replica.serving:
            self.write(cluster, 1)
        self.assertCaughtUp(cluster, late)

    def test_watchers_see_the_events_in_a_snapshot(self) -> None:
        cluster, late = self.behind()
        cluster.result_of(cluster.leader.set("/watched", "1"))
        self.write(cluster, COUNT)
        told: list[Event] = []
        late.renew()
        late.replica.watch("/watched", False, True, 1, told.append)
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertEqual([event.node.value for event in told], ["1"])

    def test_watchers_end_when_a_snapshot_lacks_events(self) -> None:
        cluster, late = self.behind(history=5)
        ended: list[int] = []
        late.renew()
        late.replica.watch("/watched", False, True, 1, lambda _event: None, lambda: ended.append(1))
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertEqual(ended, [1])

    def test_outcome_of_proposals_in_a_snapshot_is_unknown(self) -> None:
        """The outcome of changes in a snapshot can't be known."""
        cluster = self.cluster(snapshot_count=COUNT, raft_limits=NONE_TRAILING)
        cluster.start(3)
        leader = cluster.leader
        cluster.network.isolate(leader.name)
        answer = leader.set("/lost", "1")
        cluster.advance_until(lambda: any(each.leads for each in cluster.running if each is not leader))
        cluster.advance(0.3)
        for number in range(3 * COUNT):
            cluster.leader.set(f"/k{number}")
        cluster.advance(0.05)
        cluster.network.heal()
        self.assertCaughtUp(cluster, leader)
        self.assertIn("unknown", self.failureResultOf(answer, EtcdError).value.cause)


class InterruptedTests(TransferTestCase):
    def interrupt_at(self, cluster: Cluster, offset: int, happens: Callable[[], object]) -> None:
        """Runs a callback once before the piece at this offset is sent."""

        def note(at: int) -> None:
            self.offsets.append(at)
            if at == offset and self.offsets.count(offset) == 1:
                cluster.clock.callLater(0, happens)

        cluster.network.on_piece = note

    def test_transfer_continues_where_it_ended(self) -> None:
        cluster, late = self.behind()
        self.interrupt_at(cluster, 3_000, lambda: cluster.network.break_connections(late.name))
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertEqual(self.offsets[:6], [0, 1_000, 2_000, 3_000, 3_000, 4_000])

    def test_machine_that_refuses_a_snapshot_gets_none_for_a_while(self) -> None:
        cluster, late = self.behind()
        times: list[float] = []

        def note(offset: int) -> None:
            if offset == 0:
                times.append(cluster.clock.seconds())
                cluster.clock.callLater(0, cluster.network.break_connections, late.name)

        cluster.network.on_piece = note
        late.launch()
        cluster.advance(5.0)
        self.assertGreater(len(times), 3)
        self.assertLess(len(times), 5 / PAUSE_SECONDS + 2)

    def test_transfer_of_another_file_begins_anew(self) -> None:
        cluster, late = self.behind()
        leader = cluster.leader

        def take_another() -> None:
            cluster.network.break_connections(late.name)
            for number in range(COUNT + 1):
                leader.set(f"/more{number}")

        self.interrupt_at(cluster, 3_000, take_another)
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertEqual(self.offsets[:6], [0, 1_000, 2_000, 3_000, 0, 1_000])

    def test_transfer_goes_on_when_a_newer_snapshot_replaces_the_file(self) -> None:
        """Otherwise a machine never catches up if snapshots are taken faster than it receives one."""
        self.patch(removed_files, "FREED_BYTES", 500)
        cluster, late = self.behind()
        leader = cluster.leader

        def take_another() -> None:
            for number in range(COUNT + 1):
                leader.set(f"/more{number}")

        self.interrupt_at(cluster, 1_000, take_another)
        replaced = self.files(leader)
        late.launch()
        cluster.advance_until(lambda: self.files(leader)[-1:] > replaced)
        self.assertNotIn(4_000, self.offsets)
        self.assertCaughtUp(cluster, late)
        self.assertEqual(self.offsets[:4], [0, 1_000, 2_000, 3_000])
        self.assertEqual(self.offsets.count(0), 1)

    def test_leader_changes_during_a_transfer(self) -> None:
        """The next leader sends its own file, or the log of the machine is enough."""
        cluster, late = self.behind()
        self.interrupt_at(cluster, 3_000, cluster.leader.crash)
        late.launch()
        cluster.advance_until(lambda: 3_000 in self.offsets)
        cluster.advance(0.1)
        cluster.await_leader()
        self.assertCaughtUp(cluster, late)

    def test_partial_file_is_dropped_when_the_log_catches_up(self) -> None:
        """A snapshot that is taken here, at the very same index, is not affected."""
        cluster, late = self.behind()
        cluster.network.weather.piece = 100
        late.launch()
        self.await_file(cluster, late)
        cluster.advance_until(lambda: self.part(late) > 200)
        receiver = late.member.receiver
        incoming = receiver.incoming
        assert incoming is not None
        create = late.storage.snapshots.create(incoming.offer.snapshot)
        self.assertEqual(len(self.files(late)), 2)
        create.abort()
        receiver.passed(incoming.offer.snapshot.index - 1)
        self.assertIs(receiver.incoming, incoming)
        cluster.advance_until(lambda: not receiver._busy)
        receiver.passed(incoming.offer.snapshot.index)
        late.disk_thread.run_one()
        self.assertEqual(self.files(late), [])
        self.assertCaughtUp(cluster, late)

    def test_receiver_is_stopped_in_the_middle(self) -> None:
        cluster, late = self.behind()
        self.interrupt_at(cluster, 3_000, lambda: None)
        late.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        cluster.advance_until(lambda: 3_000 in self.offsets)
        leader = cluster.leader
        late.stop()
        self.assertEqual(self.files(late), [])
        cluster.advance(2 * PAUSE_SECONDS)
        self.assertEqual(leader.member._sender._sending, {})
        self.assertEqual(late.clock.getDelayedCalls(), [])
        late.launch()
        self.assertCaughtUp(cluster, late)

    def test_receiver_is_stopped_while_it_installs_the_snapshot(self) -> None:
        cluster, late = self.behind()
        late.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.await_member(cluster, late)
        cluster.advance_until(lambda: late.member.receiver.installing)
        late.stop()
        self.assertEqual(late.replica.index, 0)
        self.assertEqual(late.clock.getDelayedCalls(), [])
        late.launch()
        self.assertCaughtUp(cluster, late)

    def test_older_snapshot_is_freed_although_the_log_has_caught_up(self) -> None:
        """The snapshot that has arrived replaces the file of the older one, if not the key space."""
        cluster, late = self.behind()
        late.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.await_member(cluster, late)
        receiver, snapshots = late.member.receiver, late.storage.snapshots
        self.finish_snapshot(snapshots.create(SnapshotMetadata(1, 1, Configuration(()))), KeySpace())
        cluster.advance_until(lambda: receiver.installing)
        self.patch(receiver, "_raft", mock.Mock(commit_index=1_000))
        cluster.advance_until(lambda: not receiver.installing)
        self.assertEqual(len(self.files(late)), 1)
        self.assertNotIn("-00000000000000000001.", self.files(late)[0])
        self.assertEqual(snapshots.removed._descriptors, [])
        self.assertEqual(late.replica.index, 0)
        late.crash()

    def test_sender_is_stopped_in_the_middle(self) -> None:
        cluster, late = self.behind()
        leader = cluster.leader
        self.interrupt_at(cluster, 3_000, lambda: SimulatedMachine.stop(leader))
        late.launch()
        cluster.advance_until(lambda: leader.process is None)
        self.assertEqual(leader.clock.getDelayedCalls(), [])
        self.assertEqual(open_files(leader.path), [])
        self.assertCaughtUp(cluster, late)

    def test_leader_is_deposed_during_a_transfer(self) -> None:
        cluster, late = self.behind()
        leader = cluster.leader
        self.interrupt_at(cluster, 2_000, lambda: ensureDeferred(leader.participation.hand_over()))
        late.launch()
        cluster.advance_until(lambda: 2_000 in self.offsets)
        cluster.advance(0.05)
        self.assertEqual(leader.member._sender._sending, {})
        self.assertCaughtUp(cluster, late)

    def test_damaged_file_is_refused_and_removed(self) -> None:
        cluster, late = self.behind()
        damaged: list[int] = []

        def damage(data: bytes) -> bytes:
            if len(damaged) < 1:
                damaged.append(1)
                return bytes([data[0] ^ 1]) + data[1:]
            return data

        cluster.network.on_the_way = damage
        late.launch()
        self.assertCaughtUp(cluster, late)
        self.assertEqual(self.offsets.count(0), 2)


async def nothing() -> None:
    """Does nothing between slices."""


def open_files(below: Path | None = None) -> list[str]:
    """Returns the files that this process has open, below a directory."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return [link for link in links if below is None or link.startswith(str(below.absolute()))]


class CrashTests(TransferTestCase):
    def test_receiver_may_crash_at_any_point(self) -> None:
        """Wherever the machine crashes, it starts and catches up."""
        for jobs in range(8):
            cluster, late = self.behind()
            cluster.network.weather.piece = 1_000_000
            late.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
            self.await_file(cluster, late)
            self.crash_after(cluster, late, jobs)

    def test_receiver_with_a_void_log_may_crash_at_any_point(self) -> None:
        """The machine has led, and has much in its log that no other machine has."""
        for jobs in range(10):
            cluster = self.cluster(snapshot_count=COUNT, raft_limits=NONE_TRAILING)
            cluster.start(3)
            late = cluster.leader
            cluster.network.isolate(late.name)
            for number in range(5 * COUNT):
                late.set(f"/void{number}").addErrback(lambda failure: failure.trap(EtcdError, RequestDroppedError))
            cluster.advance(1.0)
            self.write(cluster, 3 * COUNT)
            self.assertGreater(late.raft.last_index, cluster.leader.raft.last_index)
            cluster.network.weather.piece = 1_000_000
            cluster.network.heal()
            self.await_file(cluster, late)
            self.crash_after(cluster, late, jobs)

    def crash_after(self, cluster: Cluster, late: ClusterMachine, jobs: int) -> None:
        """Crashes a machine after that many more changes of its disk, and restarts it."""
        late.disk_thread.held = True
        for _ in range(jobs):
            cluster.advance(0.005)
            if late.disk_thread.jobs:
                late.disk_thread.run_one()
        late.crash()
        late.launch()
        self.assertCaughtUp(cluster, late)
        for machine in cluster.running:
            machine.crash()

    def test_crash_between_the_snapshot_and_the_new_log(self) -> None:
        """
        The log on disk is longer than the snapshot, and has other entries up to there, from a leader that was never
        followed. They are void.
        """
        path = Path(self.mktemp())
        storage = Storage.open(path, "--data-dir")
        self.assertEqual(ready(storage, IDENTITY), [])
        data = encode_command(Set("/void", 0))
        storage.log.append(Record(HardState(2, ""), tuple(self.entries(1, 21, 2, data))))
        keyspace = KeySpace()
        keyspace.apply(Set("/kept", 0))
        metadata = SnapshotMetadata(10, 3, Configuration(("a" * 16,)), IDENTITY.cluster_id)
        self.finish_snapshot(storage.snapshots.create(metadata), keyspace)
        found = self.recovered(path, storage)
        self.assertEqual((found.log.first_index, found.log.last_index, found.snapshot), (11, 10, metadata))
        found = self.recovered(path)  # and once more, from what the first start has left
        self.assertEqual((found.log.first_index, found.log.last_index, found.hard_state.term), (11, 10, 3))

    def test_log_that_agrees_with_the_snapshot_stays(self) -> None:
        """The log stays except for what was replaced in it, before the snapshot's end or after it."""
        for last in (10, 14):
            path = Path(self.mktemp())
            storage = Storage.open(path, "--data-dir")
            self.assertEqual(ready(storage, IDENTITY), [])
            data = encode_command(Set("/a", 0))
            storage.log.append(Record(HardState(3, ""), tuple(self.entries(1, 21, 2, data))))
            storage.log.append(Record(None, tuple(self.entries(5, last + 1, 3, data))))
            metadata = SnapshotMetadata(10, 3, Configuration(("a" * 16,)), IDENTITY.cluster_id)
            self.finish_snapshot(storage.snapshots.create(metadata), KeySpace())
            found = self.recovered(path, storage)
            self.assertEqual((found.log.first_index, found.log.last_index, found.log.last_term), (11, last, 3))

    def entries(self, start: int, stop: int, term: int, data: bytes) -> list[Entry]:
        return [Entry(index, term, EntryKind.COMMAND, data) for index in range(start, stop)]

    def recovered(self, path: Path, storage: Storage | None = None) -> Any:
        if storage is not None:
            storage.directory.save_identity(IDENTITY)
            storage.close()
        storage = Storage.open(path, "--data-dir")
        self.addCleanup(storage.close)
        found = self.successResultOf(ensureDeferred(recover(storage, KeySpace(), None, nothing)))
        come_back(storage, found)
        self.assertEqual([name for name in open_files(path) if "(deleted)" in name], [])
        storage.close()
        return found


class DiskTests(TransferTestCase):
    def test_disk_that_fails_ends_the_machine(self) -> None:
        """The disk fails when the file is begun, when a piece is written, or when it is finished."""
        for place in ("receive", "write", "finish"):
            cluster, late = self.behind()

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            late.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
            if place == "receive":
                self.await_member(cluster, late)
                self.patch(late.storage.snapshots, "receive", fail)
            else:
                self.patch(self.await_file(cluster, late), place, fail)
            cluster.advance(1.0)
            self.assertIn("No space left on device", late.fatal[0])
            self.assertEqual(len(late.fatal), 1)
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
            late.fatal.clear()
            late.crash()

    def test_key_space_that_can_not_load_a_snapshot_ends_the_machine(self) -> None:
        """Half of the snapshot may be applied."""
        cluster, late = self.behind()

        def broken(*_: object) -> None:
            raise RuntimeError("a mistake")

        late.launch().addErrback(lambda failure: failure.trap(EtcdError, CancelledError))
        self.await_member(cluster, late)
        self.patch(late.replica.keyspace, "restore", broken)
        cluster.advance(1.0)
        self.assertIn("a mistake", late.fatal[0])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        late.fatal.clear()
