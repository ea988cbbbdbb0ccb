"""
Tests of commands that are carried out in one go: they do what each of them does alone.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import (
    Command,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    Delete,
    Expire,
    PadInOrderKeys,
    Set,
    SetTtl,
    Update,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.history import MAX_CACHED_EVENT_BYTES
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.snapshot import SnapshotLoader
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.running import chunks_of, json_of, key_space, run, run_together, shown
from tests.keyspace.strategies import anything, histories, keys, plain_sets, times, values
from tests.keyspace.test_tree import nodes

cluster_keys = st.sampled_from(["/_etcd", "/_etcd/_auth", "/_etcd/x"])
expiries = st.none() | st.integers(1, 3)
cluster_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Set, cluster_keys, st.just(0), values, st.booleans(), expiries),
    st.builds(Update, cluster_keys, st.just(0), values, st.just(True), expiries),
    st.builds(CompareAndSwap, cluster_keys, st.just(0), values | st.none(), expiries),
    st.builds(SetTtl, cluster_keys, st.just(0), st.integers(1, 3)),
    st.builds(Delete, cluster_keys, st.just(0), st.booleans(), st.booleans()),
    st.builds(CompareAndDelete, cluster_keys, st.just(0)),
    st.builds(Expire, st.integers(1, 3), st.integers(1, 2)),
)

batches = st.lists(st.lists(plain_sets | plain_sets | anything, max_size=12), max_size=6)


def below_cluster_keys(space: KeySpace) -> dict[str, object]:
    """Returns the files that are below L{CLUSTER_KEYS}."""
    return {key: space.peek(key) for key in ("/_etcd/_auth", "/_etcd/x") if isinstance(space.peek(key), File)}


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
        """Outcomes, tree, index, counters, TTLs, history and what watchers are told are the same."""
        alone, together = (KeySpace(bounds[0], history_bytes=bounds[1]) for _ in range(2))
        for space in (alone, together):
            run(space, before)
        told_alone, told_together = watched(alone), watched(together)
        for batch in several:
            self.assertEqual(run_together(together, batch), run(alone, batch))
            self.assertSame(alone, together)
        while alone.hub.deliver(100) or together.hub.deliver(100):
            pass
        self.assertEqual(told_alone, told_together)

    @given(histories, st.lists(plain_sets, min_size=1))
    def test_a_batch_leaves_the_old_tree_as_it_was(self, before: list[Command], batch: list[Command]) -> None:
        """A reader that holds the root from before sees the very same nodes."""
        space = KeySpace()
        run(space, before)
        root, there = space.root, nodes(space.root)
        run_together(space, batch)
        self.assertEqual({key: id(node) for key, node in nodes(root).items()}, {k: id(n) for k, n in there.items()})

    def test_the_json_of_large_events_is_not_kept(self) -> None:
        """Watchers have the JSON of each event made. The history holds on to that of small ones only."""
        batch = [Set("/a", 0, size * "x") for size in (MAX_CACHED_EVENT_BYTES, 1, 1)]
        space = KeySpace()
        watched(space)
        run_together(space, batch)
        space.hub.deliver(100)
        kept = [event._body is not None for event in space.state().history]
        self.assertEqual(kept, [False, False, True])  # the second one shows the large value before

    def test_an_empty_batch(self) -> None:
        """It changes nothing."""
        space = KeySpace()
        self.assertEqual(run_together(space, []), [])
        self.assertSame(space, KeySpace())

    def test_outcomes_before_a_failure(self) -> None:
        """The outcomes of the commands before the one that raises are known to the caller."""
        space, outcomes = KeySpace(), list[Event | EtcdError | None]()
        several = [Set("/a", 0, "1"), Create("/a", 0), PadInOrderKeys(0), Set("/a", 0, "2"), None, Set("/b", 0, "3")]
        with self.assertRaises(TypeError):
            space.apply_all(several, outcomes)  # type: ignore[arg-type]
        self.assertEqual(list(map(shown, outcomes)), run(KeySpace(), several[:4]))  # type: ignore[arg-type]
        self.assertEqual(space.index, 2)

    @given(st.lists(st.lists(st.builds(Create, keys, times) | plain_sets, max_size=6), max_size=6))
    def test_outcomes_do_not_hold_what_made_them(self, several: list[list[Command]]) -> None:
        """An error that is kept does not keep the batch."""
        space, outcomes = KeySpace(), list[Event | EtcdError | None]()
        for batch in several:
            space.apply_all(batch, outcomes)
        self.assertFalse([each for each in outcomes if isinstance(each, EtcdError) and each.__traceback__ is not None])


class ClusterKeysMarkTests(SynchronousTestCase):
    """A reader of a key below L{CLUSTER_KEYS} that reads again only when the mark has changed sees every change."""

    @given(
        st.lists(st.lists(plain_sets | cluster_commands | cluster_commands, max_size=4) | st.none(), max_size=10),
        st.booleans(),
    )
    def test_no_change_is_missed(self, several: list[list[Command] | None], is_there: bool) -> None:
        """Not by a put, a delete or an expiry of the key or of its directory, in a batch, and not by a restore."""
        space, mark, seen = KeySpace(), object(), dict[str, object]()
        old = chunks_of(key_space(Set("/_etcd/_auth", 0, "old") if is_there else Set("/a", 0)))
        for batch in several:
            if batch is None:
                loader = SnapshotLoader()
                for chunk in old:
                    loader.feed(chunk)
                space.restore(loader.finish(), loader.schedule)
            else:
                run_together(space, batch)
            if space.cluster_keys_mark is not mark:
                mark, seen = space.cluster_keys_mark, below_cluster_keys(space)
            self.assertEqual(below_cluster_keys(space), seen)

    def test_other_keys_do_not_change_it(self) -> None:
        """Neither do commands that fail."""
        space = key_space(Set("/_etcd/x", 0, ""))
        mark = space.cluster_keys_mark
        run_together(space, [Set("/a", 0, ""), Set("/b/c", 0, "", False, 5), Expire(9, 9), Create("/_etcd/x", 0)])
        self.assertIs(space.cluster_keys_mark, mark)
