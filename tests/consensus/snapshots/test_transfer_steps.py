"""
Tests of the single steps of L{etcd_twisted.consensus.snapshots}.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.entries import Configuration, SnapshotMetadata
from etcd_twisted.consensus.snapshots.sending import SnapshotFile
from etcd_twisted.consensus.storage import removed_files
from etcd_twisted.consensus.storage.disk_thread import AsyncStorage
from etcd_twisted.consensus.storage.removed_files import RemovedFiles
from etcd_twisted.consensus.storage.snapshot_files import SnapshotStore
from etcd_twisted.errors import EtcdError
from etcd_twisted.testing.simulation.disk_threads import ManualDiskThread
from tests.consensus.snapshots.test_transfers import TransferTestCase


class OfferTests(TransferTestCase):
    """Tests of the receiver's answers, one step at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.group, self.late = self.behind()
        self.leader = self.group.leader
        reader = self.leader.storage.snapshots.latest()
        assert reader is not None
        reader.close()
        self.data = reader.path.read_bytes()
        self.disk = AsyncStorage(self.leader.clock, self.leader.storage, self.leader.disk)  # type: ignore[arg-type]
        self.file = SnapshotFile(reader.path, reader.metadata, self.leader.replica.term, self.disk)
        self.file.close()
        self.group.network.cut.add((self.leader.name, self.late.name))  # the test is the leader
        self.late.launch().addErrback(lambda failure: failure.trap(EtcdError))
        self.await_member(self.group, self.late)
        self.peer = self.late.peer

    def offer(self, sender: str | None = None, head: bytes | None = None) -> "Deferred[int]":
        head = self.file.head if head is None else head
        return self.peer.snapshot_offered(sender or self.leader.id, self.file.metadata, head, self.file.size)

    def send(self, start: int, stop: int, sender: str | None = None) -> "Deferred[None]":
        return self.peer.snapshot_piece(sender or self.leader.id, start, self.data[start:stop])

    def do(self, deferred: "Deferred[Any]") -> Any:
        return self.group.result_of(deferred)

    def test_snapshot_is_received_in_two_pieces(self) -> None:
        self.assertEqual(self.do(self.offer()), 0)
        self.do(self.send(0, 100))
        self.assertEqual(self.do(self.offer()), 100)
        self.do(self.send(100, len(self.data)))
        self.assertEqual(self.late.get("/k0"), self.leader.get("/k0"))
        self.assertEqual(self.do(self.offer()), len(self.data))  # it needs no more

    def test_second_offer_at_once_is_refused(self) -> None:
        first, second = self.offer(), self.offer(head=b"other")
        self.failureResultOf(second, ValueError)
        self.assertEqual(self.do(first), 0)
        self.assertEqual(len(self.files(self.late)), 1)

    def test_second_piece_at_once_is_refused(self) -> None:
        self.do(self.offer())
        first, second = self.send(0, 100), self.send(0, 100)
        self.failureResultOf(second, ValueError)
        self.do(first)
        self.assertEqual(self.part(self.late), 100)

    def test_piece_out_of_place_is_refused(self) -> None:
        self.failureResultOf(self.send(0, 100), ValueError)  # nothing was offered
        self.do(self.offer())
        self.failureResultOf(self.send(1, 100), ValueError)
        self.do(self.send(0, 100))
        self.failureResultOf(self.send(0, 100), ValueError)

    def test_piece_of_another_sender(self) -> None:
        """Two leaders may send at once, one of which no longer leads."""
        other = next(machine for machine in self.group.followers if machine is not self.late)
        self.do(self.offer())
        self.failureResultOf(self.send(0, 100, other.id), ValueError)
        self.do(self.send(0, 100))
        self.assertEqual(self.do(self.offer(other.id)), 100)  # it has the same file
        self.failureResultOf(self.send(100, 200), ValueError)
        self.do(self.send(100, 200, other.id))

    def test_bad_offer_is_refused(self) -> None:
        for metadata in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\xa1\xff"):
            refused = self.peer.snapshot_offered(self.leader.id, metadata, b"", 1)
            self.failureResultOf(refused, ValueError)

    def test_offer_of_a_stranger_is_refused(self) -> None:
        self.failureResultOf(self.offer("f" * 16), ValueError)
        self.failureResultOf(self.send(0, 100, "f" * 16), ValueError)

    def test_empty_piece_is_refused(self) -> None:
        refused = self.peer.snapshot_offered(self.leader.id, self.file.metadata, b"", 0)
        self.assertEqual(self.do(refused), 0)
        self.assertRaises(ValueError, self.do, self.send(0, 0))
        self.assertEqual(self.files(self.late), [])

    def test_piece_beyond_the_end_is_refused(self) -> None:
        self.do(self.offer())
        self.data += b"more"
        self.assertRaises(ValueError, self.do, self.send(0, len(self.data)))
        self.assertEqual(self.files(self.late), [])
        self.assertEqual(self.late.replica.index, 0)

    def test_snapshot_of_something_else_is_refused(self) -> None:
        """The file is whole, but not what was offered."""
        store = SnapshotStore(Path(self.mktemp()))
        store._directory.mkdir()
        writer = store.create(SnapshotMetadata(5, 1, Configuration(())))
        writer.finish()
        self.data = next(store._directory.iterdir()).read_bytes()
        self.assertEqual(self.do(self.peer.snapshot_offered(self.leader.id, self.file.metadata, b"", 10)), 0)
        self.assertRaises(ValueError, self.do, self.send(0, len(self.data)))
        self.assertEqual(self.files(self.late), [])

    def test_snapshot_of_no_key_space_is_refused(self) -> None:
        store = SnapshotStore(Path(self.mktemp()))
        store._directory.mkdir()
        reader = self.leader.storage.snapshots.latest()
        assert reader is not None
        with closing(reader):
            writer = store.create(reader.metadata)
            writer.write(b"\x93\x01\x02\x03")
            writer.finish()
        self.data = next(store._directory.iterdir()).read_bytes()
        self.do(self.peer.snapshot_offered(self.leader.id, self.file.metadata, b"", len(self.data)))
        self.assertRaises(ValueError, self.do, self.send(0, len(self.data)))
        self.assertEqual(self.files(self.late), [])

    def test_offer_of_an_old_leader_is_refused(self) -> None:
        path = next((self.leader.path / "snapshots").iterdir())
        stale = SnapshotFile(path, SnapshotMetadata(90, 1, Configuration(())), 1, self.disk)
        stale.close()
        offered = self.peer.snapshot_offered(self.leader.id, stale.metadata, stale.head, stale.size)
        self.assertEqual(self.do(offered), stale.size)
        self.assertEqual(self.files(self.late), [])


class FileTests(SynchronousTestCase):
    """Tests of L{SnapshotFile}."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(bytes(range(200)))
        self.disk_thread = ManualDiskThread()
        disk = AsyncStorage(Clock(), None, self.disk_thread)  # type: ignore[arg-type]  # all of it that is used
        self.file = SnapshotFile(self.path, SnapshotMetadata(1, 1, Configuration(())), 1, disk)

    def test_file_stays_readable_when_another_replaces_it(self) -> None:
        """Nor does the disk thread shorten it, as it does with files that nobody reads."""
        self.patch(removed_files, "FREED_BYTES", 50)
        removed = RemovedFiles()
        removed.remove(self.path)
        while removed.free_some():
            pass
        data = self.file.read(100, 50)
        self.disk_thread.run_one()
        self.assertEqual(self.successResultOf(data), bytes(range(100, 150)))
        self.assertEqual((self.file.size, self.file.head), (200, bytes(range(64))))
        self.file.close()
        self.file.close()

    def test_file_is_not_closed_while_it_is_read(self) -> None:
        """Another file could have its number by then."""
        data = self.file.read(0, 10)
        data.cancel()
        self.file.close()
        other = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, other)
        self.assertGreaterEqual(self.file._descriptor, 0)
        self.assertNotEqual(other, self.file._descriptor)
        self.failureResultOf(data, CancelledError)
        self.disk_thread.run_one()
        self.assertEqual(self.file._descriptor, -1)

    def test_disk_that_fails_while_a_file_is_read(self) -> None:
        data = self.file.read(0, 10)
        self.disk_thread.failing = OSError(5, "Input/output error")
        self.disk_thread.run_one()
        self.failureResultOf(data, OSError)
        self.file.close()
        self.assertEqual(self.file._descriptor, -1)
