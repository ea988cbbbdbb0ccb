"""
Tests of the commands that depend on what is there, sentence by sentence of the specification (section 1).
"""

import json

import msgspec

from etcd_twisted.keyspace import commands as c
from tests.keyspace.cases import A_DIRECTORY, A_FILE, SpaceTestCase
from tests.keyspace.model import SECOND
from tests.keyspace.running import key_space


class SetOrSwapTests(SpaceTestCase):
    def test_set_or_swap_of_a_missing_key_sets(self) -> None:
        """If nothing exists it is a set, also of a directory, and counts as one (spec, "PUT")."""
        alone = json.loads(key_space().apply(c.Set("/a/b", 0, "x", expires=3 * SECOND)).body)
        self.assertEqual(self.answer(c.SetOrSwap("/a/b", 0, "x", expires=3 * SECOND)), alone)
        self.assertTrue(self.answer(c.SetOrSwap("/c", 0, "x", directory=True))["node"]["dir"])
        counts = self.space.statistics()
        self.assertEqual((counts.sets_success, counts.compare_and_swap_success), (2, 0))

    def test_set_or_swap_of_a_file_swaps(self) -> None:
        """An existing file is swapped, so its created index stays."""
        self.given(A_FILE)
        for number in (2, 3):
            answer = self.answer(c.SetOrSwap("/f", 0, "y", directory=number == 3))
            self.assertEqual(answer["action"], "compareAndSwap")
            self.assertEqual(answer["node"], {"key": "/f", "value": "y", "modifiedIndex": number, "createdIndex": 1})
        self.assertEqual(self.space.statistics().compare_and_swap_success, 2)

    def test_set_or_swap_of_a_key_out_of_reach_fails(self) -> None:
        """A directory is error 102, and a file on the way 104."""
        self.given(A_FILE, A_DIRECTORY)
        self.assertRefused(c.SetOrSwap("/d", 0, "x"), 102, "/d")
        self.assertRefused(c.SetOrSwap("/f/below", 0, "x"), 104, "/f")

    def test_compare_and_swap_without_a_condition_in_an_old_log(self) -> None:
        """
        What earlier versions logged for C{prevIndex=0} does what it did then; otherwise the same log would give other
        trees.
        """
        command = c.decode_command(msgspec.msgpack.encode(["cas", "/f", 0, "x", None, None, 0]))
        assert isinstance(command, c.CompareAndSwap)
        self.assertRefused(command, 100, "/f")
        self.given(A_FILE)
        self.assertEqual(self.answer(command)["action"], "compareAndSwap")


class CompareAndSwapTests(SpaceTestCase):
    def swap(self, value: str | None = None, index: int = 0, key: str = "/f") -> c.CompareAndSwap:
        return c.CompareAndSwap(key, 0, "y", previous_value=value, previous_index=index)

    def test_compare_and_swap_by_value(self) -> None:
        """A file that has the given value is changed, and the created index is kept."""
        self.given(A_FILE)
        self.assertEqual(
            self.answer(self.swap("x")),
            {
                "action": "compareAndSwap",
                "node": {"key": "/f", "value": "y", "modifiedIndex": 2, "createdIndex": 1},
                "prevNode": {"key": "/f", "value": "x", "modifiedIndex": 1, "createdIndex": 1},
            },
        )

    def test_compare_and_swap_by_index(self) -> None:
        """A file that has the given modified index is changed."""
        self.given(A_FILE, A_FILE)
        self.assertEqual(self.answer(self.swap(index=2))["node"]["value"], "y")

    def test_compare_and_swap_with_index_zero(self) -> None:
        """C{prevIndex=0} always matches."""
        self.given(A_FILE, A_FILE)
        self.assertEqual(self.answer(self.swap(index=0))["node"]["value"], "y")

    def test_compare_and_swap_with_a_mismatch_fails(self) -> None:
        """
        A mismatch is error 101 with the cause C{[given != current]} for the condition that failed, or for both, the
        value first.
        """
        self.given(A_FILE)
        self.assertRefused(self.swap("bad"), 101, "[bad != x]")
        self.assertRefused(self.swap(index=50), 101, "[50 != 1]")
        self.assertRefused(self.swap("bad", 50), 101, "[bad != x] [50 != 1]")
        self.assertRefused(self.swap("x", 50), 101, "[50 != 1]")
        self.assertRefused(self.swap("bad", 1), 101, "[bad != x]")

    def test_compare_and_swap_of_a_missing_key_fails(self) -> None:
        """A missing key is error 100, a file on the way 104, and a directory 102, before anything is compared."""
        self.given(A_FILE, A_DIRECTORY)
        self.assertRefused(self.swap("x", key="/nope/deeper"), 100, "/nope")
        self.assertRefused(self.swap("x", key="/f/below"), 104, "/f")
        self.assertRefused(self.swap(index=50, key="/d"), 102, "/d")

    def test_compare_and_swap_of_a_ttl(self) -> None:
        """The TTL is changed with the value, and the file becomes permanent without a TTL."""
        self.given(A_FILE)
        self.assertEqual(self.answer(c.CompareAndSwap("/f", 0, "y", 3 * SECOND, "x"))["node"]["ttl"], 3)
        self.assertNotIn("ttl", self.answer(self.swap("y"))["node"])
        self.assertIsNone(self.space.next_expiry())

    def test_compare_and_swap_without_a_value_refreshes(self) -> None:
        """Without a value the command changes the TTL and keeps the value."""
        self.given(A_FILE)
        answer = self.answer(c.CompareAndSwap("/f", 0, None, 3 * SECOND, "x", 1))
        self.assertEqual(
            (answer["action"], answer["node"]["value"], answer["node"]["ttl"]), ("compareAndSwap", "x", 3)
        )


class CreateInOrderTests(SpaceTestCase):
    def test_in_order_keys_are_named_by_the_index(self) -> None:
        """The key is named by the new index, unpadded."""
        self.given(A_FILE, A_FILE)
        self.assertEqual(
            self.answer(c.CreateInOrder("/queue", 0, "job")),
            {"action": "create", "node": {"key": "/queue/3", "value": "job", "modifiedIndex": 3, "createdIndex": 3}},
        )
        self.assertEqual(self.answer(c.CreateInOrder("/queue", 0, "job"))["node"]["key"], "/queue/4")

    def test_in_order_keys_make_missing_parents(self) -> None:
        """The directory is created if it is missing."""
        self.answer(c.CreateInOrder("/a/b", 0, "job"))
        self.assertEqual(self.space.get("/a/b").created, 1)

    def test_in_order_keys_in_the_root(self) -> None:
        """The root is a directory like others."""
        self.assertEqual(self.answer(c.CreateInOrder("/", 0, "job"))["node"]["key"], "/1")

    def test_in_order_directories(self) -> None:
        """With C{dir=true} the command makes a directory, with a TTL if one is given."""
        node = self.answer(c.CreateInOrder("/q", 0, directory=True, expires=3 * SECOND))["node"]
        self.assertEqual((node["key"], node["dir"], node["ttl"]), ("/q/1", True, 3))

    def test_in_order_keys_below_a_file_fail(self) -> None:
        """Below a file it is error 104."""
        self.given(A_FILE)
        self.assertRefused(c.CreateInOrder("/f", 0), 104, "/f")

    def test_in_order_keys_whose_name_is_taken_fail(self) -> None:
        """A name that exists already is error 105."""
        self.given(c.Set("/q/2", 0))
        self.assertRefused(c.CreateInOrder("/q", 0), 105, "/q/2")


class CompareAndDeleteTests(SpaceTestCase):
    def test_compare_and_delete_with_a_match(self) -> None:
        """A file that matches is deleted."""
        for conditions in ({"previous_value": "x"}, {"previous_index": 1}, {"previous_index": 0}):
            self.given(A_FILE)
            self.assertEqual(
                self.answer(c.CompareAndDelete("/f", 0, **conditions)),
                {
                    "action": "compareAndDelete",
                    "node": {"key": "/f", "modifiedIndex": 2, "createdIndex": 1},
                    "prevNode": {"key": "/f", "value": "x", "modifiedIndex": 1, "createdIndex": 1},
                },
            )
            self.assertRefused(c.Delete("/f", 0), 100, "/f")

    def test_compare_and_delete_with_a_mismatch_fails(self) -> None:
        """A mismatch is error 101."""
        self.given(A_FILE)
        self.assertRefused(c.CompareAndDelete("/f", 0, "two"), 101, "[two != x]")
        self.assertRefused(c.CompareAndDelete("/f", 0, "two", 9), 101, "[two != x] [9 != 1]")

    def test_compare_and_delete_of_a_directory_fails(self) -> None:
        """The command deletes files only, and a directory is error 102."""
        self.given(A_DIRECTORY)
        self.assertRefused(c.CompareAndDelete("/d", 0, previous_index=1), 102, "/d")

    def test_compare_and_delete_of_the_root_fails(self) -> None:
        """The root is a directory like others (spec, "DELETE")."""
        self.assertRefused(c.CompareAndDelete("/", 0, previous_index=1), 102, "/")
