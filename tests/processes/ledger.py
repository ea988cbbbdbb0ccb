"""
What writers know of the key space: what was acknowledged, and what they asked for without an answer.

Each key belongs to one writer, which makes one request at a time. So after a crash a key must hold what was
acknowledged last, or what its writer asked for after that. A L{Ledger} compares this with the key space, and lives as
long as the data directory does.
"""

from collections.abc import Iterator
from typing import Any, Literal

import attrs
from twisted.internet.defer import Deferred

from tests.processes.client import Client

DELETED: Literal[None] = None
"""The value of a key that does not exist."""

_NOTHING = object()

QUEUE = "/queue"
"""The directory of all in-order keys."""


@attrs.frozen
class Held:
    """A value, and the index that it was written at."""

    value: str
    index: int


@attrs.define
class Known:
    """
    What is known of one key.

    @ivar held: its value when the last request was answered.
    @ivar asked: the value that was asked for since, or L{DELETED}.
    """

    held: Held | None = None
    asked: object = _NOTHING

    def explains(self, found: Held | None) -> bool:
        """Returns whether the key may have this value."""
        if found == self.held:
            return True
        if found is None:
            return self.asked is DELETED
        newer = self.held is None or found.index > self.held.index
        return newer and found.value == self.asked


@attrs.define
class Ledger:
    """
    What all writers know.

    @ivar keys: by their paths.
    @ivar posted: the in-order keys, by their values, which are all different.
    @ivar indexes: what was done at each index, as far as it is known.
    @ivar told: how many writes were acknowledged.
    @ivar problems: what must not happen, and did.
    """

    keys: dict[str, Known] = attrs.Factory(dict)
    posted: dict[str, str | None] = attrs.Factory(dict)
    indexes: dict[int, str] = attrs.Factory(dict)
    told: int = 0
    problems: list[str] = attrs.Factory(list)
    _floor: int = 0
    _goals: list[tuple[int, "Deferred[None]"]] = attrs.Factory(list)

    # While the writers run

    def reached(self, more: int) -> "Deferred[None]":
        """Returns a Deferred that fires when that many more writes are acknowledged."""
        reached: Deferred[None] = Deferred()
        self._goals.append((self.told + more, reached))
        return reached

    def held(self, key: str) -> Held | None:
        """Returns the value of a key, as its writer knows."""
        known = self.keys.get(key)
        return known.held if known is not None else None

    def ask(self, key: str, value: str | None) -> None:
        """Records a request that a writer is about to make."""
        self.keys.setdefault(key, Known()).asked = value

    def tell(self, key: str, value: str | None, index: int) -> None:
        """Records that a writer's request was acknowledged."""
        self._take_index(index, key)
        self.keys[key] = Known(None if value is None else Held(value, index))
        self._count()

    def ask_in_order(self, value: str) -> None:
        """Records that a writer is about to ask for an in-order key."""
        self.posted[value] = None

    def tell_in_order(self, value: str, key: str, index: int) -> None:
        """Records which in-order key a writer got."""
        self._take_index(index, key)
        if key != f"{QUEUE}/{index}":
            self.problems.append(f"the in-order key of index {index} is {key}")
        self.posted[value] = key
        self.keys[key] = Known(Held(value, index))
        self._count()

    def _take_index(self, index: int, key: str) -> None:
        if index in self.indexes:
            self.problems.append(f"index {index} was acknowledged for {self.indexes[index]} and again for {key}")
        if index <= self._floor:
            self.problems.append(f"index {index} of {key} is not above {self._floor}, which was there after a restart")
        self.indexes[index] = key

    def _count(self) -> None:
        self.told += 1
        goals, self._goals = self._goals, []
        for goal, reached in goals:
            if goal <= self.told:
                reached.callback(None)
            else:
                self._goals.append((goal, reached))

    # After a restart

    async def compare(self, client: Client) -> None:
        """
        Records as L{problems} the differences from the key space; requests without an answer that were carried out
        count as acknowledged from then on.

        @param client: a client of a machine that has started again.
        """
        answer = await client.get("/", "?recursive=true")
        self._compare(answer.json()["node"], answer.index)

    def _compare(self, root: Any, index: int) -> None:
        highest = max(self.indexes, default=0)
        if index < highest:
            self.problems.append(f"the index is {index}, and {highest} was acknowledged")
        self._floor = index
        found = {node["key"]: node for node in leaves(root)}
        self._settle_posted(found)
        for key, known in self.keys.items():
            node = found.pop(key, None)
            held = None if node is None else Held(node["value"], node["modifiedIndex"])
            if not known.explains(held):
                self.problems.append(f"{key} holds {held}, and should hold {known}")
            self._settle(key, held)
        self.problems.extend(f"nobody wrote {node}" for node in found.values())

    def _settle_posted(self, found: dict[str, Any]) -> None:
        """Settles the in-order keys without an answer: each is there once or not at all, and then never will be."""
        for key, node in found.items():
            if key.startswith(QUEUE) and key not in self.keys and self.posted.get(node["value"], key) is None:
                self.posted[node["value"]] = key
                self.keys[key] = Known(asked=node["value"])
        self.posted = {value: key for value, key in self.posted.items() if key is not None}

    def _settle(self, key: str, held: Held | None) -> None:
        self.keys[key] = Known(held)
        if held is None:
            return
        other = self.indexes.setdefault(held.index, key)
        if other != key or held.index > self._floor:
            self.problems.append(f"{key} has index {held.index}, that of {other}; the highest is {self._floor}")


def leaves(node: Any) -> Iterator[Any]:
    """Returns all keys at and below a node."""
    if not node.get("dir"):
        yield node
    for child in node.get("nodes", ()):
        yield from leaves(child)
