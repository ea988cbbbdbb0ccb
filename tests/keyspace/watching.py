"""
Watchers of the tests: they note what they see, and a model says what they should see.
"""

import functools

import attrs

from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.model import Model, Seen, sees
from tests.keyspace.running import expected, outcome

EVERYTHING = 1_000_000


@attrs.frozen
class Deliver:
    """A limited number of events is delivered to watchers."""

    limit: int


@attrs.frozen
class AskAgain:
    """A client whose watch was answered asks again."""


class Client:
    """Watches with one-shot watchers, each from the index after its last event."""

    def __init__(self, space: KeySpace, key: str, recursive: bool, since: int) -> None:
        self.events: list[Event] = []
        self._watch = functools.partial(space.watch, key, recursive, False)
        self._since = since
        self._waiting = False

    def ask(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._watch(self._since, self._told)

    def _told(self, event: Event) -> None:
        assert self._waiting
        self._waiting = False
        self.events.append(event)
        self._since = event.index + 1


def indexes(events: list[Event]) -> list[int]:
    return [event.index for event in events]


def model_of(space: KeySpace, some: list[c.Command]) -> Model:
    """Carries commands out in both the key space and a model, and returns the model."""
    model = Model()
    for command in some:
        outcome(space, command)
        expected(model, command)
    return model


def shown(events: list[Seen], key: str, recursive: bool, since: int = 0) -> list[int]:
    """Returns the indexes of the events that a watcher should see."""
    return [event.index for event in events if event.index >= since and sees(event, key, recursive)]
