"""
Tests of the key space, sentence by sentence of the specification (section 1): what each command does, answers and
refuses. Those that depend on what is there are in L{tests.keyspace.test_conditions}.
"""

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.nodes import File
from tests.keyspace.cases import A_DIRECTORY, A_FILE, SpaceTestCase
from tests.keyspace.model import SECOND

FULL_DIRECTORY = c.Set("/d/e/f", 0, "x")


class IndexTests(SpaceTestCase):
    def test_each_change_raises_the_index_by_one(self) -> None:
        """There is one counter, which each change that succeeds raises by one (spec, "Indexes")."""
        changes = [A_FILE, A_FILE, c.Update("/f", 0), c.Refresh("/f", 0, 9), c.Delete("/f", 0)]
        for number, command in enumerate(changes):
            self.assertEqual(self.answer(command)["node"]["modifiedIndex"], number + 1)
            self.assertEqual(self.space.index, number + 1)

    def test_nothing_else_raises_the_index(self) -> None:
        """A failed command, a read, a watch and a search for expired keys do not raise the index (spec, "Indexes")."""
        self.given(A_FILE)
        self.assertRefused(c.Delete("/nope", 0), 100, "/nope")
        self.space.get("/f")
        self.space.watch("/f", False, False, None, lambda _: None)
        self.assertIsNone(self.space.apply(c.Expire(10**9, 10)))
        self.assertEqual(self.space.index, 1)

    def test_each_expiry_raises_the_index_by_one(self) -> None:
        """Each key that expires by one command gets an index of its own."""
        self.given(*(c.Set(f"/{name}", 0, expires=1) for name in "abc"))
        self.space.apply(c.Expire(1, 10))
        self.assertEqual(self.space.index, 6)


class SetTests(SpaceTestCase):
    def test_set_makes_a_new_file(self) -> None:
        """A new file has the new index as created and modified index, and no C{prevNode}."""
        self.assertEqual(
            self.answer(A_FILE),
            {"action": "set", "node": {"key": "/f", "value": "x", "modifiedIndex": 1, "createdIndex": 1}},
        )

    def test_set_replaces_a_file(self) -> None:
        """A set replaces a file: it has a new created index, C{prevNode} is in the answer, and the old TTL is gone."""
        self.given(c.Set("/f", 0, "old", expires=9 * SECOND))
        self.assertEqual(
            self.answer(c.Set("/f", 2 * SECOND, "new")),
            {
                "action": "set",
                "node": {"key": "/f", "value": "new", "modifiedIndex": 2, "createdIndex": 2},
                "prevNode": {
                    "key": "/f",
                    "value": "old",
                    "expiration": "1970-01-01T00:00:09.000000Z",
                    "ttl": 7,
                    "modifiedIndex": 1,
                    "createdIndex": 1,
                },
            },
        )
        self.assertIsNone(self.space.next_expiry())

    def test_set_of_a_directory_replaces_a_file(self) -> None:
        """With C{dir=true} a set turns a file into a directory."""
        self.given(A_FILE)
        answer = self.answer(c.Set("/f", 0, directory=True))
        self.assertEqual(answer["node"], {"key": "/f", "dir": True, "modifiedIndex": 2, "createdIndex": 2})
        self.assertEqual(answer["prevNode"]["value"], "x")
        self.assertEqual(self.answer(c.Set("/f/child", 0))["node"]["key"], "/f/child")

    def test_set_does_not_replace_a_directory(self) -> None:
        """A set over a directory, as a file or a directory, is error 102."""
        self.given(A_DIRECTORY)
        self.assertRefused(c.Set("/d", 0, "x"), 102, "/d")
        self.assertRefused(c.Set("/d", 0, directory=True), 102, "/d")

    def test_set_makes_missing_parents(self) -> None:
        """Missing parents are created without TTL, with the new index."""
        self.given(A_FILE)
        self.answer(c.Set("/a/b/c", 0, expires=9))
        for key in ("/a", "/a/b"):
            node = self.space.get(key)
            self.assertEqual((node.created, node.modified, node.expires), (2, 2, None))

    def test_set_leaves_existing_parents_as_they_are(self) -> None:
        """Existing parents keep their indexes and TTLs."""
        self.given(c.Set("/d", 0, directory=True, expires=9), c.Set("/d/f", 0))
        node = self.space.get("/d")
        self.assertEqual((node.created, node.modified, node.expires), (1, 1, 9))

    def test_set_below_a_file_fails(self) -> None:
        """A parent that is a file is error 104 with that parent as cause."""
        self.given(c.Set("/a/f", 0))
        self.assertRefused(c.Set("/a/f/x", 0), 104, "/a/f")
        self.assertRefused(c.Set("/a/f/x/y", 0, directory=True), 104, "/a/f")

    def test_set_of_a_directory_ignores_the_value(self) -> None:
        self.assertNotIn("value", self.answer(c.Set("/d", 0, "ignored", directory=True))["node"])

    def test_set_with_a_ttl_that_has_ended(self) -> None:
        """A TTL of 0 expires at once: the answer shows when, and no seconds left (spec, "TTL")."""
        node = self.answer(c.Set("/f", 5 * SECOND, "x", expires=5 * SECOND))["node"]
        self.assertEqual((node["expiration"], node.get("ttl")), ("1970-01-01T00:00:05.000000Z", None))
        self.space.apply(c.Expire(5 * SECOND, 10))
        self.assertRefused(c.Delete("/f", 0), 100, "/f")

    def test_set_of_the_root_fails(self) -> None:
        """The root is read-only: every command but POST is error 107 with the cause C{/}."""
        for command in (
            c.Set("/", 0, directory=True),
            c.Create("/", 0),
            c.Update("/", 0),
            c.Refresh("/", 0, 9),
            c.CompareAndSwap("/", 0, "x", previous_index=1),
            c.Delete("/", 0),
            c.Delete("/", 0, recursive=True),
            c.SetTtl("/", 0, 9),
            c.SetOrSwap("/", 0, "x"),
        ):
            self.assertRefused(command, 107, "/")


class CreateTests(SpaceTestCase):
    def test_create_makes_a_new_node(self) -> None:
        """A create makes a node that does not exist, with its parents."""
        self.assertEqual(
            self.answer(c.Create("/a/b", 0, "x")),
            {"action": "create", "node": {"key": "/a/b", "value": "x", "modifiedIndex": 1, "createdIndex": 1}},
        )
        self.assertTrue(self.answer(c.Create("/a/d", 0, directory=True))["node"]["dir"])

    def test_create_of_an_existing_node_fails(self) -> None:
        """A create of an existing file or directory is error 105."""
        self.given(A_FILE, A_DIRECTORY)
        self.assertRefused(c.Create("/f", 0, "y"), 105, "/f")
        self.assertRefused(c.Create("/d", 0, directory=True), 105, "/d")

    def test_create_below_a_file_fails(self) -> None:
        """A parent that is a file is error 104."""
        self.given(A_FILE)
        self.assertRefused(c.Create("/f/x", 0), 104, "/f")


class UpdateTests(SpaceTestCase):
    def test_update_of_a_file(self) -> None:
        """An update of a file changes the value and keeps the created index."""
        self.given(A_FILE)
        self.assertEqual(
            self.answer(c.Update("/f", 0, "y")),
            {
                "action": "update",
                "node": {"key": "/f", "value": "y", "modifiedIndex": 2, "createdIndex": 1},
                "prevNode": {"key": "/f", "value": "x", "modifiedIndex": 1, "createdIndex": 1},
            },
        )

    def test_update_of_a_ttl(self) -> None:
        """An update changes the TTL too, and makes the file permanent if it has no TTL."""
        self.given(A_FILE)
        self.assertEqual(self.answer(c.Update("/f", 0, "y", expires=3 * SECOND))["node"]["ttl"], 3)
        self.assertNotIn("ttl", self.answer(c.Update("/f", 0, "y"))["node"])
        self.assertIsNone(self.space.next_expiry())

    def test_update_to_an_empty_value(self) -> None:
        """An explicitly empty value is a value."""
        self.given(A_FILE)
        self.answer(c.Update("/f", 0, ""))
        self.assertEqual(self.file("/f").value, "")

    def test_update_of_a_directory(self) -> None:
        """
        An update of a directory changes only the TTL; the answer shows the new index, and the directory keeps its own.
        """
        self.given(FULL_DIRECTORY)
        self.assertEqual(
            self.answer(c.Update("/d", 0, expires=3 * SECOND)),
            {
                "action": "update",
                "node": {
                    "key": "/d",
                    "dir": True,
                    "expiration": "1970-01-01T00:00:03.000000Z",
                    "ttl": 3,
                    "modifiedIndex": 2,
                    "createdIndex": 1,
                },
                "prevNode": {"key": "/d", "dir": True, "modifiedIndex": 1, "createdIndex": 1},
            },
        )
        node = self.space.get("/d")
        self.assertEqual((node.created, node.modified, node.expires), (1, 1, 3 * SECOND))
        self.assertEqual(self.file("/d/e/f").value, "x")
        self.answer(c.Update("/d", 0))
        self.assertIsNone(self.space.get("/d").expires)

    def test_update_of_a_directory_with_a_value_fails(self) -> None:
        """A value that is not empty is error 102 for a directory, unless C{dir=true} is given; then it is ignored."""
        self.given(A_DIRECTORY)
        self.assertRefused(c.Update("/d", 0, "x"), 102, "/d")
        self.assertEqual(self.answer(c.Update("/d", 0, "x", directory=True))["action"], "update")

    def test_update_of_a_directory_that_is_meant(self) -> None:
        """With C{dir=true} a file stays a file, and takes the value, even an empty one, and the TTL."""
        self.given(A_FILE)
        answer = self.answer(c.Update("/f", 0, "y", directory=True, expires=3 * SECOND))
        self.assertEqual((answer["action"], answer["node"]["value"], answer["node"]["ttl"]), ("update", "y", 3))
        self.assertNotIn("dir", answer["node"])
        self.answer(c.Update("/f", 0, directory=True))
        self.assertEqual((self.file("/f").value, self.file("/f").expires), ("", None))

    def test_update_of_a_missing_key_fails(self) -> None:
        """A missing key is error 100, with the first missing key on the way as cause."""
        self.given(A_DIRECTORY, A_FILE)
        self.assertRefused(c.Update("/d/nope/deeper", 0, "x"), 100, "/d/nope")
        self.assertRefused(c.Update("/f/below", 0, "x"), 104, "/f")


class RefreshTests(SpaceTestCase):
    def test_refresh_of_a_file(self) -> None:
        """A refresh changes the TTL and keeps the value."""
        self.given(A_FILE)
        answer = self.answer(c.Refresh("/f", 0, 3 * SECOND))
        self.assertEqual((answer["action"], answer["node"]["value"], answer["node"]["ttl"]), ("update", "x", 3))
        self.assertEqual(self.file("/f"), File("x", 1, 2, 3 * SECOND))
        self.assertEqual(self.space.next_expiry(), 3 * SECOND)

    def test_refresh_of_a_directory(self) -> None:
        """A refresh changes the TTL of a directory, which keeps its children."""
        self.given(FULL_DIRECTORY)
        self.answer(c.Refresh("/d", 0, 3 * SECOND))
        self.assertEqual(self.space.get("/d").expires, 3 * SECOND)
        self.assertEqual(self.file("/d/e/f").value, "x")

    def test_refresh_of_a_missing_key_fails(self) -> None:
        """A missing key is error 100."""
        self.assertRefused(c.Refresh("/f", 0, 9), 100, "/f")


class SetTtlTests(SpaceTestCase):
    def test_set_ttl_of_a_file(self) -> None:
        """The command sets the file again, with its value and another TTL (spec, "Later additions")."""
        self.given(A_FILE)
        self.assertEqual(
            self.answer(c.SetTtl("/f", 0, 3 * SECOND)),
            {
                "action": "set",
                "node": {
                    "key": "/f",
                    "value": "x",
                    "expiration": "1970-01-01T00:00:03.000000Z",
                    "ttl": 3,
                    "modifiedIndex": 2,
                    "createdIndex": 2,
                },
                "prevNode": {"key": "/f", "value": "x", "modifiedIndex": 1, "createdIndex": 1},
            },
        )
        self.assertEqual(self.space.next_expiry(), 3 * SECOND)

    def test_set_ttl_of_anything_else_fails(self) -> None:
        """A missing key is error 100, a directory 102, and a file on the way 104."""
        self.given(A_FILE, A_DIRECTORY)
        self.assertRefused(c.SetTtl("/nope", 0, 9), 100, "/nope")
        self.assertRefused(c.SetTtl("/d", 0, 9), 102, "/d")
        self.assertRefused(c.SetTtl("/f/below", 0, 9), 104, "/f")


class DeleteTests(SpaceTestCase):
    def test_delete_of_a_file(self) -> None:
        """A file needs no flag. The answer's C{node} has no value; C{prevNode} has everything."""
        self.given(c.Set("/f", 0, "x", expires=3 * SECOND))
        self.assertEqual(
            self.answer(c.Delete("/f", 0)),
            {
                "action": "delete",
                "node": {"key": "/f", "modifiedIndex": 2, "createdIndex": 1},
                "prevNode": {
                    "key": "/f",
                    "value": "x",
                    "expiration": "1970-01-01T00:00:03.000000Z",
                    "ttl": 3,
                    "modifiedIndex": 1,
                    "createdIndex": 1,
                },
            },
        )
        self.assertIsNone(self.space.next_expiry())

    def test_delete_of_a_file_with_flags(self) -> None:
        """Flags meant for directories don't matter for a file."""
        for flags in ({"directory": True}, {"recursive": True}):
            self.given(A_FILE)
            self.assertNotIn("dir", self.answer(c.Delete("/f", 0, **flags))["node"])

    def test_delete_of_an_empty_directory(self) -> None:
        """An empty directory needs C{dir=true}, and the answer's C{node} has C{dir}."""
        self.given(A_DIRECTORY)
        self.assertRefused(c.Delete("/d", 0), 102, "/d")
        self.assertEqual(
            self.answer(c.Delete("/d", 0, directory=True)),
            {
                "action": "delete",
                "node": {"key": "/d", "dir": True, "modifiedIndex": 2, "createdIndex": 1},
                "prevNode": {"key": "/d", "dir": True, "modifiedIndex": 1, "createdIndex": 1},
            },
        )

    def test_delete_of_a_full_directory(self) -> None:
        """A full directory needs C{recursive=true}; without a flag it is error 102, with only C{dir} 108."""
        self.given(FULL_DIRECTORY)
        self.assertRefused(c.Delete("/d", 0), 102, "/d")
        self.assertRefused(c.Delete("/d", 0, directory=True), 108, "/d")
        self.assertTrue(self.answer(c.Delete("/d", 0, recursive=True))["node"]["dir"])
        self.assertRefused(c.Delete("/d/e/f", 0), 100, "/d")

    def test_delete_of_a_directory_with_hidden_nodes(self) -> None:
        """A directory with only hidden nodes is not empty."""
        self.given(c.Set("/d/_h", 0))
        self.assertRefused(c.Delete("/d", 0, directory=True), 108, "/d")

    def test_delete_of_an_empty_directory_with_recursive(self) -> None:
        """C{recursive=true} implies C{dir=true}."""
        self.given(A_DIRECTORY)
        self.assertEqual(self.answer(c.Delete("/d", 0, recursive=True))["action"], "delete")

    def test_delete_leaves_the_parents(self) -> None:
        """The parents stay, and keep their indexes."""
        self.given(FULL_DIRECTORY)
        self.answer(c.Delete("/d/e/f", 0))
        node = self.space.get("/d/e")
        self.assertEqual((node.created, node.modified), (1, 1))

    def test_delete_of_a_missing_key_fails(self) -> None:
        """A missing key is error 100, and a file on the way 104."""
        self.given(A_FILE)
        self.assertRefused(c.Delete("/nope/deeper", 0, recursive=True), 100, "/nope")
        self.assertRefused(c.Delete("/f/below", 0), 104, "/f")


class GetTests(SpaceTestCase):
    def test_get_of_a_hidden_key(self) -> None:
        """Hidden nodes are left out of listings, not of direct reads."""
        self.given(c.Set("/_h/_x", 0, "x"))
        self.assertEqual(self.file("/_h/_x").value, "x")

    def test_get_of_the_root(self) -> None:
        """
        The root exists before anything was written, and has no indexes (api, "Listing a directory"; spec, "GET").
        """
        self.assertEqual((self.space.get("/").created, self.space.get("/").modified), (0, 0))

    def test_get_returns_a_consistent_view(self) -> None:
        """A tree that was read stays as it was, whatever is written."""
        self.given(FULL_DIRECTORY)
        root = self.space.root
        self.answer(c.Delete("/d", 0, recursive=True))
        self.assertEqual((list(root.children), list(self.space.root.children)), (["d"], []))
