"""
Helpers that carry commands out, and return the outcome in a form that can be compared.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import Command
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory, Node
from etcd_twisted.keyspace.snapshot import SnapshotLoader, dump
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.model import Model, RefusedError

Outcome = tuple[int, str, int] | str | None
"""An error's code, cause and index, or an answer's JSON with its fields in order, or nothing."""


def outcome(space: KeySpace, command: Command) -> Outcome:
    """Returns the outcome of a command in the key space."""
    try:
        return shown(space.apply(command))
    except EtcdError as error:
        return shown(error)


def shown(result: Event | EtcdError | None) -> Outcome:
    """Returns what has become of a command in a form that can be compared."""
    if isinstance(result, EtcdError):
        return (int(result.code), result.cause, result.index)
    return None if result is None else json_of(result)


def run_together(space: KeySpace, commands: Sequence[Command]) -> list[Outcome]:
    """Returns the outcome of each command. All are carried out in one go."""
    outcomes: list[Event | EtcdError | None] = []
    space.apply_all(commands, outcomes)
    return list(map(shown, outcomes))


def expected(model: Model, command: Command) -> Outcome:
    """Returns the outcome of the command in the model."""
    try:
        answer = model.apply(command)
    except RefusedError as refusal:
        return (refusal.code, refusal.cause, refusal.index)
    return None if answer is None else json.dumps(answer)


def json_of(event: Event) -> str:
    """Returns an event's JSON, in the form of C{json.dumps}."""
    return json.dumps(json.loads(event.body))


def run(space: KeySpace, commands: Iterable[Command]) -> list[Outcome]:
    """Returns the outcome of each command."""
    return [outcome(space, command) for command in commands]


def key_space(*commands: Command, **settings: Any) -> KeySpace:
    """Returns a key space after these commands, all of which succeed."""
    space = KeySpace(**settings)
    for command in commands:
        space.apply(command)
    return space


def chunks_of(space: KeySpace) -> list[bytes]:
    """Returns the chunks of a key space's snapshot, without the pauses."""
    return [chunk for chunk in dump(space.state()) if chunk]


def restored(chunks: Iterable[bytes], **settings: Any) -> KeySpace:
    """Returns the key space that a snapshot's chunks hold."""
    loader = SnapshotLoader()
    for chunk in chunks:
        loader.feed(chunk)
    space = KeySpace(**settings)
    space.restore(loader.finish(), loader.schedule)
    return space


def directory(node: Node) -> Directory:
    """Returns a node that is a directory."""
    assert isinstance(node, Directory), node
    return node
