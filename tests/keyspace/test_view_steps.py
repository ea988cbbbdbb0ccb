"""
Tests of readers that take many steps: listings and snapshots that are made piece by piece while the key space changes,
and key spaces that begin with the state of another one. Each shows what a plain dictionary held at its first moment.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace import nodes, snapshot
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.listing import Listing
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.sizes import NODE_BYTES, text_bytes
from etcd_twisted.keyspace.snapshot import SnapshotLoader, dump
from etcd_twisted.keyspace.space import KeySpace
from tests import examples
from tests.keyspace.model import Entry, Model
from tests.keyspace.running import directory, expected, outcome, run_together
from tests.keyspace.strategies import anything, changes, histories
from tests.keyspace.test_batches import plain_sets

NOW = 7_000_000


def entries(root: Directory) -> dict[str, Entry]:
    """Returns all nodes below a root by key. Raises an error where a directory is wrong about how much it holds."""
    found: dict[str, Entry] = {}

    def add(prefix: str, above: Directory) -> tuple[int, int, int]:
        size = files = directories = 0
        for name, node in above.children.items():
            size += NODE_BYTES + text_bytes(name)
            if isinstance(node, File):
                found[prefix + name] = Entry(node.value, node.created, node.modified, node.expires)
                size, files = size + text_bytes(node.value), files + 1
            else:
                found[prefix + name] = Entry(None, node.created, node.modified, node.expires)
                more = add(f"{prefix}{name}/", node)
                size, files, directories = size + more[0], files + more[1], directories + more[2] + 1
        if (size, files, directories) != (above.size, above.files, above.directories):
            raise AssertionError(f"{prefix} says that it holds {above.size, above.files, above.directories}")
        return size, files, directories

    add("/", root)
    return found


def normal(shown: dict[str, Any]) -> dict[str, Any]:
    """Returns a node of a listing with its nodes sorted by key."""
    if "nodes" in shown:
        shown["nodes"] = sorted(map(normal, shown["nodes"]), key=lambda each: each["key"])
    return shown


@attrs.frozen
class Reader:
    """
    Somebody who reads step by step.

    @ivar steps: the steps that are left. Each yields bytes.
    @ivar check: called with all bytes.
    """

    steps: Iterator[bytes]
    check: Callable[[list[bytes]], None]
    read: list[bytes] = attrs.field(factory=list)

    def step(self, most: int) -> bool:
        """Read on. Returns whether there is more."""
        for _ in range(most):
            piece = next(self.steps, None)
            if piece is None:
                self.check(self.read)
                return False
            self.read.append(piece)
        return True


class Machine:
    """A key space beside its model, and its readers."""

    def __init__(self, case: SynchronousTestCase) -> None:
        """
        @param case: makes the assertions.
        """
        self._case = case
        self.space, self.model = KeySpace(), Model()
        self.readers: list[Reader] = []

    def apply(self, command: c.Command) -> None:
        """Carry out a command."""
        self._case.assertEqual(outcome(self.space, command), expected(self.model, command))

    def apply_all(self, batch: list[c.Command]) -> None:
        """Carry out several commands in one go."""
        wanted = [expected(self.model, command) for command in batch]
        self._case.assertEqual(run_together(self.space, batch), wanted)

    def check(self) -> None:
        """Assert that the key space holds what the model does."""
        self._case.assertEqual((self.space.index, entries(self.space.root)), (self.model.index, self.model.entries))

    def dump(self) -> None:
        """Begin to write a snapshot."""
        wanted, index = dict(self.model.entries), self.model.index

        def check(chunks: list[bytes]) -> None:
            loader = SnapshotLoader()
            for chunk in chunks:
                loader.feed(chunk)
            state = loader.finish()
            self._case.assertEqual((state.index, entries(state.root)), (index, wanted))

        self.readers.append(Reader(dump(self.space.state()), check))

    def list(self, number: int, recursive: bool, ordered: bool) -> None:
        """Begin to list one of the directories."""
        keys = ["/", *sorted(key for key, entry in self.model.entries.items() if entry.is_directory)]
        key = keys[number % len(keys)]
        wanted = normal(self.model.listing(key, NOW, recursive, ordered))
        listing = Listing(recursive, ordered, NOW, piece_nodes=1)

        def check(pieces: list[bytes]) -> None:
            self._case.assertEqual(normal(json.loads(b"".join(pieces))), wanted)

        self.readers.append(Reader(listing.pieces(key, directory(self.space.get(key))), check))

    def look(self) -> None:
        """Keep the root, and look at it later."""
        root, wanted = self.space.root, dict(self.model.entries)
        self.readers.append(Reader(iter([b""] * 9), lambda _: self._case.assertEqual(entries(root), wanted)))

    def reload(self) -> None:
        """Take over the state that is there."""
        self.space.restore(self.space.state(), self.space._schedule)

    def twin(self) -> "Machine":
        """Returns another one that begins with the state of this one, and shares its nodes."""
        twin = Machine(self._case)
        schedule = ExpirySchedule()
        for key, entry in self.model.entries.items():
            schedule.set(key, entry.expires)
        twin.space.restore(self.space.state(), schedule)
        model = twin.model
        model.entries, model.index = dict(self.model.entries), self.model.index
        model.padded = self.model.padded
        return twin

    def step(self, number: int, most: int) -> None:
        """Advance one of the readers by a step."""
        if self.readers:
            reader = self.readers[number % len(self.readers)]
            if not reader.step(most):
                self.readers.remove(reader)


numbers = st.integers(0, 9)
applying = st.tuples(st.just("apply"), anything | changes) | st.tuples(
    st.just("apply_all"), st.lists(plain_sets | plain_sets | anything, min_size=1, max_size=8)
)
reading = st.tuples(st.just("dump")) | st.tuples(st.just("list"), numbers, st.booleans(), st.booleans())
stepping = st.tuples(st.just("step"), numbers, st.integers(1, 3))
sharing = st.tuples(st.sampled_from(["look", "twin", "reload"]))
moves = st.lists(
    st.tuples(numbers, applying | applying | applying | reading | reading | stepping | sharing),
    min_size=20,
    max_size=60,
)


class StepTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Set small limits, so that even a directory of a few nodes takes many steps."""
        self.patch(nodes, "MAX_BATCH_NAMES", 2)
        self.patch(nodes, "_SAMPLE_INTERVAL", 1)
        self.patch(snapshot, "_CHUNK_BYTES", 600)

    @settings(max_examples=examples(100))
    @given(histories, moves)
    def test_each_reader_sees_one_moment(self, some: list[c.Command], moves: list[tuple[int, Any]]) -> None:
        """Whatever is changed between its steps, here and in key spaces that share its nodes."""
        first = Machine(self)
        for command in some:
            first.apply(command)
        machines = [first]
        for number, (what, *arguments) in moves:
            machine = machines[number % len(machines)]
            if what != "twin":
                getattr(machine, what)(*arguments)
            elif len(machines) < 3:
                machines.append(machine.twin())
        for machine in machines:
            machine.check()
            while machine.readers:
                machine.step(0, 100)
        for machine in machines:
            machine.check()
