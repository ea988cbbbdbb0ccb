"""
A number that several processes add to.

The rules:

 1. A change is made only if nobody has changed the counter since it was read: its index is compared. So the same
    request can be sent again, and is carried out once at the most.
 2. Each value has the token of the addition that has made it. When an answer was lost, the first event after the index
    that was compared tells whose addition came first.

This module must never send a change that may have been made with another index to compare.
"""

import random
import re
import secrets
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004  # that of Deferred.addTimeout
from twisted.logger import Logger

from etcd_twisted.client import (
    Client,
    ClientClosed,
    ClientError,
    CompareFailed,
    HistoryLost,
    KeyExists,
    KeyNotFound,
    OutcomeUnknown,
)
from etcd_twisted.client.recipes.errors import Contended, NotANumber
from etcd_twisted.client.recipes.lease import monotonic
from etcd_twisted.client.recipes.paths import normal_key
from etcd_twisted.client.recipes.waiting import may_pass, pause

MAX_ATTEMPTS = 50
"""How often an addition is tried while others change the counter at the same time."""

FIRST_PAUSE_SECONDS = 0.01
"""How long the pause after the first conflict is, at the most. It doubles with each further one."""

LONGEST_PAUSE_SECONDS = 1.0

RESOLVE_SECONDS = 30.0
"""For how long an addition whose outcome is unknown is looked after."""

_VALUE = re.compile(r"(-?[0-9]{1,1000})(?: [0-9a-f]{32})?")


@attrs.frozen
class _State:
    """
    A counter as it was read.

    @ivar number: the number.
    @ivar exists: whether the key exists; otherwise the number is 0.
    @ivar index: the index at which the key was modified last; if it does not exist, that of the key space.
    """

    number: int
    exists: bool
    index: int


class Counter:
    """
    A whole number that is 0 at first::

        counter = Counter(client, "/counters/visits")
        visits = await counter.add()

    I{What it guarantees.} Each addition that succeeds has happened once, and returns a number that no other addition
    has begun or ended with, unless the counter went back to it. An addition whose answer was lost is not made twice:
    the library finds out whether it was made. Where it can't, L{add} fails with L{OutcomeUnknown}.

    I{What it can't guarantee.} To find out needs the server's history of the key, or the key as this addition has left
    it, within 30 seconds. Nobody may delete the key while others add: a request that was lost could make it anew, much
    later. And where dozens of processes add all the time, additions take long, or fail with L{Contended}: all of them
    write one key, one after the other.

    The key holds the number, and a token after a blank. A number that somebody has written without a token counts.
    """

    _log = Logger()

    def __init__(
        self,
        client: Client,
        key: str,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param max_attempts: see L{MAX_ATTEMPTS}.
        @param chance: returns a random number from 0 to 1, by which pauses differ.
        @raise ValueError: C{max_attempts} is below 1.
        """
        if max_attempts < 1:
            raise ValueError(f"max_attempts is {max_attempts}, but at least 1 is needed")
        self._client = client
        self._key = normal_key(key)
        self._max_attempts = max_attempts
        self._chance = chance
        self._now = monotonic(client.reactor)

    def get(self) -> "Deferred[int]":
        """
        Read the number, with everything that was added before.

        @raise NotANumber: (as a failure) the key holds something else.
        """
        return Deferred.fromCoroutine(self._get())

    async def _get(self) -> int:
        return (await self._read()).number

    def add(self, amount: int = 1) -> "Deferred[int]":
        """
        Add to the number. The Deferred fires with the sum. When it is cancelled, the addition may have happened.

        @param amount: how much; it may be negative.
        @raise Contended: (as a failure) others have changed the counter during each attempt. Nothing was added.
        @raise OutcomeUnknown: (as a failure) the addition may have happened, or may still happen.
        @raise NotANumber: (as a failure) the key holds something else.
        """
        return Deferred.fromCoroutine(self._add(amount))

    async def _add(self, amount: int) -> int:
        token = secrets.token_hex(16)
        pause_seconds = FIRST_PAUSE_SECONDS
        for attempt in range(self._max_attempts):
            if attempt:
                await pause(self._client, pause_seconds * self._chance())
                pause_seconds = min(LONGEST_PAUSE_SECONDS, 2 * pause_seconds)
            state = await self._read()
            total = state.number + amount
            if await self._write(f"{total} {token}", state):
                return total
        raise Contended(f"others have changed {self._key} during each of {self._max_attempts} attempts to add to it")

    async def _read(self) -> _State:
        try:
            node = (await self._client.get(self._key, quorum=True)).node
        except KeyNotFound as error:
            return _State(0, False, error.index)
        match = _VALUE.fullmatch(node.value or "")
        if match is None:
            raise NotANumber(f"{self._key} holds {node.value!r}, which is no number")
        return _State(int(match[1]), True, node.modified_index)

    async def _write(self, value: str, state: _State) -> bool:
        """
        Returns whether this was the first change since the counter was read, and so was made.

        @raise OutcomeUnknown: this can't be found out.
        @raise ClientError: it was not made.
        """
        unknown: OutcomeUnknown | None = None
        until = self._now() + RESOLVE_SECONDS
        while True:
            try:
                if state.exists:
                    await self._client.compare_and_swap(self._key, value, previous_index=state.index)
                else:
                    await self._client.create(self._key, value)
            except (CompareFailed, KeyExists, KeyNotFound):
                return unknown is not None and await self._came_first(value, state.index, until)
            except OutcomeUnknown as error:
                unknown = error
                self._log.info("May have added to {key}: {reason}", key=self._key, reason=str(error))
            except ClientError as error:
                if unknown is None:
                    raise
                if not may_pass(error):
                    raise unknown from error
            else:
                return True
            if self._now() >= until:
                raise unknown
            try:
                await pause(self._client, FIRST_PAUSE_SECONDS * (1 + self._chance()))
            except ClientClosed as error:
                raise unknown from error

    async def _came_first(self, value: str, index: int, until: float) -> bool:
        """Returns whether the first change after an index is the one that has made this value."""
        watch = self._client.watch(self._key, after_index=index)
        try:
            seconds = max(0.0, until - self._now())
            item = await watch.next().addTimeout(seconds, self._client.reactor)
        except (TimeoutError, ClientError) as error:
            raise OutcomeUnknown(f"could not find out whether {self._key} was added to: {error}") from error
        finally:
            watch.close()
        if item.node is not None and item.node.value == value:
            return True
        if isinstance(item, HistoryLost):
            raise OutcomeUnknown(f"{self._key} may have been added to: the server does not remember who did")
        return False
