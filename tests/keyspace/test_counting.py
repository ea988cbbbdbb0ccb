"""
Tests of the counts of what a directory holds.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.nodes import MAX_BATCH_NAMES, Directory, Node
from etcd_twisted.keyspace.sizes import NodeCount, count_nodes
from etcd_twisted.keyspace.space import KeySpace
from tests import examples

NAMES = st.sampled_from(["a", "b", "_c", "d_", "_"])
KEYS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


def directory(keyspace: KeySpace, key: str = "/") -> Directory:
    node = keyspace.get(key)
    assert isinstance(node, Directory)
    return node


def naive(directory: Directory, is_hidden: bool = False) -> NodeCount:
    """Counts the same with plain recursion."""
    total = NodeCount()
    children: list[tuple[str, Node]] = list(directory.children.items())
    for name, node in children:
        hidden = is_hidden or name.startswith("_")
        below = naive(node, hidden) if isinstance(node, Directory) else NodeCount()
        total = NodeCount(
            total.keys + below.keys + (not isinstance(node, Directory)),
            total.directories + below.directories + isinstance(node, Directory),
            total.hidden + below.hidden + hidden,
        )
    return total


class CountTests(SynchronousTestCase):
    """Tests of L{count_nodes}."""

    def test_keys_directories_and_hidden_nodes_are_counted(self) -> None:
        """
        Keys and directories at any depth count; what is in a hidden directory counts as hidden, the directory itself
        does not.
        """
        keyspace = KeySpace()
        for key in ("/d/k", "/d/e/k", "/d/_h/k", "/d/e/_k", "/other"):
            keyspace.apply(Set(key, 0, "v"))
        self.assertEqual(list(count_nodes(directory(keyspace, "/d"))), [NodeCount(4, 2, 3)])
        self.assertEqual(list(count_nodes(directory(keyspace, "/d/_h"))), [NodeCount(1, 0, 0)])

    def test_an_empty_directory_holds_nothing(self) -> None:
        self.assertEqual(list(count_nodes(directory(KeySpace()))), [NodeCount()])

    @given(st.sets(KEYS))
    @settings(max_examples=examples(50))
    def test_the_count_is_that_of_a_naive_count(self, keys: set[str]) -> None:
        """The counts are those that plain recursion gives."""
        keyspace = KeySpace()
        for key in sorted(keys, key=len, reverse=True):  # of two that exclude each other, the longer one
            if not any(other.startswith(key + "/") for other in keys):
                keyspace.apply(Set(key, 0, "v"))
        root = directory(keyspace)
        self.assertEqual(list(count_nodes(root))[-1], naive(root))

    def test_each_step_counts_a_bounded_number_of_nodes(self) -> None:
        """No step counts more than a bounded number of nodes."""
        keyspace = KeySpace()
        for number in range(3 * MAX_BATCH_NAMES):
            keyspace.apply(Set(f"/d{number % 7}/{number}", 0, "v"))
        so_far = [count.keys + count.directories for count in count_nodes(directory(keyspace))]
        self.assertEqual(so_far[-1], 3 * MAX_BATCH_NAMES + 7)
        steps = [after - before for before, after in zip([0, *so_far], so_far, strict=False)]
        self.assertLessEqual(max(steps), MAX_BATCH_NAMES)

    def test_a_deep_directory_is_counted(self) -> None:
        """A key of very many segments is counted like any other."""
        keyspace = KeySpace()
        keyspace.apply(Set("/d" * 400, 0, "v"))
        self.assertEqual(list(count_nodes(directory(keyspace)))[-1], NodeCount(1, 399))
