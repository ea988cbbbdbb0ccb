"""
Tests of very deep keys, as a log or a snapshot of an earlier version may contain them: every key that a request line
can hold works, without recursion and without a path stored for each level.
"""

import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.listing import Listing
from etcd_twisted.keyspace.nodes import File
from tests.keyspace.running import chunks_of, directory, key_space, outcome, restored

DEPTH = 32_000
KEY = "/a" * DEPTH
BYTES_A_LEVEL = 1_000
"""
How many bytes a level may take: two or three times what a directory does. A path stored for each level would take
32,000 on average.
"""


class DeepTests(SynchronousTestCase):
    @contextmanager
    def bounded(self, depth: int = DEPTH) -> Iterator[None]:
        """Asserts that the work takes memory for each level, and not for each level of each level."""
        tracemalloc.start()
        try:
            yield
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(most, BYTES_A_LEVEL * depth)

    def test_put_and_get_of_a_deep_key(self) -> None:
        """A file far down can be written, read, changed and missed."""
        space = key_space(c.Set(KEY, 0, "x"), c.CompareAndSwap(KEY, 0, "y", previous_value="x"))
        self.assertEqual(space.get(KEY), File("y", 1, 2))
        self.assertEqual(outcome(space, c.Set(KEY + "/b", 0)), (104, KEY, 2))
        error = self.assertRaises(EtcdError, space.get, KEY[:-1] + "b")
        self.assertEqual((error.code, error.cause), (100, KEY[:-1] + "b"))

    def test_listing_a_deep_tree(self) -> None:
        """A directory far down can be listed, and so can all of a deep tree, piece by piece."""
        space = key_space(c.Set(KEY, 0, "x"))
        above = KEY[:-2]
        shallow = b"".join(Listing(False, True, 0).pieces(above, directory(space.get(above))))
        self.assertEqual(json.loads(shallow)["nodes"][0]["key"], KEY)
        pieces = Listing(True, False, 0).pieces("/", space.root)
        with self.bounded():  # all of it would be 1 GB
            for _ in range(40):
                next(pieces)
        whole = b"".join(Listing(True, False, 0).pieces("/", key_space(c.Set(KEY[:2_000], 0)).root))
        self.assertEqual(whole.count(b'"key":'), 1_001)

    def test_snapshot_of_a_deep_tree(self) -> None:
        """A deep tree is dumped and loaded with memory for its names only, and its TTL is kept."""
        space = key_space(c.Set(KEY, 0, "x", expires=5))
        chunks = chunks_of(space)
        with self.bounded():
            again = restored(chunks)
        self.assertEqual(chunks_of(again), chunks)
        again.apply(c.Expire(5, 1))
        self.assertEqual((again.index, again.next_expiry()), (2, None))

    def test_watching_a_deep_key(self) -> None:
        """Watchers at both ends of a deep key see each other's changes."""
        space = key_space(c.Set(KEY, 0))
        told: list[Event] = []
        space.watch("/a", True, True, None, told.append)
        space.watch(KEY, False, True, None, told.append)
        space.apply(c.Set(KEY, 0))
        space.apply(c.Delete("/a", 0, recursive=True))
        space.hub.deliver(10)
        self.assertEqual([event.index for event in told], [2, 2, 3, 3])

    def test_many_watchers_of_deep_keys(self) -> None:
        """With more keys watched than there are levels, an event looks for its watchers level by level."""
        depth = 5_000
        space = key_space(c.Set("/a" * depth, 0))
        told: list[Event] = []
        for number in range(depth):
            space.watch(f"/other/{number}", True, True, None, told.append)
        for above in ("/", "/a", "/a" * (depth - 1), "/a" * depth):
            space.watch(above, True, False, None, told.append)
        with self.bounded(depth):
            space.apply(c.Set("/a" * depth, 0))
        space.hub.deliver(10)
        self.assertEqual([event.index for event in told], [2] * 4)

    def test_removing_a_deep_tree(self) -> None:
        """A deep tree can be removed, and what is left of it goes away."""
        space = key_space(c.Set(KEY, 0))
        old = space.root
        space.apply(c.Delete("/a", 0, recursive=True))
        gc.collect()
        self.assertEqual((len(space.root.children), len(old.children)), (0, 1))
        del old
        gc.collect()
        self.assertEqual(outcome(space, c.Set(KEY, 0))[:16], '{"action": "set"')

    def test_forgetting_the_ttls_of_a_deep_tree(self) -> None:
        """
        The TTLs of what was removed with the tree are forgotten; on the way down, only names are stored, and no paths.
        """
        space = key_space(c.Set(KEY, 0, expires=5), c.Set("/a/b", 0, expires=6))
        space.apply(c.Delete("/a", 0, recursive=True))
        with self.bounded():
            while space.removed_directories:
                space.forget_removed_ttls(1_000)
        self.assertIsNone(space.next_expiry())
