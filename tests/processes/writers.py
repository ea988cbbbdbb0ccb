"""
Writers that go on until the machine goes away, and enter into a ledger what they ask for and what they are told.
"""

import random
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults

from tests.processes.client import GONE, Answer, Client
from tests.processes.ledger import DELETED, QUEUE, Ledger

COUNT = 64


class Writer:
    """One writer, with keys of its own; a subclass says what it does with them."""

    def __init__(self, ledger: Ledger, client: Client, number: int, chance: random.Random, most_words: int) -> None:
        self.ledger = ledger
        self.client = client
        self.number = number
        self.chance = chance
        self._most_words = most_words
        self._index = 0

    async def run(self) -> None:
        """Write until nobody answers, or the machine says that it is stopping."""
        try:
            while await self.step():
                pass
        except GONE:
            return

    async def step(self) -> bool:
        """Write once; whether it was done."""
        raise NotImplementedError

    def value(self) -> str:
        """A value that nobody else writes."""
        return f"{self.chance.getrandbits(64):016x}" * self.chance.randint(1, self._most_words)

    def done(self, answer: Answer) -> Any:
        """The answer to a write that was done; C{None} when the machine says that its outcome is unknown."""
        told = answer.json()
        if answer.status == 500 and told["errorCode"] == 300:
            return None
        if answer.status not in {200, 201}:
            self.ledger.problems.append(f"{type(self).__name__} {self.number} was answered {answer}")
            return None
        if not self._index < answer.index == told["node"]["modifiedIndex"]:
            self.ledger.problems.append(f"X-Etcd-Index is {answer.index} after {self._index}, with {told}")
        self._index = answer.index
        return told

    async def put(self, key: str, **conditions: str) -> bool:
        """Set a key of its own."""
        value = self.value()
        self.ledger.ask(key, value)
        told = self.done(await self.client.put(key, value=value, **conditions))
        if told is None:
            return False
        self.ledger.tell(key, told["node"]["value"], told["node"]["modifiedIndex"])
        return True


class Setter(Writer):
    """Sets one of several keys."""

    async def step(self) -> bool:
        """Set one."""
        return await self.put(f"/set/{self.number}/{self.chance.randrange(8)}")


class Swapper(Writer):
    """Changes one key, if it is still what it was."""

    async def step(self) -> bool:
        """Create it or swap it."""
        key = f"/swap/{self.number}"
        held = self.ledger.held(key)
        if held is None:
            return await self.put(key, prevExist="false")
        return await self.put(key, prevValue=held.value, prevIndex=str(held.index))


class Poster(Writer):
    """Makes in-order keys in a directory that all share."""

    async def step(self) -> bool:
        """Make one."""
        value = self.value()
        self.ledger.ask_in_order(value)
        told = self.done(await self.client.post(QUEUE, value=value))
        if told is None:
            return False
        node = told["node"]
        self.ledger.tell_in_order(node["value"], node["key"], node["modifiedIndex"])
        return True


class Deleter(Writer):
    """Deletes keys that it has set before."""

    async def step(self) -> bool:
        """Set a key that is not there, delete one that is."""
        key = f"/delete/{self.number}/{self.chance.randrange(4)}"
        held = self.ledger.held(key)
        if held is None:
            return await self.put(key)
        condition = self.chance.choice(("", f"?prevIndex={held.index}"))
        self.ledger.ask(key, DELETED)
        told = self.done(await self.client.delete(key, condition))
        if told is None:
            return False
        self.ledger.tell(key, DELETED, told["node"]["modifiedIndex"])
        return True


_KINDS = (Setter, Swapper, Poster, Deleter)


def write(ledger: Ledger, client: Client, chance: random.Random, most_words: int = 40) -> "Deferred[Any]":
    """
    Set L{COUNT} writers to work; fires when all have ended.

    @param most_words: the longest value, in words of 16 bytes.
    """
    writers = [
        _KINDS[number % len(_KINDS)](ledger, client, number, random.Random(chance.random()), most_words)
        for number in range(COUNT)
    ]
    return gatherResults([ensureDeferred(writer.run()) for writer in writers], consumeErrors=True)
