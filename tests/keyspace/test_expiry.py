"""
Tests of TTLs (spec, section 1, "TTL"): the schedule is compared with a sorted list, and keys expire when their time
has come.
"""

import json
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.expiry import ExpirySchedule
from tests import examples
from tests.keyspace.cases import SpaceTestCase
from tests.keyspace.model import SECOND, Json
from tests.keyspace.running import key_space


class ScheduleMachine(RuleBasedStateMachine):
    """Sets TTLs in a schedule and in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = ExpirySchedule()
        self.noted: dict[str, int] = {}

    keys = st.sampled_from("abcdef")

    @rule(key=keys, expires=st.integers(0, 5))
    def set_ttl(self, key: str, expires: int) -> None:
        """A key gets a TTL, or a new one."""
        self.schedule.set(key, expires)
        self.noted[key] = expires

    @rule(key=keys, times=st.lists(st.integers(0, 9), min_size=1, max_size=20))
    def renew(self, key: str, times: list[int]) -> None:
        """A TTL is renewed over and over."""
        for expires in times:
            self.set_ttl(key, expires)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        """A key loses its TTL, if it has one."""
        self.schedule.set(key, None)
        self.noted.pop(key, None)

    @rule()
    def take_all(self) -> None:
        """The keys come in the order of their times, then of the keys."""
        for first in sorted((expires, key) for key, expires in self.noted.items()):
            assert self.schedule.first() == first
            self.schedule.set(first[1], None)
        self.noted.clear()

    @invariant()
    def first(self) -> None:
        assert self.schedule.first() == min(((expires, key) for key, expires in self.noted.items()), default=None)

    @invariant()
    def nothing_void(self) -> None:
        """The schedule contains only what is noted, so that nothing has to be skipped later."""
        held = [noted for run in self.schedule._runs for noted in run]
        assert held == sorted((expires, key) for key, expires in self.noted.items())
        assert len(self.schedule) == len(held)
        assert all(0 < len(run) <= self.schedule._MAX_RUN_LENGTH for run in self.schedule._runs)


class ScheduleTests(SynchronousTestCase):
    def test_the_schedule_is_like_a_sorted_list(self) -> None:
        """The schedule always knows the earliest key, in many runs, in few or in one."""
        for longest in (1, 2, 3, 1_024):
            self.patch(ExpirySchedule, "_MAX_RUN_LENGTH", longest)
            run_state_machine_as_test(
                ScheduleMachine, settings=settings(max_examples=examples(40), stateful_step_count=30)
            )

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=30))
    def test_setting_ttls_without_asking(self, noted: list[tuple[str, int]]) -> None:
        """A schedule that is filled without being asked gives the same result in the end."""
        schedule, last = ExpirySchedule(), {}
        for key, expires in noted:
            schedule.set(key, expires)
            last[key] = expires
        self.assertEqual(schedule.first(), min(((expires, key) for key, expires in last.items()), default=None))

    def test_keys_of_several_runs_are_in_order(self) -> None:
        """With more keys than a run holds, the keys still come in order, including those whose TTLs were renewed."""
        schedule, random = ExpirySchedule(), Random(1)
        last: dict[str, int] = {}
        for _ in range(20_000):
            key, expires = str(random.randrange(8_000)), random.randrange(1_000)
            schedule.set(key, expires)
            last[key] = expires
        for noted in sorted((expires, key) for key, expires in last.items()):
            self.assertEqual(schedule.first(), noted)
            schedule.set(noted[1], None)
        self.assertIsNone(schedule.first())

    def test_the_end_of_each_ttl_is_known(self) -> None:
        """The schedule knows when the TTL of each key ends."""
        schedule = ExpirySchedule()
        schedule.set("a", 1)
        schedule.set("a", 2)
        schedule.set("b", 3)
        schedule.set("b", None)
        self.assertEqual([schedule.get(key) for key in "abc"], [2, None, None])


class ExpireTests(SpaceTestCase):
    def events(self, *commands: c.Command) -> list[Json]:
        """Returns what a watcher of everything sees of these commands."""
        told: list[Json] = []
        self.space.watch("/", True, True, None, lambda event: told.append(json.loads(event.body)))
        for command in commands:
            self.space.apply(command)
        self.space.hub.deliver(1_000)
        return told

    def test_an_expired_file_is_one_event(self) -> None:
        """The event has no value in C{node}."""
        self.given(c.Set("/f", 0, "x", expires=SECOND))
        self.assertEqual(
            self.events(c.Expire(SECOND, 10)),
            [
                {
                    "action": "expire",
                    "node": {"key": "/f", "modifiedIndex": 2, "createdIndex": 1},
                    "prevNode": {
                        "key": "/f",
                        "value": "x",
                        "expiration": "1970-01-01T00:00:01.000000Z",
                        "modifiedIndex": 1,
                        "createdIndex": 1,
                    },
                }
            ],
        )

    def test_an_expired_directory_is_one_event(self) -> None:
        """
        A directory's expiry removes everything in it and is one event on the directory: C{node} has key and indexes
        only, C{prevNode} has C{dir} and C{expiration}.
        """
        self.given(c.Set("/d", 0, directory=True, expires=SECOND), c.Set("/d/e/f", 0, expires=2 * SECOND))
        self.assertEqual(
            self.events(c.Expire(2 * SECOND, 10)),
            [
                {
                    "action": "expire",
                    "node": {"key": "/d", "modifiedIndex": 3, "createdIndex": 1},
                    "prevNode": {
                        "key": "/d",
                        "dir": True,
                        "expiration": "1970-01-01T00:00:01.000000Z",
                        "modifiedIndex": 1,
                        "createdIndex": 1,
                    },
                }
            ],
        )
        self.assertEqual((list(self.space.root.children), self.space.next_expiry()), ([], None))

    def test_the_cut_off_time(self) -> None:
        """A key that ends at the cut-off time or earlier is removed, and one that ends later stays (spec, "TTL")."""
        self.given(*(c.Set(f"/{expires}", 0, expires=expires) for expires in (4, 5, 6)), c.Set("/permanent", 99))
        self.space.apply(c.Expire(5, 10))
        self.assertEqual(sorted(self.space.root.children), ["6", "permanent"])

    def test_the_earliest_expires_first(self) -> None:
        """The earliest key expires first; of two at the same time, the lesser key."""
        self.given(*(c.Set(key, 0, expires=expires) for key, expires in (("/c", 5), ("/a", 7), ("/b", 5))))
        self.assertEqual([event["node"]["key"] for event in self.events(c.Expire(9, 10))], ["/b", "/c", "/a"])

    def test_the_limit_of_one_command(self) -> None:
        """One command removes a limited number of keys, and the next one removes the rest."""
        self.given(*(c.Set(f"/{name}", 0, expires=1) for name in "abcde"))
        left = []
        for limit in (0, 2, 2, 2):
            self.space.apply(c.Expire(1, limit))
            left.append(sorted(self.space.root.children))
        self.assertEqual(left, [["a", "b", "c", "d", "e"], ["c", "d", "e"], ["e"], []])

    def test_only_the_last_ttl_counts(self) -> None:
        """A TTL that was renewed or removed replaces the earlier one."""
        self.given(
            c.Set("/set", 0, expires=1),
            c.Set("/set", 0, expires=9),
            c.Set("/gone", 0, expires=1),
            c.Update("/gone", 0),
            c.Set("/refreshed", 0, expires=1),
            c.Refresh("/refreshed", 0, 9),
        )
        self.space.apply(c.Expire(5, 10))
        self.assertEqual(sorted(self.space.root.children), ["gone", "refreshed", "set"])
        self.space.apply(c.Expire(9, 10))
        self.assertEqual(sorted(self.space.root.children), ["gone"])

    def test_a_key_that_comes_back_inherits_no_ttl(self) -> None:
        """
        A key that was removed with its directory and comes back does not inherit a TTL, not even if it comes back as a
        parent.
        """
        gone = c.Delete("/d", 0, recursive=True)
        self.given(c.Set("/d/a", 0, directory=True, expires=1), c.Set("/d/b", 0, expires=1), gone)
        self.answer(c.Set("/d/a/x", 0))
        self.answer(c.Set("/d/b", 0))
        self.assertEqual(self.events(c.Expire(9, 10)), [])

    def test_a_file_in_place_of_a_removed_directory(self) -> None:
        """Nothing expires if a file now stands where the directory was."""
        self.given(c.Set("/d/a", 0, expires=1), c.Delete("/d", 0, recursive=True), c.Set("/d", 0, "a file"))
        self.assertEqual(self.events(c.Expire(9, 10)), [])
        self.assertEqual(self.file("/d").value, "a file")

    def test_expiry_has_no_event_of_its_own(self) -> None:
        """The command itself has no answer, and counts each key."""
        self.given(c.Set("/a", 0, expires=1), c.Set("/b", 0, expires=1))
        self.assertIsNone(self.space.apply(c.Expire(1, 10)))
        self.assertEqual(self.space.statistics().expire_count, 2)


class ForgottenTests(SynchronousTestCase):
    def test_next_expiry_skips_removed_keys(self) -> None:
        """However many keys were removed with their directory, the next expiry is the next one that will happen."""
        space = key_space(*(c.Set(f"/d/{number}", 0, expires=5) for number in range(2_500)), c.Set("/a", 0, expires=9))
        space.apply(c.Delete("/d", 0, recursive=True))
        asked = [space.next_expiry() for _ in range(4)]
        self.assertEqual(asked, [5, 5, 9, 9])

    def test_removed_keys_are_forgotten_behind_one_that_stays(self) -> None:
        """
        Keys that were removed with their directories are forgotten, even if a key that expires before them stays.
        """
        space = key_space(c.Set("/a", 0, expires=1))
        most = 0
        for number in range(5_000):
            space.apply(c.Set(f"/d/{number}", 0, expires=5))
            space.apply(c.Delete("/d", 0, recursive=True))
            most = max(most, len(space._schedule))
        self.assertLess(most, 2_500)
        self.assertEqual(space.next_expiry(), 1)

    def test_forgetting_takes_no_ttl_from_other_keys(self) -> None:
        """Forgetting them takes no TTL from a key that still exists."""
        space = key_space()
        for number in range(3_000):
            space.apply(c.Set(f"/live/{number}", 0, expires=6))
            space.apply(c.Set(f"/d/{number}", 0, expires=5))
            space.apply(c.Delete("/d", 0, recursive=True))
        self.assertLess(len(space._schedule), 5_000)
        space.apply(c.Expire(6, 3_000))
        self.assertEqual((list(space.root.children["live"].children), space.next_expiry()), ([], None))

    def test_removed_files_and_empty_directories_are_forgotten_at_once(self) -> None:
        """Removing a file or an empty directory leaves nothing to forget later."""
        space = key_space(*(c.Set(f"/{number}", 0, directory=number < 5, expires=5) for number in range(10)))
        for number in range(10):
            space.apply(c.Delete(f"/{number}", 0, directory=True))
            self.assertEqual((len(space._schedule), bool(space.removed_directories)), (9 - number, False))

    def test_removed_keys_are_forgotten_in_bounded_steps(self) -> None:
        """
        Everything that was removed is forgotten, a bounded part of it at a time, whatever happens to its keys
        meanwhile.
        """
        deep = (c.Set(f"/d/{number}/e/{number}", 0, expires=5) for number in range(500))
        space = key_space(*deep, *(c.Set(f"/d/{number}/f", 0, expires=6) for number in range(500)))
        space.apply(c.Delete("/d", 0, recursive=True))
        again = [c.Set("/d/1/f", 0, expires=6), c.Set("/d/2/f", 0, expires=7), c.Set("/d/3/f", 0), c.Set("/d/4", 0)]
        for command in again:
            space.apply(command)
        turns = 0
        while space.removed_directories:
            before = len(space._schedule)
            space.forget_removed_ttls(100)
            self.assertLessEqual(before - len(space._schedule), 100)
            turns += 1
        self.assertGreater(turns, 10)
        self.assertEqual((space._schedule.get("/d/1/f"), space._schedule.get("/d/2/f")), (6, 7))
        self.assertEqual(len(space._schedule), 2)

    def test_a_restored_key_space_has_nothing_to_forget(self) -> None:
        """What a snapshot replaces leaves nothing to forget."""
        space = key_space(c.Set("/d/a", 0, expires=5), c.Delete("/d", 0, recursive=True))
        self.assertTrue(space.removed_directories)
        space.restore(space.state(), ExpirySchedule())
        self.assertFalse(space.removed_directories)

    def test_removed_keys_do_not_count_against_the_limit(self) -> None:
        """Keys that were removed with their directory do not count against the limit of a command."""
        space = key_space(*(c.Set(f"/d/{number}", 0, expires=5) for number in range(20)), c.Set("/a", 0, expires=9))
        space.apply(c.Delete("/d", 0, recursive=True))
        space.apply(c.Expire(9, 1))
        self.assertEqual((space.next_expiry(), list(space.root.children)), (None, []))
