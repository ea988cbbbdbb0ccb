"""
Writers that go on until the machine goes away, and record in a ledger what they ask for and what is acknowledged.
"""

import random
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults

from tests.processes.client import GONE, Answer, Client
from tests.processes.ledger import DELETED, QUEUE, Ledger

COUNT = 64


class Writer:
    """A writer with keys of its own; a subclass decides what it does with them."""

    def __init__(self, ledger: Ledger, client: Client, number: int, chance: random.Random, most_words: int) -> None:
        self.ledger = ledger
        self.client = client
        self.number = number
        self.chance = chance
        self._most_words = most_words
        self._index = 0

    async def run(self) -> None:
        """Writes until nobody answers, or the machine says that it is stopping."""
        try:
            while await self.step():
                pass
        except GONE:
            return

    async def step(self) -> bool:
        """Writes once, and returns whether that was done."""
        raise NotImplementedError

    def value(self) -> str:
        """Returns a value that nobody else writes."""
        return f"{self.chance.getrandbits(64):016x}" * self.chance.randint(1, self._most_words)

    def done(self, answer: Answer) -> Any:
        """Returns the answer to a write that was done, or C{None} if the machine says that its outcome is unknown."""
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
        """Sets a key of its own."""
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
        """Sets one key."""
        return await self.put(f"/set/{self.number}/{self.chance.randrange(8)}")


class Swapper(Writer):
    """Changes one key, if it has not changed since."""

    async def step(self) -> bool:
        """Creates the key or swaps it."""
        key = f"/swap/{self.number}"
        held = self.ledger.held(key)
        if held is None:
            return await self.put(key, prevExist="false")
        return await self.put(key, prevValue=held.value, prevIndex=str(held.index))


class Poster(Writer):
    """Makes in-order keys in a directory that all share."""

    async def step(self) -> bool:
        """Makes one key."""
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
        """Sets a key that is not there, or deletes one that is."""
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
    Starts L{COUNT} writers, and returns a Deferred that fires when all have ended.

    @param most_words: the longest value, in words of 16 bytes.
    """
    writers = [
        _KINDS[number % len(_KINDS)](ledger, client, number, random.Random(chance.random()), most_words)
        for number in range(COUNT)
    ]
    return gatherResults([ensureDeferred(writer.run()) for writer in writers], consumeErrors=True)
