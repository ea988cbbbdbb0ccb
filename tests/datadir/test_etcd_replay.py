"""
Each request in etcd's log does what it does in etcd, and counts as it does there.
"""

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.datadir.etcd import messages
from etcd_twisted.datadir.etcd.replay import replay
from etcd_twisted.datadir.etcd.store import new_store
from etcd_twisted.datadir.trees import walk
from etcd_twisted.keyspace.nodes import File
from tests.datadir.etcd_files import SECOND, entry, request

Request = tuple[str, str, dict[str, Any]]

LATER = 2_000_000_000 * SECOND


def _put(path: str, value: str = "", **more: Any) -> bytes:
    return request("PUT", f"/1{path}", value, **more)


def _post(path: str, value: str = "", **more: Any) -> bytes:
    return request("POST", f"/1{path}", value, **more)


def _delete(path: str, **more: Any) -> bytes:
    return request("DELETE", f"/1{path}", **more)


def _sync(time: int) -> bytes:
    return request("SYNC", "", time=time)


class ReplayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = new_store()
        self.store.pads_in_order_keys = True

    def apply(self, *proposals: bytes, updates_directories: bool = True) -> None:
        """Applies requests."""
        entries = [messages.entry(entry(index + 1, data)) for index, data in enumerate(proposals)]
        replay(self.store, frozenset(), entries, updates_directories)

    def shown(self) -> dict[str, tuple[str | None, int, int, int | None]]:
        """Returns what there is below C{/1}."""
        return {
            key[2:]: (node.value if isinstance(node, File) else None, node.created, node.modified, node.expires)
            for key, node in walk(self.store.root)
            if key.startswith("/1/")
        }

    def assertShows(self, index: int, **nodes: tuple[str | None, int, int] | tuple[str | None, int, int, int]) -> None:
        """Asserts what there is in the root, by names, and the index."""
        expected = {f"/{name}": node if len(node) == 4 else (*node, None) for name, node in nodes.items()}
        self.assertEqual((self.shown(), self.store.index), (expected, index))

    def test_set(self) -> None:
        self.apply(_put("/a", "1"), _put("/a", "2"), _put("/d", dir=True), _put("/d", "x"))
        self.assertShows(3, a=("2", 2, 2), d=(None, 3, 3))

    def test_set_directory_in_place_of_file(self) -> None:
        self.apply(_put("/a", "1"), _put("/a", dir=True))
        self.assertShows(2, a=(None, 2, 2))

    def test_create(self) -> None:
        self.apply(_put("/a", "1", prev_exist=False), _put("/a", "2", prev_exist=False))
        self.assertShows(1, a=("1", 1, 1))

    def test_update(self) -> None:
        """A directory takes another TTL, and keeps its modified index; no value."""
        self.apply(_put("/a", "1"), _put("/a", "2", prev_exist=True), _put("/b", "x", prev_exist=True))
        self.apply(
            _put("/d", dir=True), _put("/d", prev_exist=True, expiration=LATER), _put("/d", "x", prev_exist=True)
        )
        self.assertShows(4, a=("2", 1, 2), d=(None, 3, 3, LATER))

    def test_update_of_a_directory_in_later_versions(self) -> None:
        """It is refused, and does not count."""
        for more in ({}, {"refresh": True}):
            self.apply(_put("/d", dir=True), updates_directories=False)
            index = self.store.index
            self.apply(_put("/d", prev_exist=True, expiration=LATER, **more), updates_directories=False)
            self.assertShows(index, d=(None, index, index))
        self.apply(_put("/a", "1"), _put("/a", "2", prev_exist=True), updates_directories=False)
        self.assertEqual(self.shown()["/a"], ("2", 2, 3, None))

    def test_compare_and_swap(self) -> None:
        self.apply(_put("/a", "1"), _put("/a", "2", prev_value="1"), _put("/a", "3", prev_value="1"))
        self.apply(_put("/a", "4", prev_index=2), _put("/a", "5", prev_index=2))
        self.apply(_put("/a", "6", prev_index=3, prev_exist=True), _put("/b", "7", prev_value="1"))
        self.assertShows(4, a=("6", 1, 4))

    def test_in_order(self) -> None:
        self.apply(_post("/q", "x"), _post("/q", dir=True))
        names = list(self.shown())
        self.assertEqual(names, ["/q", f"/q/{1:020}", f"/q/{2:020}"])

    def test_delete(self) -> None:
        self.apply(_put("/a", "1"), _put("/d/x", "1"), _put("/e", dir=True))
        self.apply(_delete("/d"), _delete("/d", dir=True), _delete("/e"), _delete("/nothing"))
        self.assertEqual((list(self.shown()), self.store.index), (["/a", "/d", "/d/x", "/e"], 3))
        self.apply(_delete("/a"), _delete("/d", recursive=True), _delete("/e", dir=True))
        self.assertShows(6)

    def test_compare_and_delete(self) -> None:
        self.apply(_put("/a", "1"), _delete("/a", prev_value="2"), _delete("/a", prev_index=7))
        self.assertShows(1, a=("1", 1, 1))
        self.apply(_delete("/a", prev_value="1", prev_index=1))
        self.assertShows(2)

    def test_refresh(self) -> None:
        """The value stays; a key that is missing stays so."""
        self.apply(_put("/a", "1", expiration=LATER), _put("/a", expiration=LATER + 1, refresh=True, prev_exist=True))
        self.assertShows(2, a=("1", 1, 2, LATER + 1))
        self.apply(_put("/a", expiration=LATER + 2, refresh=True))
        self.assertShows(3, a=("1", 3, 3, LATER + 2))
        self.apply(_put("/a", expiration=LATER + 3, refresh=True, prev_value="1"))
        self.assertShows(4, a=("1", 3, 4, LATER + 3))
        self.apply(
            _put("/b", expiration=LATER, refresh=True), _put("/b", expiration=LATER, refresh=True, prev_exist=True)
        )
        self.assertShows(4, a=("1", 3, 4, LATER + 3))

    def test_expiry(self) -> None:
        """Each key that expires counts, but not those that go with their directory."""
        self.apply(
            _put("/a", "1", expiration=LATER),
            _put("/b", "1", expiration=LATER + 1),
            _put("/d", dir=True, expiration=LATER - 1),
            _put("/d/x", "1", expiration=LATER),
            _sync(LATER),
        )
        self.assertShows(6, b=("1", 2, 2, LATER + 1))

    def test_early_expiration(self) -> None:
        """A new key with a time before 2000 never expires, and an update takes it as it is."""
        self.apply(_put("/a", "1", expiration=1), _put("/b", "1"), _put("/b", "1", prev_exist=True, expiration=-5))
        self.assertShows(3, a=("1", 1, 1), b=("1", 2, 3, -5))

    def test_fixed_directories(self) -> None:
        """etcd's own directories never change."""
        requests: list[Callable[..., bytes]] = [_put, _delete]
        for make in requests:
            for path in ("", "/", "/../0", "/.."):
                self.apply(make(path, dir=True), make(path, prev_exist=True), make(path, recursive=True, dir=True))
        self.assertShows(0)

    def test_reads(self) -> None:
        """A quorum read and an empty entry change nothing."""
        self.apply(request("QGET", "/1/a"), b"")
        self.assertShows(0)

    def test_keys_are_cleaned(self) -> None:
        self.apply(_put("//a/./b/../c/", "1"))
        self.assertEqual(list(self.shown()), ["/a", "/a/c"])

    def test_bytes_that_are_no_text(self) -> None:
        """Each is a replacement character, as in etcd's answers."""
        proposal = request("PUT", "/1/a", "x").replace(b"\x01x", b"\x04\xe2\x82xy", 1)
        self.apply(proposal)
        self.assertShows(1, a=("\ufffd\ufffdxy", 1, 1))
