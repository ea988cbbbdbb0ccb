"""
Lines before locks: as the key space holds them, and as they are followed event by event.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import Change, CreateInOrder, Delete, Refresh, Set
from etcd_twisted.keyspace.events import Event
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.modules.line import PREFIX, Line, directory_of, index_named, read_line, value_at
from tests.web.modules.lockers import LINE

KEYS = st.sampled_from([LINE, *(f"{LINE}/{name}" for name in ("2", "3", "5", "10", "05", "x", "3/4", "x/5"))])
ABOVE = st.sampled_from(["/_etcd/mod/lock", "/_etcd", LINE + "2", "/other"])
CHANGES = st.lists(
    st.one_of(
        st.builds(CreateInOrder, st.just(LINE), st.just(0), st.sampled_from(["", "a", "b"])),
        st.builds(Set, KEYS, st.just(0), st.sampled_from(["", "a", "b"]), st.booleans()),
        st.builds(Delete, KEYS | ABOVE, st.just(0), st.just(False), st.booleans()),
        st.builds(Refresh, KEYS, st.just(0), st.just(10**15)),
    ),
    max_size=30,
)


class LineTests(SynchronousTestCase):
    def contents(self, line: Line | None) -> list[tuple[int, dict[str, list[int]]]]:
        """Everything that a line tells."""
        line = line or Line()
        return [(index, {value: line.called(value) for value in "ab"}) for index in line]

    @given(CHANGES, CHANGES)
    def test_followed(self, before: list[Change], after: list[Change]) -> None:
        """Whatever happens, a line that is followed is what one is that is read, and it says which places went."""
        replica = FakeReplica(Clock())
        self.run_all(replica, before)
        line = read_line(replica, LINE) or Line()
        known = set(line)
        gone: list[int] = []

        def follow(event: Event) -> None:
            known.update(line)
            gone.extend(line.take(LINE, event))
            known.update(line)

        replica.watch(LINE, True, True, None, follow)
        self.run_all(replica, after)
        replica.clock.advance(0)
        self.assertEqual(self.contents(line), self.contents(read_line(replica, LINE)))
        self.assertEqual(set(gone) - known, set())
        self.assertEqual(known - set(line) - set(gone), set())
        self.assertEqual(line.first, min(line, default=None))
        replica.stop()

    def run_all(self, replica: FakeReplica, changes: list[Change]) -> None:
        for change in changes:
            try:
                replica.keyspace.apply(change)
            except EtcdError:
                continue  # what can't be done changes nothing

    def test_names_of_places(self) -> None:
        """Indexes as keys show them, and no others."""
        for name, index in (("0", 0), ("7", 7), ("18446744073709551615", 2**64 - 1)):
            self.assertEqual(index_named(name), index)
        for name in ("", "07", "00", "-1", "+1", "1.0", "x", "\u0663", "9" * 20, "9" * 5_000):
            self.assertIsNone(index_named(name))

    def test_names_of_locks(self) -> None:
        """Clean keys, but for the root."""
        for name, key in (("a", "/a"), ("//a/./b//", "/a/b"), ("../../a", "/a")):
            self.assertEqual(directory_of(name), PREFIX + key)
        for name in ("", "/", "..", "a/.."):
            self.assertIsNone(directory_of(name))

    def test_value_at(self) -> None:
        """Of a place; of what is none there is no value."""
        replica = FakeReplica(Clock())
        self.run_all(replica, [Set(f"{LINE}/2", 0, ""), Set(f"{LINE}/3", 0, "v"), Set(f"{LINE}/4/5", 0, "w")])
        self.assertEqual([value_at(replica, LINE, index) for index in range(1, 6)], [None, "", "v", None, None])
        self.assertIsNone(value_at(replica, f"{LINE}/3", 1))
        self.assertIsNone(read_line(replica, f"{LINE}/3"))
