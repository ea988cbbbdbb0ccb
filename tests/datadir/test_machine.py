"""
The data directory of a machine: made, read again, backed up and restored; and what a process leaves that is killed
meanwhile.
"""

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import AuthState, Role, User
from etcd_twisted.consensus.raft.entries import Entry, EntryKind, HardState, Record
from etcd_twisted.consensus.recovery import recover
from etcd_twisted.consensus.storage.data_directory import DataDirectory
from etcd_twisted.consensus.storage.storage import Storage
from etcd_twisted.datadir import machine
from etcd_twisted.datadir.backup_file import read_backup, write_backup
from etcd_twisted.datadir.content import Content, digest, with_auth
from etcd_twisted.datadir.etcd.directory import read_etcd_directory
from etcd_twisted.datadir.from_etcd import convert, machine_like
from etcd_twisted.datadir.machine import make_machine_directory, read_machine_directory
from etcd_twisted.datadir.operations import NewMachine, back_up_directory, check, restore
from etcd_twisted.datadir.trees import find, walk
from etcd_twisted.errors import ErrorCode, EtcdError, StorageError
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.keyspace import KeySpace, Set
from etcd_twisted.keyspace.commands import Command, CreateInOrder, encode_command
from etcd_twisted.keyspace.snapshot import SnapshotLoader, dump
from tests import examples
from tests.datadir.etcd_files import EtcdFiles, node, put, request, store

MACHINE = Machine("m0", "http://127.0.0.1:4001", "http://127.0.0.1:7001")
DISK_CALLS = ("fsync", "fdatasync", "pwrite", "rename", "unlink", "mkdir", "open")
"""The functions of C{os} before which a process is killed."""


def content(**keys: str) -> Content:
    """Returns a key space with some keys."""
    keyspace = KeySpace()
    for name, value in keys.items():
        keyspace.apply(Set(f"/{name}", 1, value, False, 2_000_000_000_000_000))
    return Content(keyspace.state(), 7, 3)


class MachineTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "machine"
        self.backup = self.directory / "backup"

    def append(self, *commands: Command) -> None:
        """Appends entries to the log of the machine, as it does while it runs."""
        found = read_machine_directory(self.path, "DIR")
        storage = Storage.within(DataDirectory(self.path))
        storage.belong_to(found.identity)
        list(storage.log.recover())
        storage.log.resume()
        index = found.content.log_index + 1
        entries = [Entry(index + n, 4, EntryKind.COMMAND, encode_command(each)) for n, each in enumerate(commands)]
        storage.log.append(Record(HardState(4, ""), tuple(entries)))
        storage.close()

    def left(self) -> set[str]:
        """Returns the names in the directory."""
        return {each.name for each in self.directory.iterdir()}


class NewDirectoryTests(MachineTestCase):
    def test_round_trip(self) -> None:
        """What was written is read. The machine is registered, and the index stays."""
        identity = make_machine_directory(self.path, "DIR", content(a="1", b="2"), MACHINE)
        found = read_machine_directory(self.path, "DIR")
        self.assertEqual((found.identity, found.content.state.index, found.content.log_index), (identity, 2, 7))
        root = found.content.state.root
        self.assertEqual([key for key, _ in walk(root)], ["/_etcd", "/_etcd/machines", MACHINE.key, "/a", "/b"])
        self.assertEqual(find(root, MACHINE.key).value, MACHINE.value)  # type: ignore[union-attr]
        self.assertEqual(found.hard_state, HardState(3, ""))
        self.assertEqual((found.entries, found.segments, found.torn), (0, 1, None))
        self.assertEqual(self.left(), {"machine"})

    def test_log(self) -> None:
        """Entries of the log count."""
        make_machine_directory(self.path, "DIR", content(a="1"), MACHINE)
        self.append(Set("/b", 1, "2"), CreateInOrder("/q", 1, "x"), Set("/a/b", 1, "fails"))
        found = read_machine_directory(self.path, "DIR")
        self.assertEqual((found.content.state.index, found.content.log_index, found.entries), (3, 10, 3))
        self.assertIsNotNone(find(found.content.state.root, "/q/3"))

    def test_nothing_is_replaced(self) -> None:
        """Only an empty directory may be there."""
        self.path.mkdir()
        make_machine_directory(self.path, "DIR", content(), MACHINE)
        for made in (self.path, self.directory / "file"):
            if not made.exists():
                made.write_text("x")
            error = self.assertRaises(StorageError, make_machine_directory, made, "DIR", content(), MACHINE)
            self.assertIn(f"DIR {made.absolute()} exists already", str(error))

    def test_reading_changes_nothing(self) -> None:
        """Not even the lock, which is held while it reads: a machine that runs is refused."""
        make_machine_directory(self.path, "DIR", content(a="1"), MACHINE)
        before = {each: each.stat() for each in self.path.rglob("*")}
        read_machine_directory(self.path, "DIR")
        self.assertEqual({each: each.stat() for each in self.path.rglob("*")}, before)
        locked = DataDirectory(self.path)
        error = self.assertRaises(StorageError, read_machine_directory, self.path, "DIR")
        self.assertIn(f"in use by process {os.getpid()}", str(error))
        locked.close()

    def test_from_etcd(self) -> None:
        """Keys, directories, TTLs and indexes are the same, users too, and what is etcd's own is left out."""
        files = EtcdFiles(self.directory / "etcd")
        files.apply(put("/a/b", "1", expiration=1_796_024_474_110_373_681), put("/_hidden", "2"))
        files.apply(put("/_etcd/machines/old", "x"), put("/_etcd/registry/token", "y"))
        files.apply(request("PUT", "/2/users/u", '{"user":"u","password":"$2a$10$x","roles":["r"]}'))
        etcd = read_etcd_directory(files.write())
        converted = convert(etcd)
        self.assertEqual(machine_like(etcd), Machine("m0", "http://127.0.0.1:2379", "http://127.0.0.1:2380"))
        make_machine_directory(self.path, "DIR", converted.content, MACHINE)
        found = read_machine_directory(self.path, "DIR").content
        nodes = {key: (each.created, each.modified, each.expires) for key, each in walk(found.state.root)}
        self.assertEqual(nodes["/a/b"], (4, 4, 1_796_024_474_110_373))
        self.assertEqual((nodes["/a"], nodes["/_hidden"]), ((4, 4, None), (5, 5, None)))
        self.assertEqual(nodes["/_etcd/registry/token"], (7, 7, None))
        self.assertNotIn("/_etcd/machines/old", nodes)
        self.assertEqual(converted.left_out, ("/_etcd/machines", "/_etcd/machines/old"))
        self.assertEqual((found.state.index, found.state.pads_in_order_keys), (8, True))
        self.assertEqual(found.auth.users, {"u": User("u", "$2a$10$x", ("r",))})
        self.assertEqual(found.log_index, etcd.index)

    def test_history_of_etcd(self) -> None:
        """A client that waits for an old index is told that it missed something."""
        files = EtcdFiles(self.directory / "etcd")
        files.save_snapshot(store(90, node("/1/a", 90, value="1")))
        make_machine_directory(self.path, "DIR", convert(read_etcd_directory(files.write())).content, MACHINE)
        loader, keyspace = SnapshotLoader(), KeySpace()
        for chunk in dump(read_machine_directory(self.path, "DIR").content.state):
            loader.feed(chunk)
        keyspace.restore(loader.finish(), loader.schedule)
        error = self.assertRaises(EtcdError, keyspace.watch, "/a", False, False, 90, lambda _: None)
        self.assertEqual((error.code, error.index), (ErrorCode.HISTORY_CLEARED, 90))
        keyspace.watch("/a", False, False, 91, lambda _: None)


class BackupTests(MachineTestCase):
    def setUp(self) -> None:
        super().setUp()
        auth = AuthState(True, {"root": User("root", "hash", ("root",))}, {"r": Role("r", ("/*",), ())})
        before = content(a="1", b="2")
        make_machine_directory(self.path, "DIR", attrs.evolve(before, state=with_auth(before.state, auth)), MACHINE)
        self.append(Set("/c", 1, "3"))

    def test_round_trip(self) -> None:
        """Keys, TTLs, indexes, users and the history are restored, for a new cluster."""
        back_up_directory(self.path, self.backup)
        before = read_machine_directory(self.path, "DIR")
        self.assertEqual(digest(read_backup(self.backup).state), digest(before.content.state))
        restored = self.directory / "restored"
        restore(self.backup, restored, NewMachine())
        after = read_machine_directory(restored, "DIR")
        self.assertEqual(after.content.state.index, before.content.state.index)
        self.assertEqual(after.content.auth, before.content.auth)
        self.assertEqual(after.content.state.history, before.content.state.history)
        self.assertNotEqual(after.identity.cluster_id, before.identity.cluster_id)
        self.assertNotEqual(after.identity.machine_id, before.identity.machine_id)
        self.assertEqual(after.content.time, before.content.time)
        self.assertEqual(self.left(), {"machine", "backup", "restored"})

    def test_running(self) -> None:
        """A machine that runs is read only if that is asked for, and may write meanwhile."""
        found = read_machine_directory(self.path, "DIR")
        storage = Storage.within(DataDirectory(self.path))
        self.addCleanup(storage.close)
        storage.belong_to(found.identity)
        list(storage.log.recover())
        storage.log.resume()
        self.assertRaises(StorageError, back_up_directory, self.path, self.backup)
        index = found.content.log_index + 1
        command = encode_command(Set("/d", 1, "4"))
        storage.log.append(Record(None, (Entry(index, 4, EntryKind.COMMAND, command),)))
        before = {each: each.stat() for each in self.path.rglob("*")}
        summary = back_up_directory(self.path, self.backup, running=True)
        self.assertEqual({each: each.stat() for each in self.path.rglob("*")}, before)
        self.assertEqual((summary.fields["index"], summary.fields["logIndex"]), (4, index))

    def test_file_goes(self) -> None:
        """While a running machine is read, a file may go that the machine does not need any more."""
        states = iter([StorageError("gone"), StorageError("torn"), None])

        def failing(*arguments: object) -> object:
            if (error := next(states)) is not None:
                raise error
            return recover(*arguments)  # type: ignore[arg-type]

        self.patch(machine, "recover", failing)
        self.assertEqual(back_up_directory(self.path, self.backup, running=True).fields["index"], 3)
        self.assertEqual(list(states), [])

    def test_another_machine(self) -> None:
        """The new machine may have another name and other URLs; the old one is registered no more."""
        new = NewMachine("other", "https://127.0.0.1:1", "https://127.0.0.1:2/")
        restored = self.directory / "restored"
        restore(self.path, restored, new)
        found = read_machine_directory(restored, "DIR")
        machines = find(found.content.state.root, "/_etcd/machines")
        self.assertEqual(list(machines.children), ["other"])  # type: ignore[union-attr]
        self.assertEqual(
            Machine("other", "https://127.0.0.1:1", "https://127.0.0.1:2").value,
            find(found.content.state.root, "/_etcd/machines/other").value,  # type: ignore[union-attr]
        )
        for wrong in (NewMachine(name="a/b"), NewMachine(client_url="x"), NewMachine(peer_url="http://0.0.0.0:1")):
            self.assertRaises(ValueError, restore, self.path, self.directory / "wrong", wrong)

    def test_damage(self) -> None:
        """Each byte of a backup counts."""
        write_backup(self.backup, "FILE", content(a="1"))
        data = self.backup.read_bytes()
        for offset in range(len(data)):
            self.backup.write_bytes(data[:offset] + bytes([data[offset] ^ 1 << offset % 8]) + data[offset + 1 :])
            error = self.assertRaises(StorageError, check, self.backup)
            self.assertIn(str(self.backup), str(error))
        for end in range(len(data)):
            self.backup.write_bytes(data[:end])
            self.assertRaises(StorageError, check, self.backup)

    def test_damaged_directory(self) -> None:
        """Each byte of a directory is checked: damage is refused by file and offset, or is at the end of the log."""
        whole = digest(read_machine_directory(self.path, "DIR").content.state)
        self.append(Set("/d", 1, "4"))
        last = digest(read_machine_directory(self.path, "DIR").content.state)
        for path in sorted(self.path.rglob("*")):
            if path.is_dir() or path.name == "lock":
                continue
            data = path.read_bytes()
            for offset in range(0, len(data), max(1, 4 // examples(4))):
                path.write_bytes(data[:offset] + bytes([data[offset] ^ 1 << offset % 8]) + data[offset + 1 :])
                try:
                    found = read_machine_directory(self.path, "DIR")
                except StorageError as error:
                    self.assertIn(path.name, str(error))
                else:
                    self.assertIsNotNone(found.torn)
                    self.assertIn(digest(found.content.state), (whole, last))
            path.write_bytes(data)

    def test_torn_tail(self) -> None:
        """What the next start cuts off is no damage, but is said."""
        (log,) = (self.path / "log").iterdir()
        log.write_bytes(log.read_bytes()[:-1])
        summary = check(self.path)
        self.assertIn(f"{log} ends in an unfinished append", summary.warnings[0])
        self.assertEqual(summary.fields["index"], 2)

    def test_other_paths(self) -> None:
        """A path that is neither a directory of a machine nor a backup is refused."""
        other = self.directory / "other"
        self.assertRaises(StorageError, check, other)
        other.write_text("x" * 100)
        self.assertIn("neither a backup", str(self.assertRaises(StorageError, check, other)))
        other.unlink()
        other.mkdir()
        self.assertIn("no identity.json", str(self.assertRaises(StorageError, check, other)))


class KillTests(MachineTestCase):
    """A process is killed before each call that changes the disk: nothing half done has the final name."""

    def setUp(self) -> None:
        super().setUp()
        make_machine_directory(self.path, "DIR", content(a="1"), MACHINE)
        write_backup(self.backup, "FILE", read_machine_directory(self.path, "DIR").content)

    def killed_at(self, call: int, work: Callable[[], object]) -> bool:
        """Returns whether a process was killed that does some work, before a call of the disk."""
        child = os.fork()
        if child == 0:
            try:
                _kill_at(call)
                work()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            self.assertEqual(os.WTERMSIG(status), signal.SIGKILL)
            return True
        self.assertEqual(status, 0)
        return False

    def assertWholeOrNothing(self, path: Path, work: Callable[[], object]) -> None:
        """Asserts that something is made as a whole, or not at all, wherever the process that makes it is killed."""
        call = 0
        while self.killed_at(call, work):
            call += 1
            if path.exists():
                check(path)
                self.remove(path)
        self.assertGreater(call, 5)
        check(path)
        self.assertEqual(self.left(), {"machine", "backup", path.name})

    def remove(self, path: Path) -> None:
        """Removes what was made."""
        path.rename(Path(self.mktemp()))

    def test_restore(self) -> None:
        made = self.directory / "made"
        self.assertWholeOrNothing(made, lambda: restore(self.backup, made, NewMachine()))

    def test_backup(self) -> None:
        made = self.directory / "made"
        self.assertWholeOrNothing(made, lambda: back_up_directory(self.path, made))


def _kill_at(call: int) -> None:
    """Have this process killed before a call of the disk."""
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return function(*arguments, **more)

        return count

    for name in DISK_CALLS:
        setattr(os, name, counted(getattr(os, name)))
