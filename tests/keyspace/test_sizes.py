"""
Tests of the size of the key space, of its numbers of keys and directories, and of how much commands add to it.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.growth import MAX_GROWTH_PER_BYTE, MAX_GROWTH_PER_COMMAND, growth
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.sizes import NODE_BYTES, text_bytes
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.running import chunks_of, key_space, outcome, restored, run
from tests.keyspace.strategies import anything, changes

EXACT = (c.Set, c.Create, c.Update, c.CompareAndSwap, c.SetOrSwap)
"""The growth from these commands is known to the byte; an in-order key may get a shorter name."""


def recounted(directory: Directory) -> tuple[int, int, int]:
    """Returns the size, files and directories below a directory, counted node by node."""
    size = files = directories = 0
    for name, node in directory.children.items():
        size += NODE_BYTES + (len(name) if name.isascii() else 4 * len(name))
        if isinstance(node, File):
            files += 1
            size += len(node.value) if node.value.isascii() else 4 * len(node.value)
        else:
            directories += 1
            below = recounted(node)
            size, files, directories = size + below[0], files + below[1], directories + below[2]
    return size, files, directories


def counted(directory: Directory) -> tuple[int, int, int]:
    return directory.size, directory.files, directory.directories


def everywhere(node: Node) -> list[Directory]:
    """Returns a directory and all directories below it."""
    if isinstance(node, File):
        return []
    return [node, *(each for child in node.children.values() for each in everywhere(child))]


def most_growth(command: c.Change) -> int:
    return MAX_GROWTH_PER_BYTE * len(c.encode_command(command)) + MAX_GROWTH_PER_COMMAND


class CountTests(SynchronousTestCase):
    def assert_exact(self, space: KeySpace) -> None:
        for directory in everywhere(space.root):
            self.assertEqual(counted(directory), recounted(directory))

    @given(st.lists(anything, max_size=50))
    def test_each_directory_knows_what_a_recount_finds(self, some: list[c.Command]) -> None:
        """Whatever happened, each directory knows what a recount finds, also after a snapshot."""
        space = KeySpace()
        for command in some:
            outcome(space, command)
            self.assertEqual(counted(space.root), recounted(space.root))
        self.assert_exact(space)
        again = restored(chunks_of(space))
        self.assert_exact(again)
        self.assertEqual(counted(again.root), counted(space.root))

    def test_what_counts_as_size(self) -> None:
        """Hidden nodes count, and so do directories that were created as parents; the root does not."""
        space = key_space(c.Set("/a/b/c", 0, "12345"), c.Set("/_h", 0, "é"), c.Set("/d", 0, "", True))
        self.assertEqual(counted(space.root), (5 * NODE_BYTES + 3 + 5 + 2 + 4 + 1, 2, 3))
        space.apply(c.Delete("/a", 0, recursive=True))
        self.assertEqual(counted(space.root), (2 * NODE_BYTES + 2 + 4 + 1, 1, 1))
        run(space, [c.Delete("/_h", 0), c.Delete("/d", 0, directory=True)])
        self.assertEqual(counted(space.root), (0, 0, 0))

    def test_the_size_of_text(self) -> None:
        """A character takes at most four bytes, in UTF-8 and in memory."""
        for text in ("", "x" * 10, "é", "x😀"):
            self.assertGreaterEqual(text_bytes(text), len(text.encode()))
        self.assertEqual([text_bytes(text) for text in ("", "x" * 10, "é", "x😀")], [0, 10, 4, 8])


class GrowthTests(SynchronousTestCase):
    @given(st.lists(anything, max_size=30), changes)
    def test_command_adds_the_predicted_size(self, some: list[c.Command], command: c.Change) -> None:
        """
        A command adds exactly the growth that was predicted, or nothing if it fails, and never more than its maximum.
        """
        space = KeySpace()
        run(space, some)
        before, said = space.root.size, growth(space.root, command)
        most = most_growth(command)
        try:
            space.apply(command)
        except EtcdError:
            self.assertEqual(space.root.size, before)
        else:
            added = space.root.size - before
            if isinstance(command, EXACT):
                self.assertEqual(added, said)
            self.assertLessEqual(added, max(0, said))
        self.assertLessEqual(said, most)
        self.assertGreaterEqual(most, 0)

    def test_examples_of_growth(self) -> None:
        """What exists already adds nothing again, what fails adds nothing, and an index may have 20 digits."""
        space = key_space(c.Set("/a/b", 0, "12345"))
        node = NODE_BYTES
        for command, added in (
            (c.Set("/a/b", 0, "123"), -2),
            (c.Set("/a/b", 0, "123456"), 1),
            (c.Set("/a/b", 0, "", True), -5),
            (c.Set("/a", 0, "x"), 0),
            (c.Set("/a/b/c", 0, "x"), 0),
            (c.Set("/", 0, "x"), 0),
            (c.Set("/a/cd/e", 0, "x"), 2 * node + 4),
            (c.Set("/a/cd/e", 0, "ignored", True), 2 * node + 3),
            (c.Create("/a/b", 0, "123456"), 0),
            (c.Create("/b", 0, "é"), node + 5),
            (c.CreateInOrder("/a", 0, "x"), node + 21),
            (c.CreateInOrder("/", 0, "x"), node + 21),
            (c.CreateInOrder("/q", 0, "x"), 2 * node + 22),
            (c.CreateInOrder("/a/b", 0, "x"), 0),
            (c.Update("/a/b", 0, "1234567"), 2),
            (c.Update("/a", 0, "", True), 0),
            (c.Update("/nothing", 0, "x"), 0),
            (c.CompareAndSwap("/a/b", 0, "123456", previous_value="other"), 1),
            (c.CompareAndSwap("/a/b", 0, None, 5), 0),
            (c.SetOrSwap("/a/b", 0, "123456", True), 1),
            (c.SetOrSwap("/b", 0, "x"), node + 2),
            (c.SetOrSwap("/b", 0, "ignored", True), node + 1),
            (c.SetOrSwap("/a", 0, "x"), 0),
            (c.SetTtl("/a/b", 0, 5), 0),
            (c.Refresh("/a/b", 0, 5), 0),
            (c.Delete("/a", 0, recursive=True), 0),
            (c.CompareAndDelete("/a/b", 0, "12345"), 0),
        ):
            self.assertEqual(growth(space.root, command), added, command)
            self.assertGreaterEqual(most_growth(command), added, command)
