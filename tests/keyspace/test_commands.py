"""Commands as they stand in the log."""

import msgspec
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from tests.keyspace.strategies import anything


class EncodingTests(SynchronousTestCase):
    @given(anything)
    def test_roundTrip(self, command: c.Command) -> None:
        """What is decoded is the command that was encoded."""
        again = c.decode_command(c.encode_command(command))
        self.assertEqual(again, command)
        self.assertIs(type(again), type(command))

    def test_layout(self) -> None:
        """
        The layout is the format on disk: a log that was written once can be read for good. A change here needs a new
        format version.
        """
        for command, layout in (
            (c.Set("/a", 1, "x", True, 2), ["set", "/a", 1, "x", True, 2]),
            (c.Create("/a", 1, "x", True, 2), ["create", "/a", 1, "x", True, 2]),
            (c.CreateInOrder("/a", 1, "x", True, 2), ["post", "/a", 1, "x", True, 2]),
            (c.Update("/a", 1, "x", True, 2), ["update", "/a", 1, "x", True, 2]),
            (c.Refresh("/a", 1, 2), ["refresh", "/a", 1, 2]),
            (c.CompareAndSwap("/a", 1, None, 2, "y", 3), ["cas", "/a", 1, None, 2, "y", 3]),
            (c.Delete("/a", 1, True, True), ["delete", "/a", 1, True, True]),
            (c.CompareAndDelete("/a", 1, "y", 3), ["cad", "/a", 1, "y", 3]),
            (c.Expire(1, 2), ["expire", 1, 2]),
        ):
            self.assertEqual(msgspec.msgpack.decode(c.encode_command(command)), layout)
            self.assertEqual(c.decode_command(msgspec.msgpack.encode(layout)), command)

    def test_fieldsAtTheEnd(self) -> None:
        """Fields that an older log does not have take their defaults."""
        self.assertEqual(c.decode_command(msgspec.msgpack.encode(["set", "/a", 1])), c.Set("/a", 1))

    def test_unknown(self) -> None:
        """What is no command is refused, not guessed at."""
        for other in (["other", "/a", 1], [], {}, ["set", 1, 1], ["expire", 1]):
            self.assertRaises(msgspec.DecodeError, c.decode_command, msgspec.msgpack.encode(other))
