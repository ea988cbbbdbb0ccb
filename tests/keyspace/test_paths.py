"""Keys as paths (spec, section 1, "Keys")."""

import posixpath

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace.paths import ROOT, clean, is_below, is_hidden, join, parent, segments

paths = st.lists(st.sampled_from(["/", "//", ".", "..", "a", "b", "_h", "...", ".a", "a.", "é"]), max_size=12).map(
    "".join
)
cleaned = paths.map(clean)


class CleanTests(SynchronousTestCase):
    def test_examples(self) -> None:
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
    def test_idempotent(self, path: str) -> None:
        """A clean key is clean."""
        self.assertEqual(clean(clean(path)), clean(path))

    @given(paths)
    def test_clean(self, path: str) -> None:
        """A clean key begins with a slash, and no segment of it is empty, C{.} or C{..}: it never leaves the root."""
        key = clean(path)
        self.assertEqual(key[0], "/")
        self.assertTrue({"", ".", ".."}.isdisjoint(segments(key)), key)
        self.assertEqual(key, ROOT + "/".join(segments(key)))

    @given(paths)
    def test_asForFiles(self, path: str) -> None:
        """A path means what it would to a file system without links."""
        self.assertEqual(clean(path), posixpath.normpath("/" + path.lstrip("/")))


class RelationTests(SynchronousTestCase):
    def test_join(self) -> None:
        """A child's key, of the root too."""
        self.assertEqual((join("/", "a"), join("/a", "b")), ("/a", "/a/b"))

    def test_parent(self) -> None:
        """The directory that holds a key; the root's is the root."""
        self.assertEqual((parent("/a/b"), parent("/a"), parent("/")), ("/a", "/", "/"))

    @given(cleaned, st.sampled_from(["a", "_h", "é"]))
    def test_parentOfChild(self, directory: str, name: str) -> None:
        """A child lies below its parent, and has one segment more."""
        child = join(directory, name)
        self.assertEqual(parent(child), directory)
        self.assertEqual(segments(child), [*segments(directory), name])
        self.assertTrue(is_below(child, directory))

    @given(cleaned, cleaned)
    def test_below(self, key: str, directory: str) -> None:
        """A key lies below another if that one's segments, and more, are its first ones."""
        first = segments(key)[: len(segments(directory))]
        wanted = first == segments(directory) and len(segments(key)) > len(first)
        self.assertEqual(is_below(key, directory), wanted)

    @given(cleaned, st.lists(st.sampled_from(["a", "_h", "b_", "__"])))
    def test_hidden(self, directory: str, names: list[str]) -> None:
        """A key is hidden from a directory if a segment below the directory begins with an underscore."""
        key = directory
        for name in names:
            key = join(key, name)
        self.assertEqual(is_hidden(key, directory), any(name[0] == "_" for name in names))
        self.assertEqual(is_hidden(key), any(name[0] == "_" for name in segments(key)))
