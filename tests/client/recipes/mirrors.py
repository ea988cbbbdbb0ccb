"""
What tests of mirrors and caches share: the history of a directory in the store, and changes of it.

This module must never look into a recipe: it sees what users see, and the keys in the store.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, Node, Reading
from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import (
    Change,
    Command,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Refresh,
    Set,
)
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.paths import join
from etcd_twisted.keyspace.space import KeySpace, Outcome
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.testing.replica import FakeReplica
from tests.client.store import Store

DIRECTORY = "/config"

Files = dict[str, tuple[str, int]]
"""The value and the created index of each key."""


def listed(root: Directory, directory: str = DIRECTORY) -> dict[str, File | Directory]:
    """Returns what a recursive listing of a directory shows below it."""

    def below(key: str, node: Directory) -> Iterator[tuple[str, File | Directory]]:
        for name, child in node.children.items():
            if not name.startswith("_"):
                yield join(key, name), child
                if isinstance(child, Directory):
                    yield from below(join(key, name), child)

    top = root.children.get(directory[1:])
    return dict(below(directory, top)) if isinstance(top, Directory) else {}


def files_of(nodes: Mapping[str, File | Directory]) -> Files:
    return {key: (node.value, node.created) for key, node in nodes.items() if isinstance(node, File)}


def files_in(mirror: Mapping[str, Node]) -> Files:
    return {key: (node.value or "", node.created_index) for key, node in mirror.items()}


class Recorder:
    """
    Records the directory at each index.

    @ivar states: what it held, by index.
    """

    def __init__(self, test: SynchronousTestCase, store: Store) -> None:
        self.states: dict[int, dict[str, File | Directory]] = {}
        self._keyspace = store.replica.keyspace
        for name in ("_published_event", "_silent_event"):
            test.patch(KeySpace, name, self._recording(getattr(KeySpace, name)))
        test.patch(KeySpace, "apply_all", self._one_by_one(self._recording(KeySpace.apply_all)))
        self.states[self._keyspace.index] = {}

    def _one_by_one(self, apply_all: Callable[..., Any]) -> Callable[..., None]:
        """Returns what carries out several commands so that there is a state after each."""

        def apply_each(space: KeySpace, several: Sequence[Command], outcomes: list[Outcome]) -> None:
            for command in several:
                apply_all(space, (command,), outcomes)

        return apply_each

    def _recording(self, make_event: Callable[..., Any]) -> Callable[..., Any]:
        def record(space: KeySpace, *arguments: Any) -> Any:
            event = make_event(space, *arguments)
            if space is self._keyspace:
                self.states[space.index] = listed(space.root)
            return event

        return record


class _HeldReplica(FakeReplica):
    """A replica whose events can be held back."""

    holds_events = False

    def _deliver(self) -> None:
        if self.holds_events:
            self._delivery = None
        else:
            super()._deliver()

    def watch(self, key: str, recursive: bool, stream: bool, since: int | None, *rest: Any, **options: Any) -> Watcher:
        watcher = super().watch(key, recursive, stream, since, *rest, **options)
        if since is not None and since <= self.index:  # a machine has the events of its history at once
            self.clock.callLater(0, super()._deliver)
        return watcher

    def release_events(self) -> None:
        self.holds_events = False
        self._deliver_soon()


class SlowStore(Store):
    """
    A store whose events and whose answers to listings can be held back, each by itself.

    @ivar holds_answers: whether clients get no answers to listings.
    """

    def __init__(self, test: SynchronousTestCase, history_capacity: int) -> None:
        clock = Clock()
        clock.advance(1_000)
        self.slow_replica = _HeldReplica(clock, history_capacity)
        super().__init__(test, replica=self.slow_replica)
        self.holds_answers = False
        self._answers: list[Callable[[], None]] = []

    def client(self) -> Client:
        client = super().client()
        self._test.patch(client, "list", self._holding_answers(client.list))
        return client

    def _holding_answers(self, request: "Callable[..., Deferred[Reading]]") -> "Callable[..., Deferred[Reading]]":
        def send(*arguments: Any, **keywords: Any) -> "Deferred[Reading]":
            answered = request(*arguments, **keywords)
            held: Deferred[Reading] = Deferred(lambda _: answered.cancel())

            def hold(result: Any) -> None:
                if self.holds_answers and not held.called:
                    self._answers.append(lambda: None if held.called else held.callback(result))
                elif not held.called:
                    held.callback(result)

            answered.addBoth(hold)
            return held

        return send

    def hold_events(self) -> None:
        self.slow_replica.holds_events = True

    def release_events(self) -> None:
        self.slow_replica.release_events()

    def hold_answers(self) -> None:
        self.holds_answers = True

    def release_answers(self) -> None:
        """Let clients have the answers that are held, and those to come."""
        self.holds_answers = False
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()


_KEYS = st.sampled_from(
    ["/config/a", "/config/b", "/config/c/a", "/config/c/b/c", "/config/_hidden", "/config/_hidden/a", "/elsewhere"]
)
_DIRECTORIES = st.sampled_from(["/config", "/config/c", "/config/c/b", "/config/d"])
_VALUES = st.sampled_from(["1", "2"])
_TTLS = st.one_of(st.none(), st.integers(1, 20))


def _expiry(store: Store, ttl_seconds: int | None) -> int | None:
    return None if ttl_seconds is None else store.replica.now() + ttl_seconds * 1_000_000


def _set(key: str, value: str, ttl: int | None) -> Callable[[Store], Change]:
    return lambda store: Set(key, store.replica.now(), value, expires=_expiry(store, ttl))


def _make(key: str, ttl: int | None) -> Callable[[Store], Change]:
    return lambda store: Create(key, store.replica.now(), "", True, _expiry(store, ttl))


def _refresh(key: str, ttl: int) -> Callable[[Store], Change]:
    return lambda store: Refresh(key, store.replica.now(), store.replica.now() + ttl * 1_000_000)


_CHANGES = st.one_of(
    st.builds(_set, _KEYS, _VALUES, _TTLS),
    st.builds(_make, _DIRECTORIES, _TTLS),
    st.builds(_refresh, st.one_of(_KEYS, _DIRECTORIES), st.integers(1, 20)),
    st.builds(lambda key, value: lambda store: CreateInOrder(key, store.replica.now(), value), _DIRECTORIES, _VALUES),
    st.builds(lambda key, value: lambda store: CompareAndSwap(key, store.replica.now(), value), _KEYS, _VALUES),
    st.builds(lambda key: lambda store: CompareAndDelete(key, store.replica.now()), _KEYS),
    st.builds(
        lambda key, recursive: lambda store: Delete(key, store.replica.now(), True, recursive),
        st.one_of(_KEYS, _DIRECTORIES),
        st.booleans(),
    ),
)


def _apply(make: Callable[[Store], Change], count: int) -> Callable[[Store], None]:
    def apply(store: Store) -> None:
        for _ in range(count):
            try:
                store.replica.apply(make(store))
            except EtcdError:  # it can't be done in this state
                store.replica.apply()

    return apply


def _break(store: Store) -> None:
    store.cut()
    store.heal()


def _end_watches(store: Store) -> None:
    store.replica.keyspace.hub.end_all()
    store.advance(0)


def steps() -> "st.SearchStrategy[list[Callable[[SlowStore], object]]]":
    """
    Returns a strategy for what happens to a store: changes, time that passes, outages, ends of all watches, and
    messages that take their time.
    """
    changes = st.lists(st.builds(_apply, _CHANGES, st.sampled_from([1, 1, 1, 7])), max_size=4)
    passing = st.sampled_from([0, 0.001, 0.3, 1, 3, 35]).map(lambda seconds: lambda store: store.advance(seconds))
    trouble = st.sampled_from(
        [
            lambda _: None, SlowStore.cut, SlowStore.heal, _break, _end_watches, SlowStore.hold_events,
            SlowStore.release_events, SlowStore.hold_answers, SlowStore.release_answers,
        ]
    )  # fmt: skip
    few_troubles = st.lists(trouble, max_size=2)
    rounds = st.lists(st.tuples(few_troubles, changes, passing), min_size=4, max_size=12)
    return rounds.map(lambda found: [step for before, made, after in found for step in (*before, *made, after)])
