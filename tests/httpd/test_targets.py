"""
Request targets in any spelling.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.targets import (
    MOST_SEGMENTS,
    below,
    cleaned,
    is_too_deep,
    split,
    target_of,
    with_escapes,
)
from etcd_twisted.keyspace.paths import clean

KEYS = b"/v2/keys"
PATHS = st.lists(st.sampled_from([b"/", b"/a", b"/.", b"/..", b"/b%2Fc", b"/%2e", b"/%2E%2e", b"/.a", b"/v2"])).map(
    lambda parts: b"".join(parts) or b"/"
)


class BelowTests(SynchronousTestCase):
    """These tests find what follows a prefix."""

    def test_a_prefix_may_be_spelled_in_many_ways(self) -> None:
        """No spelling of the prefix changes what follows it."""
        for before in (b"", b"/", b"/.", b"//..", b"/v2/..", b"/v2/keyz/../..", b"/%2e", b"/x%2F.."):
            for prefix in (KEYS, b"/v2//keys", b"/%762/keys", b"/v2%2fkeys", b"/v2/./keys"):
                for rest in (b"", b"/", b"//a//../b%2F%zz", b"?a=/v2/keys", b"/a?b=%2F..//", b"/../x"):
                    self.assertEqual(below(before + prefix + rest, KEYS), rest, before + prefix + rest)

    def test_an_escaped_slash_may_follow_the_prefix(self) -> None:
        self.assertEqual(below(b"/v2/keys%2fa%2Fb", KEYS), b"/a%2Fb")

    def test_thousands_of_segments_before_a_prefix_are_not_looked_at(self) -> None:
        """It makes no difference how many segments follow the prefix."""
        self.assertEqual(below(b"//v2/keys" + b"/a" * 10_000, KEYS), b"/a" * 10_000)
        self.assertEqual(below(b"/." * (MOST_SEGMENTS - 2) + b"/v2/keys/a", KEYS), b"/a")
        self.assertIsNone(below(b"/." * (MOST_SEGMENTS - 1) + b"/v2/keys/a", KEYS))
        self.assertFalse(is_too_deep(b"/a" * MOST_SEGMENTS + b"?" + b"/" * MOST_SEGMENTS))
        self.assertTrue(is_too_deep(b"/a" * MOST_SEGMENTS + b"/"))

    def test_targets_without_the_prefix_are_not_below_it(self) -> None:
        for target in (b"/", b"/v2", b"/v2/keysx", b"/v3/keys", b"*", b"/?/v2/keys", b"/v2/x/keys"):
            self.assertIsNone(below(target, KEYS), target)


class CleanedTests(SynchronousTestCase):
    """These tests clean the paths of pages."""

    @given(PATHS)
    def test_paths_are_cleaned_like_keys(self, path: bytes) -> None:
        """Only a final slash is treated differently."""
        expected = clean(path.replace(b"%2e", b".").replace(b"%2E", b".").decode())
        found = cleaned(path).replace(b"%2e", b".").replace(b"%2E", b".").decode()
        self.assertEqual(found.rstrip("/") or "/", expected)
        self.assertEqual(found.endswith("/"), path.endswith(b"/") or expected == "/")

    def test_a_name_behind_a_prefix_stays_as_it_is(self) -> None:
        self.assertEqual(cleaned(b"//lock/..//x", (b"/lock",)), b"/lock/..//x")
        self.assertEqual(cleaned(b"//other/..//x", (b"/lock",)), b"/x")


class LineTests(SynchronousTestCase):
    """These tests read request lines."""

    @given(st.binary())
    def test_raw_bytes_of_a_request_line_are_escaped(self, target: bytes) -> None:
        """Only bytes that are not ASCII are escaped, and only in the target."""
        target = target.replace(b" ", b"")
        method, escaped, version = with_escapes(b"G\xcb %s HTTP\xcb" % target).split(b" ")
        self.assertEqual((method, version), (b"G\xcb", b"HTTP\xcb"))
        self.assertTrue(escaped.isascii())
        self.assertEqual(escaped, b"".join(bytes((each,)) if each < 0x80 else b"%%%02X" % each for each in target))

    def test_the_target_of_a_damaged_line_is_found(self) -> None:
        for line, target in (
            (b"GET /a HTTP/1.1", b"/a"),
            (b"GET /a b HTTP/1.1", b"/a"),
            (b"GET /a", b"/a"),
            (b"GET http://x/a HTTP/1.1", b"http://x/a"),
            (b"nonsense", b""),
            (b"\x16\x03 \x01", b""),
        ):
            self.assertEqual(target_of(line), target)

    def test_an_absolute_target_is_split(self) -> None:
        """A client that treats the server as a proxy sends one."""
        for target, host, path in (
            (b"http://x:4001/a?b=c://d", b"x:4001", b"/a?b=c://d"),
            (b"http://x", b"x", b"/"),
            (b"http://x?a=/v2/keys", b"x", b"/?a=/v2/keys"),
            (b"a?b=http://x/v2/keys", b"", b"a?b=http://x/v2/keys"),
            (b"/a?b://c", b"", b"/a?b://c"),
            (b"*", b"", b"*"),
        ):
            self.assertEqual(split(target), (host, path))
