"""
Tests of consistent views: whoever has asked for the tree, or for a directory, sees it as it was for good, and the tree
itself is the one that it would be if nobody had asked.
"""

import itertools
from typing import Any

import immutables
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace import tree
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import join
from etcd_twisted.keyspace.snapshot import dump
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState
from tests import examples
from tests.keyspace.running import chunks_of, directory, key_space, outcome, restored, run, run_together
from tests.keyspace.strategies import anything, histories, sets

Content = Any
"""What a node holds, in values that nothing can change."""


def content(node: Node) -> Content:
    """Returns a deep copy of a node."""
    if isinstance(node, File):
        return node.value, node.created, node.modified, node.expires
    below = {name: content(child) for name, child in node.children.items()}
    return below, node.created, node.modified, node.expires, node.size, node.files, node.directories


def directories(space: KeySpace) -> list[str]:
    """Returns the keys of all directories."""
    found = ["/"]
    for key in found:
        found += [
            join(key, name) for name, node in directory(space.get(key)).children.items() if isinstance(node, Directory)
        ]
    return found


looks = st.lists(st.none() | st.just("root") | st.just("state") | st.integers(0, 9), max_size=60)
"""How somebody asks for a view after each command: a number stands for one of the directories."""


class ViewTests(SynchronousTestCase):
    @settings(max_examples=examples(100))
    @given(histories, histories, looks)
    def test_a_view_stays_as_it_was(
        self, some: list[c.Command], more: list[c.Command], looks: list[str | int | None]
    ) -> None:
        """
        Whenever somebody asks, the view is that of a key space that had the same commands and no others. It is read
        only after all changes, so that nothing in it was ever looked at before.
        """
        space, copied, unseen = KeySpace(), KeySpace(), KeySpace()
        views: list[tuple[Node, Content]] = []
        states: list[tuple[KeySpaceState, list[bytes]]] = []
        for command, look in itertools.zip_longest([*some, *more], looks[: len(some + more)]):
            told = outcome(unseen, command)
            self.assertEqual(outcome(space, command), told)
            self.assertEqual(outcome(copied, command), told)
            if look == "root":
                views.append((space.root, content(copied.root)))
            elif look == "state":
                states.append((space.state(), chunks_of(copied)))
            elif isinstance(look, int):
                keys = directories(copied)
                key = keys[look % len(keys)]
                views.append((space.get(key), content(copied.get(key))))
        for view, wanted in views:
            self.assertEqual(content(view), wanted)
        for state, chunks in states:
            self.assertEqual([chunk for chunk in dump(state) if chunk], chunks)
        self.assertEqual(space.size, unseen.size)
        self.assertEqual(chunks_of(space), chunks_of(unseen))
        self.assertEqual(
            content(space.root), content(restored(chunks_of(unseen)).root)
        )  # whose nodes are counted anew

    @settings(max_examples=examples(60))
    @given(histories, st.lists(st.tuples(st.lists(sets | anything, max_size=8), st.booleans()), max_size=6))
    def test_batches_leave_views_as_they_were(
        self, some: list[c.Command], batches: list[tuple[list[c.Command], bool]]
    ) -> None:
        """So do commands that are carried out in one go, whoever looks between two batches."""
        space, copied = KeySpace(), KeySpace()
        run(space, some)
        run(copied, some)
        views: list[tuple[Node, Content]] = []
        for batch, is_viewed in batches:
            if is_viewed:
                views.append((space.root, content(copied.root)))
            run_together(space, batch)
            run(copied, batch)
        for view, wanted in views:
            self.assertEqual(content(view), wanted)
        self.assertEqual(content(space.root), content(copied.root))

    @settings(max_examples=examples(40))
    @given(histories, st.lists(anything, max_size=20), st.lists(anything, max_size=20))
    def test_key_spaces_that_share_a_view_do_not_touch_each_other(
        self, some: list[c.Command], mine: list[c.Command], others: list[c.Command]
    ) -> None:
        """As of a key space that takes over the state of another one, while both go on."""
        space, alone = KeySpace(), KeySpace()
        run(space, some)
        run(alone, some)
        again = KeySpace()
        again.restore(space.state(), restored(chunks_of(alone))._schedule)
        before = content(space.root)
        run(again, others)
        self.assertEqual(content(space.root), before)
        after = content(again.root)
        self.assertEqual(run(space, mine), run(alone, mine))
        self.assertEqual(content(again.root), after)
        self.assertEqual(chunks_of(space), chunks_of(alone))

    def test_trees_are_equal_if_they_hold_the_same(self) -> None:
        """Whoever has asked for a view of them before."""
        space, other = (key_space(c.Set("/a/b", 0, "1"), c.Set("/a/c", 0, "1")) for _ in range(2))
        self.assertTrue(space.root.children)
        self.assertTrue(space.root == other.root)
        self.assertFalse(space.root != other.root)
        other.apply(c.Set("/a/b", 0, "2"))
        self.assertFalse(space.root == other.root)
        self.assertTrue(space.root != other.root)

    def test_nothing_is_copied_between_two_views(self) -> None:
        """A change copies the directories on its path only if somebody may have them, and shares all others."""
        space = key_space(c.Set("/a/b/x", 0, "1"), c.Set("/a/c/x", 0, "1"))
        before = space.root
        space.apply(c.Set("/a/b/x", 0, "2"))
        first = [tree.find(space._root, key) for key in ("/", "/a", "/a/b", "/a/c")]
        for value in ("3", "long" * 10, "é"):
            space.apply(c.Set("/a/b/x", 0, value))
            space.apply(c.Set("/a/b/" + value, 0))
        now = [tree.find(space._root, key) for key in ("/", "/a", "/a/b", "/a/c")]
        self.assertEqual(list(map(id, now)), list(map(id, first)))
        old = [tree.find(before, key) for key in ("/", "/a", "/a/b", "/a/c")]
        self.assertEqual([a is b for a, b in zip(now, old, strict=True)], [False, False, False, True])

    @given(histories, st.lists(anything, max_size=20))
    def test_a_failed_command_copies_nothing(self, some: list[c.Command], more: list[c.Command]) -> None:
        """So a view is the very same object as before if no command in between has succeeded."""
        space = KeySpace()
        run(space, some)
        for command in more:
            root, index = space.root, space.index
            outcome(space, command)
            self.assertEqual(space.root is root, space.index == index)


class _Name(str):
    """A name of which many others have the hash."""

    __slots__ = ()

    def __hash__(self) -> int:
        return sum(map(ord, self)) % 3 << 5 * (len(self) % 2)


class MutationTests(SynchronousTestCase):
    """Tests of what the tree relies on in the library of persistent maps."""

    @settings(max_examples=examples(100))
    @given(
        st.integers(0, 200),
        st.lists(
            st.tuples(st.text("abc", max_size=3), st.sampled_from(["put", "put", "remove", "view"])), max_size=60
        ),
    )
    def test_a_mutation_changes_no_map(self, size: int, steps: list[tuple[str, str]]) -> None:
        """Each map that a mutation came from or became stays as it was, with names of the same hash too."""
        model = {str(number): -1 for number in range(size)}
        before = immutables.Map[str, int](model)
        maps = [(before, dict(model))]
        mutation = before.mutate()
        for number, (text, step) in enumerate(steps):
            name = _Name(text)
            if step == "put":
                mutation[name] = model[name] = number
            elif step == "remove" and name in model:
                del mutation[name], model[name]
            elif step == "view":
                maps.append((mutation.finish(), dict(model)))
                mutation = maps[-1][0].mutate()
            self.assertEqual((mutation.get(name), len(mutation)), (model.get(name), len(model)))
        for each, wanted in [*maps, (mutation.finish(), model)]:
            self.assertEqual((dict(each.items()), len(each)), (wanted, len(wanted)))
