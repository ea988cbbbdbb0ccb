"""
Queues as the key space holds them, and as a machine follows them event by event.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import Change, CreateInOrder, Delete, Refresh, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.modules.lock_queue import PREFIX, LockQueue, entry_index, entry_value, lock_directory, read_queue
from tests.web.modules.lockers import QUEUE

KEYS = st.sampled_from(
    [
        QUEUE,
        *(f"{QUEUE}/{name}" for name in ("2", "3", "5", "10", "05", "x", "3/4", "x/5")),
        *(f"{QUEUE}/{number:020}" for number in (2, 5)),
    ]
)
ABOVE = st.sampled_from(["/_etcd/mod/lock", "/_etcd", QUEUE + "2", "/other"])
CHANGES = st.lists(
    st.one_of(
        st.builds(CreateInOrder, st.just(QUEUE), st.just(0), st.sampled_from(["", "a", "b"])),
        st.builds(Set, KEYS, st.just(0), st.sampled_from(["", "a", "b"]), st.booleans()),
        st.builds(Delete, KEYS | ABOVE, st.just(0), st.just(False), st.booleans()),
        st.builds(Refresh, KEYS, st.just(0), st.just(10**15)),
    ),
    max_size=30,
)


class QueueTests(SynchronousTestCase):
    def contents(self, queue: LockQueue | None) -> list[tuple[int, dict[str, list[int]]]]:
        """Returns everything that a queue exposes."""
        queue = queue or LockQueue(FakeReplica(Clock()))
        return [(index, {value: queue.with_value(value) for value in "ab"}) for index in queue]

    @given(st.booleans(), CHANGES, CHANGES)
    def test_following_events_agrees_with_reading(self, pads: bool, before: list[Change], after: list[Change]) -> None:
        """Whatever happens, both queues are equal, and the one that follows events reports which entries went."""
        replica = FakeReplica(Clock())
        replica.keyspace.pads_in_order_keys = pads
        self.run_all(replica, before)
        queue = read_queue(replica, QUEUE) or LockQueue(replica)
        known = set(queue)
        gone: list[int] = []

        def follow(event: Event) -> None:
            known.update(queue)
            gone.extend(queue.apply(QUEUE, event))
            known.update(queue)

        replica.watch(QUEUE, True, True, None, follow)
        self.run_all(replica, after)
        replica.clock.advance(0)
        self.assertEqual(self.contents(queue), self.contents(read_queue(replica, QUEUE)))
        self.assertEqual(set(gone) - known, set())
        self.assertEqual(known - set(queue) - set(gone), set())
        self.assertEqual(queue.first, min(queue, default=None))
        replica.stop()

    def run_all(self, replica: FakeReplica, changes: list[Change]) -> None:
        for change in changes:
            try:
                replica.keyspace.apply(change)
            except EtcdError:
                continue  # a command that is refused changes nothing

    def test_names_of_entries_are_indexes(self) -> None:
        """Indexes count in the form that keys show them, and in no other."""
        replica = FakeReplica(Clock())
        for name, index in (("0", 0), ("7", 7), ("18446744073709551615", 2**64 - 1)):
            self.assertEqual(entry_index(replica, name), index)
        for name in ("", "07", "00", "-1", "+1", "1.0", "x", "\u0663", "9" * 20, "9" * 5_000, f"{7:020}"):
            self.assertIsNone(entry_index(replica, name))
        replica.keyspace.pads_in_order_keys = True
        for name, index in (("0" * 20, 0), (f"{7:020}", 7), ("18446744073709551615", 2**64 - 1)):
            self.assertEqual(entry_index(replica, name), index)
        for name in ("", "0", "7", f"{7:019}", f"{7:021}", "-0000000000000000001", "x" * 20, "9" * 20):
            self.assertIsNone(entry_index(replica, name))

    def test_names_of_locks_are_clean_keys(self) -> None:
        """Every key except the root is a name."""
        for name, key in (("a", "/a"), ("//a/./b//", "/a/b"), ("../../a", "/a")):
            self.assertEqual(lock_directory(name), PREFIX + key)
        for name in ("", "/", "..", "a/.."):
            self.assertIsNone(lock_directory(name))

    def test_only_an_entry_has_a_value(self) -> None:
        """Other nodes have no value."""
        replica = FakeReplica(Clock())
        self.run_all(replica, [Set(f"{QUEUE}/2", 0, ""), Set(f"{QUEUE}/3", 0, "v"), Set(f"{QUEUE}/4/5", 0, "w")])
        self.assertEqual([entry_value(replica, QUEUE, index) for index in range(1, 6)], [None, "", "v", None, None])
        self.assertIsNone(entry_value(replica, f"{QUEUE}/3", 1))
        self.assertIsNone(read_queue(replica, f"{QUEUE}/3"))
