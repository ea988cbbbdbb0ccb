"""
Tests of commands as they are encoded in the log.
"""

import msgspec
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from tests.keyspace.strategies import anything


class EncodingTests(SynchronousTestCase):
    @given(anything)
    def test_every_command_is_decoded_as_it_was_encoded(self, command: c.Command) -> None:
        again = c.decode_command(c.encode_command(command))
        self.assertEqual(again, command)
        self.assertIs(type(again), type(command))

    def test_fields_that_older_commands_lack_get_defaults(self) -> None:
        """Fields that an older log does not have get their defaults."""
        self.assertEqual(c.decode_command(msgspec.msgpack.encode(["set", "/a", 1])), c.Set("/a", 1))

    def test_unknown_commands_are_refused(self) -> None:
        """What is no command is refused, not guessed at."""
        for other in (["other", "/a", 1], [], {}, ["set", 1, 1], ["expire", 1]):
            self.assertRaises(msgspec.DecodeError, c.decode_command, msgspec.msgpack.encode(other))
