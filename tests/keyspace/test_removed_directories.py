"""
Tests of what was removed with directories: each TTL in them is found, and no other.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.expiry import RemovedDirectories
from etcd_twisted.keyspace.nodes import Directory, Node
from tests.keyspace.running import key_space, outcome
from tests.keyspace.strategies import anything


def with_ttl(above: str, node: Node) -> list[tuple[str, int]]:
    """Returns every key below a directory that has a TTL, with the time when it ends."""
    found = []
    for name, child in node.children.items() if isinstance(node, Directory) else ():
        key = f"{above}/{name}"
        found += [(key, child.expires)] if child.expires is not None else []
        found += with_ttl(key, child)
    return found


class RemovedDirectoriesTests(SynchronousTestCase):
    @given(st.lists(anything, max_size=40), st.lists(st.integers(0, 5), min_size=1, max_size=10))
    def test_every_ttl_is_found(self, some: list[c.Command], steps: list[int]) -> None:
        """Every TTL is found, in whatever bounded steps and in whatever order the directories came."""
        space = key_space(c.Set("/x/y", 0, expires=1))
        for command in some:
            outcome(space, command)
        removed = RemovedDirectories()
        wanted = []
        for name, node in space.root.children.items():
            if isinstance(node, Directory):
                removed.add(f"/{name}", node)
                wanted += with_ttl(f"/{name}", node)
        found: list[tuple[str, int]] = []
        for most in [*steps, 10_000]:
            some_more = list(removed.walk(most))
            self.assertLessEqual(len(some_more), most)
            found += some_more
        self.assertEqual((sorted(found), bool(removed)), (sorted(wanted), False))

    def test_without_removed_directories_there_is_nothing_to_walk(self) -> None:
        removed = RemovedDirectories()
        self.assertEqual((bool(removed), list(removed.walk(10))), (False, []))
