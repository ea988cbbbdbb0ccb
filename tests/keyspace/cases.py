"""
The base class of tests of single commands.
"""

import json

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.nodes import File
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.model import Json
from tests.keyspace.running import key_space, outcome

A_FILE = c.Set("/f", 0, "x")
A_DIRECTORY = c.Set("/d", 0, directory=True)


class SpaceTestCase(SynchronousTestCase):
    """Carries commands out, one after another, in C{self.space}."""

    def setUp(self) -> None:
        self.space = KeySpace()

    def given(self, *commands: c.Change) -> None:
        """Returns a key space after these commands."""
        self.space = key_space(*commands)

    def answer(self, command: c.Change) -> Json:
        """Returns the answer to a command that succeeds."""
        return json.loads(self.space.apply(command).body)

    def assertRefused(self, command: c.Change, code: int, cause: str) -> None:
        """Asserts that a command fails with an error at the current index, and changes nothing."""
        root, index = self.space.root, self.space.index
        self.assertEqual(outcome(self.space, command), (code, cause, index))
        self.assertIs(self.space.root, root)
        self.assertEqual(self.space.index, index)

    def file(self, key: str) -> File:
        node = self.space.get(key)
        assert isinstance(node, File)
        return node
