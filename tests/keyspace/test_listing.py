"""
Tests of listings: the JSON of a directory, its order, and the bounded amount of work for each piece of it.
"""

import decimal
import json
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.listing import Listing, sort_key
from etcd_twisted.keyspace.nodes import MAX_BATCH_NAMES, Directory
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.state import KeySpaceState
from tests import examples
from tests.keyspace.model import SECOND, Model
from tests.keyspace.running import directory, expected, key_space, outcome
from tests.keyspace.strategies import histories
from tests.keyspace.trees import Counting, bush, chain, looked_at

NOW = 0


def listed(root: Directory, key: str = "/", recursive: bool = True, ordered: bool = True) -> bytes:
    return b"".join(Listing(recursive, ordered, NOW).pieces(key, root))


def names(space: KeySpace, recursive: bool = False) -> list[str]:
    """Returns the keys of the nodes right below the root, as sorted."""
    return [node["key"][1:] for node in json.loads(listed(space.root, recursive=recursive))["nodes"]]


def _d(space: KeySpace) -> Directory:
    return directory(space.get("/d"))


class JsonTests(SynchronousTestCase):
    def test_the_fields_of_a_listing(self) -> None:
        """
        The JSON is compact, with the fields in the reference's order; the root has no indexes, and a file has no
        C{nodes}.
        """
        space = key_space(
            c.Set("/d", 0, directory=True, expires=3 * SECOND),
            c.Set("/d/f", 0, "x", expires=2 * SECOND),
            c.Set("/g", 0),
        )
        self.assertEqual(
            listed(space.root),
            b'{"key":"/","dir":true,"nodes":['
            b'{"key":"/d","dir":true,"expiration":"1970-01-01T00:00:03.000000Z","ttl":3,"nodes":['
            b'{"key":"/d/f","value":"x","expiration":"1970-01-01T00:00:02.000000Z","ttl":2,'
            b'"modifiedIndex":2,"createdIndex":2}'
            b'],"modifiedIndex":1,"createdIndex":1},'
            b'{"key":"/g","value":"","modifiedIndex":3,"createdIndex":3}'
            b"]}",
        )

    def test_a_listing_of_one_level(self) -> None:
        """Without C{recursive} the children are listed without grandchildren."""
        space = key_space(c.Set("/d/e/f", 0))
        self.assertEqual(
            listed(directory(space.get("/d")), "/d", recursive=False),
            b'{"key":"/d","dir":true,"nodes":[{"key":"/d/e","dir":true,"modifiedIndex":1,"createdIndex":1}],'
            b'"modifiedIndex":1,"createdIndex":1}',
        )

    def test_some_nodes_are_left_out(self) -> None:
        """A listing of one level shows what it should, as if there were nothing else; a recursive one shows all."""
        space = key_space(*(c.Set(f"/d/{name}", 0) for name in ("a", "b/x", "c", "e")))
        both = key_space(*(c.Set(f"/d/{name}", 0) for name in ("a", "c")))
        shown = ["/d/a", "/d/c"]
        for ordered in (False, True):
            found = json.loads(
                b"".join(Listing(False, ordered, NOW, shows=shown.__contains__).pieces("/d", _d(space)))
            )
            alone = json.loads(listed(_d(both), "/d", recursive=False, ordered=ordered))
            self.assertEqual([each["key"] for each in found["nodes"]], [each["key"] for each in alone["nodes"]])
            nothing = b"".join(Listing(False, ordered, NOW, shows=lambda _: False).pieces("/d", _d(space)))
            self.assertEqual(json.loads(nothing), {name: found[name] for name in found if name != "nodes"})
            whole = b"".join(Listing(True, ordered, NOW, shows=lambda _: False).pieces("/d", _d(space)))
            self.assertEqual(whole, listed(_d(space), "/d", recursive=True, ordered=ordered))

    def test_what_is_left_out_takes_bounded_work_at_a_time(self) -> None:
        """Pauses come between nodes that are left out, sorted or not."""
        space = key_space(*(c.Set(f"/d/{number}", 0) for number in range(10 * MAX_BATCH_NAMES)))
        asked: list[str] = []
        for ordered in (False, True):
            shows = Listing(False, ordered, NOW, shows=lambda key: bool(asked.append(key)))
            most, before = 0, len(asked)
            for _ in shows.pieces("/d", _d(space)):
                most, before = max(most, len(asked) - before), len(asked)
            self.assertLessEqual(most, MAX_BATCH_NAMES)
        self.assertEqual(len(asked), 20 * MAX_BATCH_NAMES)

    def test_an_empty_directory_has_no_nodes(self) -> None:
        """An empty directory has no C{nodes}, and neither has one with only hidden nodes."""
        space = key_space(c.Set("/d", 0, directory=True), c.Set("/e/_h", 0))
        for key, index in (("/d", b"1"), ("/e", b"2")):
            for recursive in (False, True):
                self.assertEqual(
                    listed(directory(space.get(key)), key, recursive),
                    b'{"key":"%s","dir":true,"modifiedIndex":%s,"createdIndex":%s}' % (key.encode(), index, index),
                )
        self.assertEqual(listed(KeySpace().root), b'{"key":"/","dir":true}')

    def test_hidden_nodes_are_left_out(self) -> None:
        """Hidden nodes are left out at every level, except for the one that was asked for."""
        space = key_space(c.Set("/_d/x", 0), c.Set("/_d/_h", 0), c.Set("/_d/e/_h/z", 0), c.Set("/a_", 0))
        self.assertEqual(names(space), ["a_"])
        self.assertEqual(names(space, recursive=True), ["a_"])
        shown = json.loads(listed(directory(space.get("/_d")), "/_d"))
        self.assertEqual([node["key"] for node in shown["nodes"]], ["/_d/e", "/_d/x"])
        self.assertNotIn("nodes", shown["nodes"][0])

    @settings(max_examples=examples(60))
    @given(histories, st.integers(1, 3), st.integers(1, 60), st.booleans(), st.booleans())
    def test_pieces_of_any_size_are_the_same_json(
        self, some: list[c.Command], nodes: int, size: int, recursive: bool, ordered: bool
    ) -> None:
        """However small the pieces are, together they are the JSON of the tree read in one go."""
        space, model = KeySpace(), Model()
        for command in some:
            outcome(space, command)
            expected(model, command)
        whole = listed(space.root, "/", recursive, ordered)
        pieces = list(Listing(recursive, ordered, NOW, nodes, size).pieces("/", space.root))
        self.assertEqual(b"".join(pieces), whole)
        if ordered:
            self.assertEqual(json.dumps(json.loads(whole)), json.dumps(model.listing("/", NOW, recursive, True)))
        self.assertLessEqual(max(piece.count(b'"key":') for piece in pieces), nodes)

    def test_a_listing_shows_the_tree_as_it_was(self) -> None:
        """A change that happens while a listing is sent is not in it."""
        space = key_space(*(c.Set(f"/{number}", 0, "old") for number in range(1_000)))
        wanted = listed(space.root)
        pieces = Listing(True, True, NOW).pieces("/", space.root)
        sent = [next(pieces)]
        for number in range(1_000):
            space.apply(c.Set(f"/{number}", 0, "new"))
        self.assertEqual(b"".join([*sent, *pieces]), wanted)


class OrderTests(SynchronousTestCase):
    """With C{sorted=true}, whole numbers come first, by value, then the rest by code point."""

    def test_the_order_of_names(self) -> None:
        """Numbers come before capitals, capitals before small letters, and those before all other characters."""
        wanted = ["0", "1", "9", "10", "100", "-1", "1.5", "10a", "C", "a", "aa", "b", "é", "٣", "☃"]
        space = key_space(*(c.Set(f"/{name}", 0) for name in sorted(wanted, reverse=True)))
        self.assertEqual(names(space), wanted)
        self.assertEqual(names(space, recursive=True), wanted)

    def test_in_order_keys_are_sorted_by_index(self) -> None:
        """
        Keys that were created in order are listed in it, although their names are not padded (api, "Atomically
        Creating In-Order Keys").
        """
        space = key_space(*(c.CreateInOrder("/", 0) for _ in range(120)))
        self.assertEqual(names(space), [str(number) for number in range(1, 121)])

    def test_leading_zeros_do_not_change_a_number(self) -> None:
        """Leading zeros don't change the value; of two names with one value, the code points decide."""
        self.assertEqual(sorted(["7", "007", "8", "06", "0", "00"], key=sort_key), ["0", "00", "06", "007", "7", "8"])

    def test_very_long_numbers_are_sorted_by_value(self) -> None:
        """Numbers of any length are sorted by value."""
        ten_thousand = "1" + "0" * 10_000
        self.assertEqual(
            sorted([ten_thousand, "9" * 10_000, "a", "0" * 20_000 + "5"], key=sort_key),
            ["0" * 20_000 + "5", "9" * 10_000, ten_thousand, "a"],
        )

    @given(st.lists(st.from_regex("[0-9]{1,30}", fullmatch=True)), st.lists(st.text(min_size=1)))
    def test_numbers_come_first_and_then_code_points(self, numbers: list[str], texts: list[str]) -> None:
        """The order is that of the exact values, and then Python's own order of text."""
        rest = [text for text in texts if not (text.isascii() and text.isdigit())]
        wanted = sorted(numbers, key=lambda number: (decimal.Decimal(number), number)) + sorted(rest)
        self.assertEqual(sorted(rest + numbers, key=sort_key), wanted)

    def test_a_large_directory_is_sorted_as_a_whole(self) -> None:
        """A directory that is sorted in several steps is sorted as a whole."""
        space = key_space(*(c.Set(f"/{number * 7919 % 5_000}", 0) for number in range(5_000)))
        self.assertEqual(names(space), [str(number) for number in range(5_000)])


class PieceTests(SynchronousTestCase):
    """Each piece is a bounded amount of work, in nodes looked at, nodes shown, and bytes."""

    shapes = (
        lambda: bush(20, 5_000),
        lambda: bush(4_000, 1),
        lambda: bush(1, 20_000),
        lambda: bush(20, 5_000, "_"),
        lambda: bush(1, 20_000, "_"),
        lambda: bush(300, 100, "_"),
        lambda: chain(100, 300),
        lambda: chain(100, 300, "_"),
        lambda: chain(2_000, 3),
    )

    def bounded(self, counting: Counting, content: KeySpaceState, ordered: bool) -> int:
        """Checks each piece of a recursive listing, and returns how many there were."""
        sent: list[bytes] = []
        listing = Listing(True, ordered, NOW)

        def noted() -> Iterator[bytes]:
            for piece in listing.pieces("/", content.root):
                sent.append(piece)
                yield piece

        for count in looked_at(counting, noted()):
            self.assertLessEqual(count, 2_048)
        for piece in sent:
            self.assertLessEqual(piece.count(b'"key":'), listing.piece_nodes)
        return len(sent)

    def test_a_piece_has_a_bounded_number_of_nodes(self) -> None:
        """A piece is bounded however the nodes are spread over directories, hidden or not, sorted or not."""
        for shape in self.shapes:
            for ordered in (False, True):
                counting, content = shape()
                self.bounded(counting, content, ordered)
                self.assertGreater(counting.nodes, 4_000)

    def test_small_directories_share_a_piece(self) -> None:
        """Many small directories don't make many small pieces."""
        for ordered in (False, True):
            counting, content = bush(4_000, 1)
            self.assertLess(self.bounded(counting, content, ordered), 60)

    def test_a_piece_has_a_bounded_number_of_bytes(self) -> None:
        """A piece is sent before another long value is added to it."""
        long = "x" * 100_000
        space = key_space(*(c.Set(f"/{number}", 0, long) for number in range(20)))
        listing = Listing(True, True, NOW)
        sizes = [len(piece) for piece in listing.pieces("/", space.root)]
        self.assertGreater(sum(sizes), 20 * len(long))
        self.assertLess(max(sizes), listing.piece_bytes + 2 * len(long))
