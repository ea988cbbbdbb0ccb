"""
Tests that any sequence of commands agrees with a small, obviously right model of the key space.
"""

import json

import msgspec
from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import Command
from etcd_twisted.keyspace.events import view
from etcd_twisted.keyspace.listing import Listing
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.keyspace.space import KeySpace
from tests import examples
from tests.keyspace.model import Json, Model, below, prefixes
from tests.keyspace.running import expected, outcome, run
from tests.keyspace.strategies import histories, keys, times


def listed(space: KeySpace, key: str, now: int, recursive: bool, ordered: bool) -> Json:
    """Returns the node that a read of C{key} answers with."""
    node = space.get(key)
    if not isinstance(node, Directory):
        return json.loads(msgspec.json.encode(view(key, node, now)))
    return json.loads(b"".join(Listing(recursive, ordered, now).pieces(key, node)))


def by_key(node: Json) -> Json:
    """Returns the same node, with its children sorted by key at every level."""
    if "nodes" in node:
        nodes = sorted((by_key(each) for each in node["nodes"]), key=lambda each: each["key"].rsplit("/", 1)[1])
        return {name: nodes if name == "nodes" else value for name, value in node.items()}
    return node


class ModelTests(SynchronousTestCase):
    @settings(max_examples=examples(150))
    @given(histories)
    def test_answers_errors_and_indexes_are_those_of_the_model(self, commands: list[Command]) -> None:
        """
        Each command has the same answer, field by field and in order, or the same error, and the index is the same.
        """
        space, model = KeySpace(), Model()
        for command in commands:
            self.assertEqual(outcome(space, command), expected(model, command))
            self.assertEqual(space.index, model.index)

    @settings(max_examples=examples(60))
    @given(histories, times)
    def test_the_whole_tree_is_that_of_the_model(self, commands: list[Command], now: int) -> None:
        """Every node is there with all its fields, in every kind of listing."""
        space, model = KeySpace(), Model()
        for command in commands:
            outcome(space, command)
            expected(model, command)
        for key in ["/", *model.entries]:
            for recursive in (False, True):
                unordered = listed(space, key, now, recursive, ordered=False)
                self.assertEqual(
                    json.dumps(by_key(unordered)), json.dumps(model.listing(key, now, recursive, ordered=False))
                )
                self.assertEqual(
                    json.dumps(listed(space, key, now, recursive, ordered=True)),
                    json.dumps(model.listing(key, now, recursive, ordered=True)),
                )

    @settings(max_examples=examples(60))
    @given(histories, keys)
    def test_reads_are_those_of_the_model(self, commands: list[Command], key: str) -> None:
        """A key that can't be read is refused for the same reason, and reads are counted."""
        space, model = KeySpace(), Model()
        for command in commands:
            outcome(space, command)
            expected(model, command)
        missing = next((each for each in prefixes(key) if each not in model.entries), None)
        if key == "/" or missing is None:
            space.get(key)
            self.assertEqual((space.statistics().gets_success, space.statistics().gets_fail), (1, 0))
            return
        files = [each for each, entry in model.entries.items() if not entry.is_directory and below(key, each)]
        error = self.assertRaises(EtcdError, space.get, key)
        self.assertEqual(
            (error.code, error.cause, error.index),
            (104, files[0], model.index) if files else (100, missing, model.index),
        )
        self.assertEqual((space.statistics().gets_success, space.statistics().gets_fail), (0, 1))

    @settings(max_examples=examples(60))
    @given(histories)
    def test_the_next_expiry_is_that_of_the_model(self, commands: list[Command]) -> None:
        """The next expiry is that of a key that exists, whatever was removed, and asking for it changes nothing."""
        space, unasked, model = KeySpace(), KeySpace(), Model()
        for command in commands:
            self.assertEqual(outcome(space, command), outcome(unasked, command))
            expected(model, command)
            self.assertEqual(space.next_expiry(), model.next_expiry())
        self.assertEqual(unasked.next_expiry(), model.next_expiry())

    @settings(max_examples=examples(40))
    @given(histories)
    def test_the_statistics_are_those_of_the_model(self, commands: list[Command]) -> None:
        """The successes and failures of each command are counted, and so is each key that expires."""
        space, model = KeySpace(), Model()
        run(space, commands)
        for command in commands:
            expected(model, command)
        counted = msgspec.to_builtins(space.statistics())
        self.assertEqual({name: count for name, count in counted.items() if count}, dict(+model.counts))
