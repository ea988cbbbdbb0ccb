"""
Tests of the persistent tree: a change is seen in the new tree alone, which shares with the old one whatever is off the
path.
"""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.commands import Command
from etcd_twisted.keyspace.nodes import EMPTY_ROOT, Directory, File, Node, empty_directory
from etcd_twisted.keyspace.paths import is_below, join
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.running import directory, run
from tests.keyspace.strategies import histories, keys

NEW = File("new", 9, 9)


def root_after(commands: list[Command]) -> Directory:
    """Returns the tree after these commands, some of which may fail."""
    space = KeySpace()
    run(space, commands)
    return space.root


def nodes(root: Directory) -> dict[str, Node]:
    """Returns every node by its key."""
    found: dict[str, Node] = {"/": root}
    left = ["/"]
    while left:
        key = left.pop()
        for name, child in directory(found[key]).children.items():
            below = join(key, name)
            found[below] = child
            if isinstance(child, Directory):
                left.append(below)
    return found


def told(look: Callable[[], Node]) -> Node | tuple[int, str]:
    """Returns the node that is found, or the error's code and cause."""
    try:
        return look()
    except EtcdError as error:
        return int(error.code), error.cause


def fields(node: Node) -> tuple[int, int, int | None]:
    """Returns the fields of a node, without its children."""
    return node.created, node.modified, node.expires


class WalkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = EMPTY_ROOT
        for key, node in (("/d", Directory(EMPTY_ROOT.children, 1, 1, 50)), ("/d/e/f", File("x", 2, 2))):
            self.root = tree.put(tree.look_up(self.root, key), node, 2, object())

    def assertRaised(self, code: int, cause: str, key: str) -> None:
        error = self.assertRaises(EtcdError, lambda: tree.existing(tree.look_up(self.root, key)))
        self.assertEqual((error.code, error.cause), (code, cause))

    def test_looking_up_an_existing_key(self) -> None:
        """The path to a node has every directory above it, from the root on."""
        way = tree.look_up(self.root, "/d/e/f")
        self.assertEqual((way.key, way.names, way.node), ("/d/e/f", ["d", "e", "f"], File("x", 2, 2)))
        above = [tree.find(self.root, key) for key in ("/", "/d", "/d/e")]
        self.assertEqual(list(map(id, way.directories)), list(map(id, above)))
        self.assertIs(tree.existing(way), way.node)

    def test_looking_up_a_key_with_missing_parents(self) -> None:
        """The path to a key that does not exist ends with the last directory that does."""
        for key, length in (("/d/e/g", 3), ("/d/g/h/i", 2), ("/g", 1), ("/g/h", 1)):
            way = tree.look_up(self.root, key)
            self.assertEqual((len(way.directories), way.node), (length, None), key)

    def test_looking_up_a_missing_key(self) -> None:
        """The error names the first missing key on the path."""
        self.assertRaised(100, "/d/g", "/d/g/h/i")
        self.assertRaised(100, "/d/e/g", "/d/e/g")
        self.assertRaised(100, "/g", "/g/h")

    def test_looking_up_a_key_below_a_file(self) -> None:
        """A file can't be a parent, near or far."""
        self.assertRaised(104, "/d/e/f", "/d/e/f/g")
        self.assertRaised(104, "/d/e/f", "/d/e/f/g/h/i")

    def test_looking_up_the_root_fails(self) -> None:
        """No path leads to a change of the root."""
        self.assertRaised(107, "/", "/")
        self.assertIs(tree.find(self.root, "/"), self.root)

    @given(histories, keys.filter(lambda key: key != "/"))
    def test_find_agrees_with_looking_up(self, commands: list[Command], key: str) -> None:
        """A read finds the same node, or fails with the same error."""
        root = root_after(commands)
        found = told(lambda: tree.find(root, key))
        self.assertEqual(found, told(lambda: tree.existing(tree.look_up(root, key))))


class ChangeTests(SynchronousTestCase):
    @given(histories, keys.filter(lambda key: key != "/"))
    def test_putting_a_node_changes_nothing_else(self, commands: list[Command], key: str) -> None:
        """The node is there, missing parents are created, and every other node is the very same object."""
        root = root_after(commands)
        before = nodes(root)
        try:
            way = tree.look_up(root, key)
        except EtcdError:
            return
        after = nodes(tree.put(way, NEW, 9, object()))
        self.assertIs(after[key], NEW)
        for each, node in before.items():
            if is_below(key, each):
                self.assertEqual(fields(after[each]), fields(node))
            elif each != key and not is_below(each, key):
                self.assertIs(after[each], node)
        for each in after.keys() - before.keys() - {key}:
            self.assertTrue(is_below(key, each))
            self.assertEqual(fields(after[each]), fields(empty_directory(9)))
        self.assertEqual(set(before) - set(after), {each for each in before if is_below(each, key)})
        self.assertUnchanged(root, before)

    @given(histories, st.data())
    def test_removing_a_node_changes_nothing_else(self, commands: list[Command], data: st.DataObject) -> None:
        """The node is gone with all nodes below it, and every other node is the very same object."""
        root = root_after(commands)
        before = nodes(root)
        there = sorted(before.keys() - {"/"})
        if not there:
            return
        key = data.draw(st.sampled_from(there))
        after = nodes(tree.remove(tree.look_up(root, key), object()))
        self.assertEqual(set(before) - set(after), {key, *(each for each in before if is_below(each, key))})
        for each, node in after.items():
            if is_below(key, each):
                self.assertEqual(fields(node), fields(before[each]))
            else:
                self.assertIs(node, before[each])
        self.assertUnchanged(root, before)

    def assertUnchanged(self, root: Directory, before: dict[str, Node]) -> None:
        """Asserts that the old root still has the very same nodes as before."""
        now = nodes(root)
        self.assertEqual(set(now), set(before))
        for key, node in before.items():
            self.assertIs(now[key], node)
