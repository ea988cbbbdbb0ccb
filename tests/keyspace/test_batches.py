"""
Tests of commands that are carried out in one go: they do what each of them does alone.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace.commands import Command, Set
from etcd_twisted.keyspace.history import MAX_CACHED_EVENT_BYTES
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.running import chunks_of, json_of, run
from tests.keyspace.strategies import anything, histories, keys, times, values
from tests.keyspace.test_tree import nodes

plain_sets = st.builds(Set, key=keys, time=times, value=values)
"""The command that is carried out in one go with others like it."""

batches = st.lists(st.lists(plain_sets | plain_sets | anything, max_size=12), max_size=6)


def watched(space: KeySpace) -> list[tuple[str, str]]:
    """Returns a list to which all that watchers of some keys are told is added, once it is delivered."""
    told: list[tuple[str, str]] = []
    for key, recursive in (("/", True), ("/a", True), ("/b/1", False)):
        space.watch(key, recursive, True, None, lambda event, key=key: told.append((key, json_of(event))))
    return told


class SameTests(SynchronousTestCase):
    def assertSame(self, one: KeySpace, other: KeySpace) -> None:
        """Asserts that two key spaces can't be told apart."""
        self.assertEqual(one.index, other.index)
        self.assertEqual(one.state(), other.state())
        self.assertEqual(chunks_of(one), chunks_of(other))
        self.assertEqual(one.ttls, other.ttls)
        self.assertEqual(one.statistics(), other.statistics())

    @given(histories, batches, st.sampled_from([(1_000, 1 << 20), (5, 1 << 20), (1_000, 3_000), (1, 1)]))
    def test_batches_do_what_each_command_does(
        self, before: list[Command], several: list[list[Command]], bounds: tuple[int, int]
    ) -> None:
        """The tree, the index, the counters, the TTLs, the history and what watchers are told are the same."""
        alone, together = (KeySpace(bounds[0], history_bytes=bounds[1]) for _ in range(2))
        for space in (alone, together):
            run(space, before)
        told_alone, told_together = watched(alone), watched(together)
        for batch in several:
            run(alone, batch)
            together.apply_all(batch)
            self.assertSame(alone, together)
        while alone.hub.deliver(100) or together.hub.deliver(100):
            pass
        self.assertEqual(told_alone, told_together)

    @given(histories, st.lists(plain_sets, min_size=1))
    def test_a_batch_leaves_the_old_tree_as_it_was(self, before: list[Command], batch: list[Command]) -> None:
        """Whoever holds the root from before sees the very same nodes."""
        space = KeySpace()
        run(space, before)
        root, there = space.root, nodes(space.root)
        space.apply_all(batch)
        self.assertEqual({key: id(node) for key, node in nodes(root).items()}, {k: id(n) for k, n in there.items()})

    def test_the_json_of_large_events_is_not_kept(self) -> None:
        """Watchers have the JSON of each event made. The history holds on to that of small ones only."""
        batch = [Set("/a", 0, size * "x") for size in (MAX_CACHED_EVENT_BYTES, 1, 1)]
        space = KeySpace()
        watched(space)
        space.apply_all(batch)
        space.hub.deliver(100)
        kept = [event._body is not None for event in space.state().history]
        self.assertEqual(kept, [False, False, True])  # the second one shows the large value before

    def test_an_empty_batch(self) -> None:
        """It changes nothing."""
        space = KeySpace()
        space.apply_all([])
        self.assertSame(space, KeySpace())
