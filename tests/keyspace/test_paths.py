"""
Tests of keys as paths (spec, section 1, "Keys").
"""

import posixpath

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.paths import (
    MAX_KEY_BYTES,
    MAX_KEY_SEGMENTS,
    ROOT,
    check_size,
    clean,
    is_below,
    is_hidden,
    join,
    parent,
    with_parents,
)

paths = st.lists(st.sampled_from(["/", "//", ".", "..", "a", "b", "_h", "...", ".a", "a.", "é"]), max_size=12).map(
    "".join
)
cleaned = paths.map(clean)


def segments(key: str) -> list[str]:
    """Returns the segments of a key from the top down; the root has none."""
    return key[1:].split("/") if key != ROOT else []


class CleanTests(SynchronousTestCase):
    def test_examples_of_clean_keys(self) -> None:
        """Repeated and trailing slashes, C{.} and C{..} are cleaned; what only looks like them stays."""
        for path, key in (
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/.", "/"),
            ("a", "/a"),
            ("/a/", "/a"),
            ("//a///b//", "/a/b"),
            ("/a/./b/.", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a"),
            ("/../../a", "/a"),
            ("/..", "/"),
            ("/.a", "/.a"),
            ("/...", "/..."),
            ("/a..b/c.", "/a..b/c."),
            ("/a b", "/a b"),
        ):
            self.assertEqual(clean(path), key)

    @given(paths)
    def test_cleaning_twice_changes_nothing(self, path: str) -> None:
        self.assertEqual(clean(clean(path)), clean(path))

    @given(paths)
    def test_every_path_becomes_a_clean_key(self, path: str) -> None:
        """
        A clean key begins with a slash, and no segment of it is empty, C{.} or C{..}, so it never leaves the root.
        """
        key = clean(path)
        self.assertEqual(key[0], "/")
        self.assertTrue({"", ".", ".."}.isdisjoint(segments(key)), key)
        self.assertEqual(key, ROOT + "/".join(segments(key)))

    @given(paths)
    def test_paths_are_cleaned_like_those_of_files(self, path: str) -> None:
        """A path means what it would to a file system without links."""
        self.assertEqual(clean(path), posixpath.normpath("/" + path.lstrip("/")))


class SizeTests(SynchronousTestCase):
    """Tests of how deep and how long the key of a new node may be."""

    def assert_refused(self, cause: str, key: str, in_order: bool = False) -> None:
        error = self.assertRaises(EtcdError, check_size, key, in_order)
        self.assertEqual((error.code, error.cause), (209, cause))

    def test_the_depth_of_a_new_key_is_limited(self) -> None:
        deepest = "/a" * MAX_KEY_SEGMENTS
        check_size(deepest)
        check_size(deepest[:-2], in_order=True)
        self.assert_refused("the key has 257 segments; at most 256 are allowed", deepest + "/a")
        self.assert_refused("the key that this makes has 257 segments; at most 256 are allowed", deepest, True)

    def test_the_length_of_a_new_key_is_limited(self) -> None:
        """The limit is in bytes of UTF-8, whatever the characters; an in-order name takes up to 21 more."""
        for longest in ("/" + "a" * (MAX_KEY_BYTES - 1), "/a" + "é" * (MAX_KEY_BYTES // 2 - 1)):
            check_size(longest)
            self.assert_refused("the key is 16385 bytes long; at most 16384 are allowed", longest + "a")
        fitting = "/" + "a" * (MAX_KEY_BYTES - 22)
        check_size(fitting, in_order=True)
        cause = "the key that this makes is 16385 bytes long; at most 16384 are allowed"
        self.assert_refused(cause, fitting + "a", True)

    def test_everyday_keys_are_within_the_limits(self) -> None:
        """
        The root counts as the key of a directory, which is refused where it is changed; ordinary keys are far from the
        limits.
        """
        for key in (ROOT, "/a", "/a/b", "/é" * 100):
            check_size(key)
            check_size(key, in_order=True)


class RelationTests(SynchronousTestCase):
    def test_joining_a_name_to_a_directory(self) -> None:
        """Joining gives the child's key, also for a child of the root."""
        self.assertEqual((join("/", "a"), join("/a", "b")), ("/a", "/a/b"))

    def test_the_parent_of_a_key(self) -> None:
        """The parent is the directory that holds a key; the root's parent is the root."""
        self.assertEqual((parent("/a/b"), parent("/a"), parent("/")), ("/a", "/", "/"))

    @given(cleaned, st.sampled_from(["a", "_h", "é"]))
    def test_the_parent_of_a_child_is_the_directory(self, directory: str, name: str) -> None:
        """A child lies below its parent, and has one segment more."""
        child = join(directory, name)
        self.assertEqual(parent(child), directory)
        self.assertEqual(segments(child), [*segments(directory), name])
        self.assertTrue(is_below(child, directory))

    @given(cleaned, cleaned)
    def test_keys_below_a_directory(self, key: str, directory: str) -> None:
        """A key lies below another one if it begins with that one's segments and has more."""
        first = segments(key)[: len(segments(directory))]
        wanted = first == segments(directory) and len(segments(key)) > len(first)
        self.assertEqual(is_below(key, directory), wanted)

    @given(cleaned, st.lists(st.sampled_from(["a", "_h", "b_", "__"])))
    def test_keys_below_an_underscore_are_hidden(self, directory: str, names: list[str]) -> None:
        """A key is hidden from a directory if a segment below the directory begins with an underscore."""
        key = directory
        for name in names:
            key = join(key, name)
        self.assertEqual(is_hidden(key, directory), any(name[0] == "_" for name in names))
        self.assertEqual(is_hidden(key), any(name[0] == "_" for name in segments(key)))

    @given(cleaned)
    def test_a_key_with_all_its_parents(self, key: str) -> None:
        """The result is the key and all that it lies below, from the bottom up."""
        names = segments(key)
        above = [ROOT + "/".join(names[:depth]) for depth in range(len(names), -1, -1)]
        self.assertEqual(list(with_parents(key)), above)
