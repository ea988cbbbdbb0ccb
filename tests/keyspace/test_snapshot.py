"""
Tests of snapshots: the same content gives the same bytes everywhere, and nothing is lost in a round trip.
"""

import hashlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import immutables
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import StorageError
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.keyspace.snapshot import SnapshotLoader, dump
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState
from etcd_twisted.keyspace.statistics import CommandCounts
from tests import examples
from tests.keyspace.model import SECOND
from tests.keyspace.running import chunks_of, json_of, key_space, outcome, restored, run
from tests.keyspace.strategies import anything, histories
from tests.keyspace.trees import Counting, bush, chain, looked_at

Commands = list[c.Command]

capacities = st.sampled_from([1, 5, 1_000])


def retained(space: KeySpace) -> list[str]:
    """Returns the history, as JSON."""
    return [json_of(event) for event in space.state().history]


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=examples(80))
    @given(histories, capacities)
    def test_a_snapshot_loses_nothing(self, some: Commands, capacity: int) -> None:
        """
        The tree, the TTLs, the index, the history, what is missing of it, and the counters come back, and a second
        dump is the same.
        """
        space = KeySpace(capacity)
        run(space, some)
        again = restored(chunks_of(space), history_capacity=capacity)
        self.assertEqual(chunks_of(again), chunks_of(space))
        self.assertEqual(again.index, space.index)
        self.assertEqual(again.next_expiry(), space.next_expiry())
        self.assertEqual(retained(again), retained(space))
        self.assertEqual(again.state().cleared_index, space.state().cleared_index)
        self.assertEqual(again.statistics(), space.statistics())

    @settings(max_examples=examples(80))
    @given(histories, st.lists(anything, max_size=30), capacities)
    def test_a_restored_key_space_goes_on_the_same(self, before: Commands, after: Commands, capacity: int) -> None:
        """
        A key space that is restored in the middle behaves like the one that went on: answers, errors, expiry,
        snapshots.
        """
        space = KeySpace(capacity)
        run(space, before)
        again = restored(chunks_of(space), history_capacity=capacity)
        for command in after:
            self.assertEqual(outcome(again, command), outcome(space, command))
            self.assertEqual(again.next_expiry(), space.next_expiry())
        self.assertEqual(chunks_of(again), chunks_of(space))

    @settings(max_examples=examples(50))
    @given(histories, st.lists(anything, min_size=1, max_size=20))
    def test_a_snapshot_holds_the_state_as_it_was(self, before: Commands, after: Commands) -> None:
        """A change that happens while a snapshot is written is not in it."""
        space = KeySpace()
        run(space, before)
        wanted = chunks_of(space)
        dumping = dump(space.state())
        changes = iter(after)
        written = []
        for chunk in dumping:
            written.append(chunk)
            run(space, [command for command, _ in zip(changes, range(3), strict=False)])
        self.assertEqual([chunk for chunk in written if chunk], wanted)

    @settings(max_examples=examples(50))
    @given(st.lists(st.text(min_size=1, max_size=3), unique=True, min_size=1), st.randoms(use_true_random=False))
    def test_the_order_of_changes_makes_no_difference(self, names: list[str], order: random.Random) -> None:
        """The order in which a directory was filled does not show."""
        dumps = []
        for _ in range(2):
            order.shuffle(names)
            children = immutables.Map({name: File("x", 1, 1) for name in names})
            dumps.append(list(dump(KeySpaceState(Directory(children), 1, CommandCounts(), (), 0))))
        self.assertEqual(dumps[0], dumps[1])

    @settings(max_examples=examples(50))
    @given(histories, capacities)
    def test_restoring_into_a_smaller_history(self, some: Commands, capacity: int) -> None:
        """
        A machine that keeps a shorter history than the snapshot holds reports from which index on it has the history.
        """
        space, shorter = KeySpace(), KeySpace(capacity)
        run(space, some)
        run(shorter, some)
        again = restored(chunks_of(space), history_capacity=capacity)
        self.assertEqual(retained(again), retained(shorter))
        self.assertEqual(again.state().cleared_index, shorter.state().cleared_index)

    @settings(max_examples=examples(80))
    @given(histories, st.data())
    def test_damaged_chunks_are_refused(self, some: Commands, data: st.DataObject) -> None:
        """Any bytes result in a key space or in a L{StorageError}."""
        space = KeySpace()
        run(space, some)
        chunks = chunks_of(space)
        number = data.draw(st.integers(0, len(chunks) - 1))
        damaged = bytearray(chunks[number])
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(damaged) - 1))
            damaged[position] = data.draw(st.integers(0, 255))
        chunks[number] = bytes(damaged)
        try:
            again = restored(chunks)
        except StorageError:
            return
        # What is left may mean something else, which only the code that stores the chunks can know; but it is a key
        # space.
        self.assertEqual(chunks_of(restored(chunks_of(again))), chunks_of(again))

    @settings(max_examples=examples(50))
    @given(histories, st.data())
    def test_truncated_snapshots_are_refused(self, some: Commands, data: st.DataObject) -> None:
        """A chunk that is cut short is refused."""
        space = KeySpace()
        run(space, some)
        chunks = chunks_of(space)
        number = data.draw(st.integers(0, len(chunks) - 1))
        chunks[number] = chunks[number][: data.draw(st.integers(1, len(chunks[number]) - 1))]
        self.assertRaises(StorageError, restored, chunks)


class DeterminismTests(SynchronousTestCase):
    def test_every_process_makes_the_same_bytes(self) -> None:
        """Two processes whose hashes differ write the same bytes from the same log."""
        seeded = random.Random(1)
        log: list[c.Command] = []
        for number in range(3_000):
            key = f"/{seeded.randrange(20)}/{seeded.choice('abcdefgh')}/{seeded.randrange(300)}"
            log.append(c.Set(key, number, str(number), expires=seeded.choice([None, 10**9, number + 100])))
            if number % 50 == 0:
                log.append(c.Expire(number, 20))
            if number % 300 == 299:
                log.append(c.Delete(f"/{seeded.randrange(20)}", number, recursive=True))
        log += [c.Set(f"/wide/{number}", 3_000, number % 700 * "x") for number in range(3_000)]
        encoded = msgspec.msgpack.encode([c.encode_command(command) for command in log])
        space = KeySpace()
        run(space, log)
        wanted = hashlib.sha256(b"".join(chunks_of(space))).hexdigest()
        script = (
            "import hashlib, sys, msgspec\n"
            "from tests.keyspace.running import *\n"
            "from etcd_twisted.keyspace.commands import decode_command\n"
            "space = KeySpace()\n"
            "run(space, map(decode_command, msgspec.msgpack.decode(sys.stdin.buffer.read())))\n"
            "print(hashlib.sha256(b''.join(chunks_of(space))).hexdigest())\n"
        )
        for seed in ("1", "2"):
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(
                [sys.executable, "-c", script], input=encoded, env=environment, capture_output=True, check=False
            )
            self.assertEqual((done.stdout.decode().strip(), done.stderr.decode()), (wanted, ""))


class RestoreTests(SynchronousTestCase):
    def test_watchers_stay_when_a_snapshot_is_restored(self) -> None:
        """A watcher goes on waiting, and sees what the snapshot says has happened meanwhile."""
        chunks = chunks_of(key_space(c.Set("/a", 0), c.Set("/b", 0), c.Set("/a", 0)))
        space = KeySpace()
        space.apply(c.Set("/a", 0))
        told: list[Event] = []
        space.watch("/a", False, True, None, told.append)
        loader = SnapshotLoader()
        for chunk in chunks:
            loader.feed(chunk)
        space.restore(loader.finish(), loader.schedule)
        space.apply(c.Set("/a", 0))
        space.hub.deliver(10)
        self.assertEqual([event.index for event in told], [3, 4])

    def test_watchers_end_that_may_have_missed_events(self) -> None:
        """A history that does not go back far enough can't show them what has happened meanwhile."""
        space = KeySpace()
        ended: list[str] = []
        told: list[Event] = []
        space.watch("/a", False, True, None, told.append, lambda: ended.append("/a"))
        whole = KeySpace(history_capacity=2)
        for _ in range(4):
            whole.apply(c.Set("/a", 0))
        loader = SnapshotLoader()
        for chunk in chunks_of(whole):
            loader.feed(chunk)
        space.restore(loader.finish(), loader.schedule)
        self.assertFalse(space.hub.deliver(10))
        self.assertEqual((told, ended, space.hub.count), ([], ["/a"], 0))

    def test_a_restored_key_space_shares_nothing(self) -> None:
        """Two key spaces made from one content, and the content, don't see each other's changes."""
        source = key_space(c.Set("/a", 0))
        content = source.state()
        spaces = [KeySpace(), KeySpace()]
        for space in spaces:
            loader = SnapshotLoader()
            for chunk in dump(content):
                loader.feed(chunk)
            space.restore(content, loader.schedule)
        spaces[0].apply(c.Set("/a", 0))
        source.apply(c.Set("/b", 0))
        self.assertEqual(spaces[1].statistics().sets_success, 1)
        self.assertEqual(b"".join(chunks_of(spaces[1])), b"".join(dump(content)))

    def test_removed_directories_leave_no_ttl_in_a_snapshot(self) -> None:
        """
        A key that was removed with its directory expires neither in the restored key space nor in the one that went
        on.
        """
        space = key_space(c.Set("/d/a", 0, expires=5 * SECOND), c.Delete("/d", 0, recursive=True), c.Set("/d/a", 0))
        again = restored(chunks_of(space))
        for each in (space, again):
            each.apply(c.Expire(9 * SECOND, 10))
            self.assertEqual((each.index, each.statistics().expire_count), (3, 0))

    def test_an_empty_key_space_is_restored(self) -> None:
        """A key space that nothing was written to has a snapshot too."""
        again = restored(chunks_of(KeySpace()))
        self.assertEqual((again.index, list(again.root.children)), (0, []))


class MissingChunkTests(SynchronousTestCase):
    """A snapshot that is not whole is refused, never accepted as a smaller one."""

    def setUp(self) -> None:
        space = key_space(*(c.Set(f"/{number:04}", 0, "x") for number in range(1_500)), history_capacity=1_600)
        run(space, [c.Set("/d/e/f", 0, "x" * 300_000), c.Set("/d/g", 0)])
        self.chunks = chunks_of(space)
        self.assertGreater(len(self.chunks), 6)

    def test_a_missing_chunk_is_noticed(self) -> None:
        """Each chunk is needed."""
        for number in range(len(self.chunks)):
            self.assertRaises(StorageError, restored, self.chunks[:number] + self.chunks[number + 1 :])

    def test_a_missing_end_is_noticed(self) -> None:
        """A snapshot that ends early is refused, wherever it ends."""
        for number in range(len(self.chunks)):
            self.assertRaises(StorageError, restored, self.chunks[:number])

    def test_a_chunk_that_comes_twice_is_noticed(self) -> None:
        for number, chunk in enumerate(self.chunks):
            self.assertRaises(StorageError, restored, [*self.chunks[:number], chunk, *self.chunks[number:]])

    def test_chunks_out_of_order_are_noticed(self) -> None:
        """Chunks of nodes, or ends of directories, in another order are refused."""
        nodes = [number for number, chunk in enumerate(self.chunks) if msgspec.msgpack.decode(chunk)[0] == "nodes"]
        for first, second in [(nodes[0], nodes[1]), (0, 1), (len(self.chunks) - 2, len(self.chunks) - 1)]:
            swapped = list(self.chunks)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            self.assertRaises(StorageError, restored, swapped)

    def test_something_else_is_not_a_snapshot(self) -> None:
        """What is no chunk is refused, with an error that says what it was."""
        for chunk in (b"\xc1", b"{}", msgspec.msgpack.encode(["other", 1]), msgspec.msgpack.encode(["head", "x"])):
            error = self.assertRaises(StorageError, restored, [chunk])
            self.assertIn("the snapshot", str(error))

    def test_text_that_is_not_utf8_is_refused(self) -> None:
        chunks = [chunk.replace(b"\xa40042", b"\xa400\xff2") for chunk in self.chunks]
        self.assertNotEqual(chunks, self.chunks)
        self.assertRaises(StorageError, restored, chunks)

    def test_more_ends_of_directories_than_beginnings(self) -> None:
        """The end of a directory that never began is refused."""
        chunks = list(self.chunks)
        chunks.insert(-1, msgspec.msgpack.encode(["nodes", [None]]))
        self.assertRaises(StorageError, restored, chunks)

    def test_a_name_that_comes_twice_is_refused(self) -> None:
        """Whether the nodes are files or not, and whether they have a TTL."""
        head, end = self.chunks[0], self.chunks[-1]
        for record in (["a", 1, 1, None, "x"], ["a", 1, 1, 5, "x"]):
            nodes = msgspec.msgpack.encode(["nodes", [record, record]])
            error = self.assertRaises(StorageError, restored, [head, nodes, end])
            self.assertIn("out of order", str(error))

    def test_empty_chunks_are_pauses(self) -> None:
        """Empty chunks mean nothing, wherever they are."""
        with_pauses = [chunk for each in self.chunks for chunk in (b"", each, b"")]
        again = restored(with_pauses, history_capacity=1_600)
        self.assertEqual(chunks_of(again), self.chunks)


class SizeTests(SynchronousTestCase):
    """A quota must mean the same after a restart."""

    @given(st.dictionaries(st.text("aé€𝄞", min_size=1, max_size=5), st.text("aé€𝄞", max_size=5), max_size=5))
    def test_the_size_is_as_before(self, values: dict[str, str]) -> None:
        space = key_space(*(c.Set(f"/{name}", 0, value) for name, value in values.items()))
        self.assertEqual(restored(chunks_of(space)).root.size, space.root.size)


class PieceTests(SynchronousTestCase):
    """Each chunk is a bounded amount of work, in nodes and in bytes."""

    def assertBounded(self, counting: Counting, steps: Iterator[bytes]) -> int:
        """Asserts that no step looks at more than two runs of nodes, and returns how many steps there were."""
        number = 0
        for count in looked_at(counting, steps):
            self.assertLessEqual(count, 2_048)
            number += 1
        return number

    def test_a_step_of_dumping_takes_a_bounded_number_of_nodes(self) -> None:
        """A step is bounded however the nodes are spread over directories."""
        for shape in (bush(20, 5_000), bush(4_000, 1), bush(1, 20_000), chain(100, 300), chain(2_000, 3)):
            counting, content = shape
            self.assertBounded(counting, dump(content))
            self.assertGreater(counting.nodes, 4_000)

    def test_what_only_a_dump_holds_is_freed_in_bounded_steps(self) -> None:
        """A key space that was changed since costs no long step at the end of its dump."""
        space = KeySpace(1)
        keys = [f"/large/{number}" for number in range(5_000)]
        keys += [f"/small{directory}/{number}" for directory in range(20) for number in range(500)]
        values = [f"value {number}" for number in range(len(keys))]
        for key, value in zip(keys, values, strict=True):
            space.apply(c.Set(key, 0, value))
        chunks = dump(space.state())
        held = [sys.getrefcount(value) for value in values[:-1]]  # the last one is in the history
        next(chunks)
        for key in keys:
            space.apply(c.Set(key, 0, "changed"))
        before, most = 0, 0
        for _ in itertools.chain(chunks, [b"its end"]):
            freed = sum(sys.getrefcount(value) < count for value, count in zip(values, held, strict=False))
            before, most = freed, max(most, freed - before)
        self.assertEqual(before, len(keys) - 1)
        self.assertLessEqual(most, 2_048)

    def test_small_directories_share_a_step(self) -> None:
        """Many small directories don't make many small steps."""
        counting, content = bush(4_000, 1)
        self.assertLess(self.assertBounded(counting, dump(content)), 50)

    def test_a_chunk_has_a_bounded_number_of_nodes(self) -> None:
        """No chunk holds more than 1,024 nodes and ends of directories, nor many fewer on average."""
        _, content = bush(2_000, 5)
        records = [
            len(part[1]) for part in map(msgspec.msgpack.decode, filter(None, dump(content))) if part[0] == "nodes"
        ]
        self.assertEqual(sum(records), 2_000 * 7)
        self.assertLessEqual(max(records), 1_024)
        self.assertLess(len(records), sum(records) / 400)

    def test_a_chunk_has_a_bounded_number_of_bytes(self) -> None:
        """Long values and long names, in nodes and in the history, go into chunks of their own."""
        long = "x" * 100_000
        space = key_space(*(c.Set(f"/{number}/{long}", 0, long) for number in range(20)))
        sizes = [len(chunk) for chunk in dump(space.state())]
        self.assertGreater(sum(sizes), 20 * 400_000)
        self.assertLess(max(sizes), 800_000)
