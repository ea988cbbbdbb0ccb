"""
Hashing passwords with bcrypt, and checking them, off the reactor's thread: it takes as long as thousands of requests.

This module must never let anybody make hashes wait without a bound, nor take longer for one wrong password than for
another.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import bcrypt
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

from etcd_twisted.errors import ErrorCode, EtcdError

_T = TypeVar("_T")

DeferToThread = Callable[[Callable[[], Any]], "Deferred[Any]"]
"""Calls a function in another thread, and returns a Deferred of its result."""

DEFAULT_COST = 10
"""The cost of a new hash, which is etcd's. One more takes twice as long."""

LONGEST_PASSWORD_BYTES = 72
"""The longest password: bcrypt ignores what follows."""

MOST_AT_ONCE = 2
"""How many hashes are computed at a time."""

MOST_WAITING = 1_000
"""How many hashes may wait to be computed. Further ones are refused."""

_HASH = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")


def thread_pool(reactor: object) -> DeferToThread:
    """Returns what calls functions in the reactor's thread pool; at once on a simulated reactor, which has none."""
    if not IReactorThreads.providedBy(reactor):
        return maybeDeferred
    return lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work)


class Passwords:
    """Hashes passwords, and checks them."""

    def __init__(self, defer_to_thread: DeferToThread, cost: int | None = None) -> None:
        """
        @param cost: that of new hashes; C{None} for L{DEFAULT_COST}.
        """
        self._defer_to_thread = defer_to_thread
        self._cost = cost = DEFAULT_COST if cost is None else cost
        self._nobodys = bcrypt.gensalt(cost).decode() + 31 * "."
        self._waiting: dict[Deferred[Any], Callable[[], Any]] = {}
        self._running = 0

    def hash(self, password: bytes) -> "Deferred[str]":
        """
        Returns a Deferred of the hash of a new password.

        Errbacks with an L{EtcdError} if too many hashes wait. Cancelling it ends the wait.

        @param password: at most L{LONGEST_PASSWORD_BYTES} bytes.
        """
        return self._run(partial(_hash, password, self._cost))

    def check(self, password: bytes, password_hash: str | None) -> "Deferred[bool]":
        """
        Returns a Deferred of whether a password is right. See L{hash} for errors.

        @param password: at most L{LONGEST_PASSWORD_BYTES} bytes.
        @param password_hash: the hash of the right one; C{None} if there is no right one, which takes as long.
        """
        if password_hash is None or not _HASH.fullmatch(password_hash):
            password_hash = self._nobodys
        return self._run(partial(bcrypt.checkpw, password, password_hash.encode()))

    def _run(self, work: Callable[[], _T]) -> "Deferred[_T]":
        if len(self._waiting) >= MOST_WAITING:
            return fail(EtcdError(ErrorCode.RAFT_INTERNAL, "too many passwords wait to be checked; try again"))
        done: Deferred[_T] = Deferred(self._withdraw)
        self._waiting[done] = work
        self._begin()
        return done

    def _withdraw(self, done: "Deferred[Any]") -> None:
        self._waiting.pop(done, None)

    def _begin(self) -> None:
        while self._waiting and self._running < MOST_AT_ONCE:
            done = next(iter(self._waiting))
            work = self._waiting.pop(done)
            self._running += 1
            self._defer_to_thread(work).addBoth(self._finished, done)

    def _finished(self, result: Any, done: "Deferred[Any]") -> None:
        self._running -= 1
        if not done.called:  # it is when it was cancelled
            done.callback(result)  # a Failure makes it an errback
        self._begin()


def _hash(password: bytes, cost: int) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()
