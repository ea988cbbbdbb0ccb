"""
What a data directory of etcd amounts to: its snapshot, the log behind it, and what is refused.
"""

import fcntl
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.datadir.etcd.directory import EtcdDirectory, read_etcd_directory
from etcd_twisted.datadir.trees import find, walk
from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace.nodes import File
from tests.datadir.etcd_files import (
    CLUSTER,
    MEMBER,
    SECOND,
    EtcdFiles,
    conf_change,
    message,
    node,
    put,
    request,
    store,
)

Shown = dict[str, tuple[Any, ...]]


def shown(found: EtcdDirectory, below: str = "/1/") -> Shown:
    """Returns what there is below C{/1}: for each key the value, its indexes and the end of its TTL."""
    return {
        key: (each.value if isinstance(each, File) else None, each.created, each.modified, each.expires)
        for key, each in walk(found.store.root)
        if key.startswith(below)
    }


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = EtcdFiles(Path(self.mktemp()))

    def read(self, zeros: int = 64) -> EtcdDirectory:
        """Returns what is in the directory once all is written."""
        return read_etcd_directory(self.files.write(zeros))

    def assertRefused(self, *words: str) -> None:
        """Asserts that the directory is refused in one line with these words, and was not changed."""
        before = {each: each.read_bytes() for each in self.files.path.rglob("*") if each.is_file()}
        error = self.assertRaises(StorageError, read_etcd_directory, self.files.path)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual({each: each.read_bytes() for each in self.files.path.rglob("*") if each.is_file()}, before)

    def test_log_alone(self) -> None:
        """Without a snapshot, the log is replayed from its beginning. The cluster's own keys count in the index."""
        self.files.apply(put("/a/b", "x"))
        found = self.read()
        self.assertEqual(shown(found), {"/1/a": (None, 4, 4, None), "/1/a/b": ("x", 4, 4, None)})
        self.assertEqual((found.store.index, found.index, found.term), (4, 5, 2))
        self.assertEqual((found.member_id, found.cluster_id), (f"{MEMBER:x}", f"{CLUSTER:x}"))
        self.assertEqual((found.version, found.warnings, found.torn), ("3.4.0", (), None))
        (member,) = found.members
        self.assertEqual(
            (member.name, member.client_urls, member.peer_urls),
            ("m0", ("http://127.0.0.1:2379",), ("http://127.0.0.1:2380",)),
        )

    def test_snapshot_and_log(self) -> None:
        """Entries up to the snapshot's index are in the snapshot."""
        self.files.apply(put("/a", "in the snapshot"))
        keys = (node("/1/a", 4, value="in the snapshot"), node("/1/d", 3, children=[node("/1/d/x", 3, value="y")]))
        self.files.save_snapshot(store(4, *keys))
        self.files.apply(put("/b", "in the log"))
        found = self.read()
        self.assertEqual(
            shown(found),
            {
                "/1/a": ("in the snapshot", 4, 4, None),
                "/1/b": ("in the log", 5, 5, None),
                "/1/d": (None, 3, 3, None),
                "/1/d/x": ("y", 3, 3, None),
            },
        )
        self.assertEqual((found.snapshot_index, found.index, found.store.index), (5, 6, 5))
        self.assertEqual(found.store.statistics().sets_success, 6)

    def test_times(self) -> None:
        """The end of a TTL is exact to the nanosecond, in any time zone."""
        times = ("2026-11-30T07:41:14.110373681Z", "2026-11-30T08:41:14.5+01:00", "2026-11-30T03:11:14-04:30")
        self.files.save_snapshot(store(4, *(node(f"/1/{n}", 4, expires=time) for n, time in enumerate(times))))
        base = 1_796_024_474 * SECOND
        self.assertEqual(
            [expires for _, _, _, expires in shown(self.read()).values()],
            [base + 110_373_681, base + SECOND // 2, base],
        )

    def test_several_files(self) -> None:
        """The log goes on from file to file, and files before the snapshot are not needed."""
        first = self.files.log_path
        self.files.apply(put("/a", "1"))
        self.files.cut()
        self.files.apply(put("/b", "2"))
        self.files.save_snapshot(store(5, node("/1/a", 4, value="1"), node("/1/b", 5, value="2")))
        self.files.cut()
        self.files.apply(put("/c", "3"))
        found = shown(self.read())
        self.assertEqual([value for value, *_ in found.values()], ["1", "2", "3"])
        first.unlink()
        self.assertEqual(shown(self.read()), found)

    def test_missing_file(self) -> None:
        self.files.cut()
        missing = self.files.log_path
        self.files.cut()
        self.files.write()
        missing.unlink()
        self.assertRefused(str(self.files.log_path), "one is missing")

    def test_missing_snapshot(self) -> None:
        """The log does not reach back to the beginning."""
        first = self.files.log_path
        self.files.apply(put("/a", "1"))
        self.files.cut()
        self.files.write()
        first.unlink()
        self.assertRefused(str(self.files.wal), "begins at index 6", "no snapshot")

    def test_unfinished_snapshot(self) -> None:
        """etcd writes a snapshot under its name, so one may be cut off. What is before it counts, as for etcd."""
        self.files.apply(put("/a", "1"))
        self.files.save_snapshot(store(4, node("/1/a", 4, value="1")))
        self.files.apply(put("/b", "2"))
        whole = self.read()
        path = self.files.save_snapshot(store(5, node("/1/a", 4, value="1"), node("/1/b", 5, value="2")))
        path.write_bytes(path.read_bytes()[:-100])
        found = self.read()
        self.assertEqual((shown(found), found.snapshot_index), (shown(whole), 5))
        self.assertIn(str(path), found.warnings[0])

    def test_unknown_snapshot(self) -> None:
        """A snapshot does not count that the log does not know, or that is not known to be committed."""
        self.files.apply(put("/a", "1"))
        self.files.save_snapshot(store(4), marked=False)
        found = self.read()
        self.assertEqual((len(shown(found)), found.snapshot_index, len(found.warnings)), (1, 0, 1))

    def test_only_damaged_snapshot(self) -> None:
        """It is refused by its name when the log does not reach back behind it."""
        first = self.files.log_path
        path = self.files.save_snapshot(store(3))
        self.files.cut()
        self.files.write()
        first.unlink()
        path.write_bytes(path.read_bytes()[:-1])
        self.assertRefused(str(path), "damaged at byte 0")

    def test_snapshot_of_something_else(self) -> None:
        """The checksums are right, but it is no store."""
        path = self.files.save_snapshot({"Root": None})
        self.files.write()
        self.assertRefused(str(path), "version 2 store")

    def test_alone(self) -> None:
        """A member that is alone commits what is in its log when it starts, whether it was committed before or not."""
        self.files.append(put("/a", "1"))
        self.assertEqual(len(shown(self.read())), 1)

    def test_uncommitted(self) -> None:
        """A member that is not alone can't know whether entries count that it does not know to be committed."""
        self.files.apply_change(conf_change(0, 5, peerURLs=["http://127.0.0.1:2390"]))
        self.files.apply(put("/a", "1"))
        self.files.append(put("/b", "2"))
        found = self.read()
        self.assertEqual((list(shown(found)), found.not_committed, len(found.members)), (["/1/a"], 1, 2))
        self.assertIn("1 entries behind the commit index 6", found.warnings[0])
        self.assertIn("ends at index 7, term 2", found.warnings[0])
        found = read_etcd_directory(self.files.path, uncommitted=True)
        self.assertEqual((list(shown(found)), found.not_committed, found.warnings), (["/1/a", "/1/b"], 0, ()))

    def test_replaced_entries(self) -> None:
        """A new leader replaces entries of the one before."""
        self.files.append(put("/a", "old"), put("/b", "old"))
        self.files.index, self.files.term = self.files.index - 2, 3
        self.files.apply(put("/c", "new"))
        self.assertEqual([value for value, *_ in shown(self.read()).values()], ["new"])

    def test_newer_protocol(self) -> None:
        """A request may be within one of the later protocol, whose own requests change nothing here."""
        wrapped = message((100, message((1, 7))), (2, put("/a", "1")))
        version3 = message((100, message((1, 7))), (4, message((1, "key"), (2, "value"))))
        self.files.apply(version3, wrapped)
        found = self.read()
        self.assertEqual((list(shown(found)), found.store.index), (["/1/a"], 4))

    def test_etcd_3_5(self) -> None:
        """
        The version and the members' names come as requests of their own, and count in the index. An update of a
        directory fails and does not count, also before the version is set: etcd replays all with its own.
        """
        self.files.apply(put("/d", dir=True), put("/d", prev_exist=True, expiration=2_000_000_000 * SECOND))
        attributes = message((1, "renamed"), (2, "http://127.0.0.1:1"), (2, "http://127.0.0.1:2"))
        self.files.apply(
            message((1300, message((1, "3.5.0")))), message((1301, message((1, MEMBER), (2, attributes))))
        )
        self.files.apply(put("/a", "1"))
        found = self.read()
        self.assertEqual((found.version, found.members[0].name, found.store.index), ("3.5.0", "renamed", 7))
        directory = find(found.store.root, "/1/d")
        self.assertTrue(directory is not None and directory.expires is None, directory)
        self.assertEqual(found.members[0].client_urls, ("http://127.0.0.1:1", "http://127.0.0.1:2"))

    def test_names_in_order(self) -> None:
        """Versions before 2.2 name keys by the bare index. etcd 2.0 has no version of the cluster."""
        for version, pads, name in (
            ("", False, "3"),
            ("2.1.0", False, "4"),
            ("2.2.0", False, f"{4:020}"),
            ("3.0.0", True, f"{4:020}"),
            ("", True, f"{3:020}"),  # a cluster of etcd 3 that has not agreed on its version yet
        ):
            self.files = EtcdFiles(Path(self.mktemp()), pads, version)
            self.files.apply(request("POST", "/1/q", "v"))
            found = self.read()
            self.assertIn(f"/1/q/{name}", shown(found))
            self.assertEqual(found.pads_in_order_keys, len(name) > 1)

    def test_members(self) -> None:
        """Members come, move and go, and each change that etcd carries out counts."""
        files = self.files
        files.apply_change(conf_change(3, 5, peerURLs=["http://127.0.0.1:5"], isLearner=True))
        files.apply_change(conf_change(0, 5, isPromote=True))
        files.apply_change(conf_change(0, 6, peerURLs=["http://127.0.0.1:5"]))  # the URL is taken
        files.apply_change(conf_change(0, 7, peerURLs=["http://127.0.0.1:7"]))
        files.apply_change(conf_change(2, 7, peerURLs=["http://127.0.0.1:8"]))
        files.apply_change(conf_change(1, 5))
        files.apply_change(conf_change(0, 5, peerURLs=["http://127.0.0.1:5"]))  # it was removed
        found = self.read()
        first = found.members[0]
        self.assertEqual((first.id, first.peer_urls), ("7", ("http://127.0.0.1:8",)))
        self.assertEqual((len(found.members), found.store.index), (2, 9))

    def test_users(self) -> None:
        """Users, their hashes and roles are read, and whether they are enabled."""
        hashed = "$2a$10$WUXBGNrGlcF3tcKHA9dhGuCP2JCg2TJbKLQB.3W67B6LJ9wwaMMiO"
        role = '{"role":"r","permissions":{"kv":{"read":["/a/*"],"write":null}}}'
        self.files.apply(
            request("PUT", "/2", dir=True, prev_exist=False),
            request("PUT", "/2/users/root", f'{{"user":"root","password":"{hashed}","roles":["root"]}}'),
            request("PUT", "/2/roles/r", role),
            request("PUT", "/2/enabled", "true"),
        )
        auth = self.read().auth
        self.assertTrue(auth.enabled)
        self.assertEqual((auth.users["root"].password_hash, auth.users["root"].roles), (hashed, ("root",)))
        self.assertEqual((auth.roles["r"].read, auth.roles["r"].write), (("/a/*",), None))

    def test_unreadable_users(self) -> None:
        """They are refused, rather than taken for nobody."""
        self.files.apply(request("PUT", "/2/users/root", "{"))
        self.files.write()
        self.assertRefused("/2/users/root")

    def test_in_use(self) -> None:
        """A lock of either kind refuses, and the directory is locked only as long as it is read."""
        self.files.write()
        with self.files.log_path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertRefused(str(self.files.log_path), "in use")
            fcntl.flock(file, fcntl.LOCK_UN)
            self.read()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_other_directories(self) -> None:
        """What is no directory of a member is refused, and the text says what it is."""
        for names, word in (
            (("conf", "log", "snapshot"), "etcd 0.4"),
            (("proxy",), "proxy"),
            (("identity.json",), "etcd_twisted"),
            ((), "no member/wal"),
        ):
            self.files.path = Path(self.mktemp())
            self.files.path.mkdir()
            for name in names:
                (self.files.path / name).mkdir()
            self.assertRefused(str(self.files.path), word)
        self.files.path = Path(self.mktemp())
        self.assertRefused(str(self.files.path), "No such file")

    def test_log_elsewhere(self) -> None:
        """The log may be in another directory, as with etcd's C{--wal-dir}."""
        self.files.apply(put("/a", "1"))
        self.files.write()
        elsewhere = Path(self.mktemp())
        self.files.wal.rename(elsewhere)
        self.assertEqual(len(shown(read_etcd_directory(self.files.path, elsewhere))), 1)
